import { describe, it } from "@effect/vitest"
import { DeadPeers, SocketCalls } from "@tx3/sockets"
import { withPrograms } from "@tx3/testing/withPrograms"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { execFileSync } from "node:child_process"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { assert } from "vitest"
import { machine, networksWork, ownNetwork } from "./utils/network.js"

const alive = {
  retransmits: 0,
  probes: 0,
  backoff: 0,
  unacked: 0,
  lastAckMs: 0,
  lastDataMs: 0,
  bytesAcked: 0,
  notSentBytes: 0,
  sendWindow: 1
}
const dead = { ...alive, retransmits: 5, lastAckMs: 30_000, lastDataMs: 30_000 }

/** Calls that tell of every socket what the map has of its descriptor. */
const callsOf = (infos: (fd: number) => typeof alive | undefined): SocketCalls.SocketCalls => ({
  tcpInfo: infos,
  unacknowledgedBytes: () => 0,
  setUserTimeout: () => true,
  setProbeInterval: () => true,
  resetOnClose: () => true
})

const realCalls = Effect.sync(SocketCalls.load).pipe(
  Effect.filterOrDieMessage((calls) => calls !== undefined, "koffi is there")
)

const closing = (socket: Net.Socket) => Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))

const listening = Effect.acquireRelease(
  Effect.async<Net.Server>((resume) => {
    const server = Net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.sync(() => server.close())
)

const connecting = (to: Net.NetConnectOpts): Effect.Effect<Net.Socket, Error, Scope.Scope> =>
  Effect.async<Net.Socket, Error>((resume) => {
    const socket = Net.connect(to)
    socket.once("connect", () => resume(Effect.succeed(socket))).once("error", (cause) => resume(Effect.fail(cause)))
  }).pipe(Effect.tap(closing))

/** Two ends of a connection. */
const connected = Effect.gen(function*() {
  const server = yield* listening
  const accepted = Effect.async<Net.Socket>((resume) => {
    server.once("connection", (socket: Net.Socket) => resume(Effect.succeed(socket)))
  })
  const { port } = server.address() as Net.AddressInfo
  const [far, near] = yield* Effect.all([accepted, connecting({ host: "127.0.0.1", port })], {
    concurrency: "unbounded"
  })
  yield* closing(far)
  far.on("error", () => {})
  return { far, near }
})

const errorOf = (socket: Net.Socket) =>
  Effect.async<NodeJS.ErrnoException>((resume) => {
    socket.once("error", (error) => resume(Effect.succeed(error)))
  }).pipe(Effect.timeout("20 seconds"))

const closeOf = (socket: Net.Socket) =>
  Effect.async<void>((resume) => {
    socket.once("close", () => resume(Effect.void))
  })

describe("DeadPeers", () => {
  it.scopedLive("destroys a socket whose other end is dead with ETIMEDOUT, and leaves the others", () =>
    Effect.gen(function*() {
      const [first, second] = [yield* connected, yield* connected]
      const deadFd = (first.near as unknown as { _handle: { fd: number } })._handle.fd
      const watch = new DeadPeers.Watch(callsOf((fd) => fd === deadFd ? dead : alive), {
        deadAfterMs: 28_000,
        lookEveryMs: 10
      })
      watch.add(first.near)
      watch.add(second.near)
      watch.add(second.near)
      const firstClosed = yield* Effect.fork(closeOf(first.near))
      assert.strictEqual((yield* errorOf(first.near)).code, "ETIMEDOUT")
      yield* Fiber.join(firstClosed)
      assert.strictEqual(watch.sockets.size, 1)
      assert.isTrue(watch.sockets.has(second.near))
      assert.isDefined(watch["timer"])
      const closed = closeOf(second.near)
      second.near.destroy()
      yield* closed
      assert.strictEqual(watch.sockets.size, 0)
      assert.isUndefined(watch["timer"])
    }))

  it.scopedLive("looks at more sockets than fit into one turn", () =>
    Effect.gen(function*() {
      const looked = new Map<number, number>()
      const watch = new DeadPeers.Watch(
        callsOf((fd) => {
          looked.set(fd, (looked.get(fd) ?? 0) + 1)
          return looked.size === 300 && looked.get(fd)! > 1 ? dead : alive
        }),
        { deadAfterMs: 28_000, lookEveryMs: 10 }
      )
      const sockets = Array.from({ length: 300 }, (_, fd) => {
        const socket = new Net.Socket()
        Object.assign(socket, { _handle: { fd, close: (done: () => void) => done() } })
        socket.on("error", () => {})
        watch.add(socket)
        return socket
      })
      yield* Effect.all(sockets.map(closeOf), { concurrency: "unbounded" })
      assert.strictEqual(watch.sockets.size, 0)
    }))

  it.scopedLive("calls nothing for a socket that closes before it is looked at", () =>
    Effect.gen(function*() {
      const { near } = yield* connected
      const unexpected = () => assert.fail("a system call")
      const watch = new DeadPeers.Watch({ ...callsOf(unexpected), setProbeInterval: unexpected })
      watch.add(near)
      const closed = closeOf(near)
      near.destroy()
      yield* closed
      assert.strictEqual(watch.sockets.size, 0)
    }))

  it.scopedLive("sets the probe interval of each socket once, when it first looks at it", () =>
    Effect.gen(function*() {
      const { near } = yield* connected
      const set: Array<number> = []
      let looks = 0
      const done = yield* Deferred.make<void>()
      const watch = new DeadPeers.Watch({
        ...callsOf(() => {
          if (++looks === 3) {
            Deferred.unsafeDone(done, Exit.void)
          }
          return alive
        }),
        setProbeInterval: (fd) => set.push(fd) > 0
      }, { deadAfterMs: 28_000, lookEveryMs: 10 })
      watch.add(near)
      yield* Deferred.await(done)
      assert.deepStrictEqual(set, [SocketCalls.descriptorOf(near)])
    }))

  it.scopedLive("forgets a unix socket when it first looks at it, and watches nothing that is closed", () =>
    Effect.gen(function*() {
      const watch = new DeadPeers.Watch(yield* realCalls, { deadAfterMs: 28_000, lookEveryMs: 10 })
      const server = yield* Effect.acquireRelease(
        Effect.async<Net.Server>((resume) => {
          const server = Net.createServer().listen("\0tx3-dead-peers-test", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const socket = yield* connecting({ path: server.address() as string })
      watch.add(socket)
      yield* Effect.iterate(watch.sockets.size, {
        while: (size) => size > 0,
        body: () => Effect.as(Effect.sleep(10), watch.sockets.size)
      })
      assert.isUndefined(watch["timer"])
      socket.destroy()
      watch.add(socket)
      assert.strictEqual(watch.sockets.size, 0)
    }))

  it.scopedLive("never ends a reader that has paused, however old its last acknowledgement is", () =>
    Effect.gen(function*() {
      const calls = yield* realCalls
      let oldest = 0
      const watch = new DeadPeers.Watch({
        ...calls,
        tcpInfo: (fd) => {
          const info = calls.tcpInfo(fd)!
          oldest = Math.max(oldest, Math.min(info.lastAckMs, info.lastDataMs))
          return info
        }
      }, { deadAfterMs: 1_500, lookEveryMs: 20 })
      const { far, near } = yield* connected
      let failure: Error | undefined
      near.on("error", (error) => failure = error)
      far.pause()
      near.write(Buffer.alloc(32 * 1024 * 1024))
      watch.add(near)
      // Twice what would be taken for death.
      while (oldest < 3_000 && failure === undefined) {
        yield* Effect.sleep(20)
      }
      assert.isUndefined(failure)
      let received = 0
      far.on("data", (chunk: Buffer) => received += chunk.length).resume()
      while (received < 32 * 1024 * 1024) {
        yield* Effect.sleep(20)
      }
    }))

  it.scopedLive("says once that it cannot watch without koffi", () =>
    Effect.sync(() => {
      const index = new URL("../dist/index.js", import.meta.url).href
      const program = `
        import { DeadPeers } from ${JSON.stringify(index)}
        import { Deferred, Effect, Exit, Fiber } from "effect"
        import * as Net from "node:net"
        const server = Net.createServer((socket) => socket.destroy()).listen(0, "127.0.0.1", () => {
          const socket = Net.connect(server.address().port, "127.0.0.1", () => {
            DeadPeers.watch(socket)
            DeadPeers.limitUnacknowledged(socket)
          })
          socket.resume().on("close", () => server.close())
        })
        await Effect.runPromise(Effect.zipRight(DeadPeers.explain, DeadPeers.explain))`
      const printed = execFileSync(process.execPath, [
        "--import",
        new URL("../../transport/test/utils/withoutKoffi.mjs", import.meta.url).href,
        "--input-type=module",
        "--eval",
        program
      ], { cwd: new URL("..", import.meta.url) }).toString()
      assert.strictEqual(printed.match(/koffi cannot be loaded/g)?.length, 1, printed)
    }))
})

withPrograms(["ip", "iptables", "python3"], () => {
  describe.skipIf(!networksWork)("DeadPeers, with a network", () => {
    const options = { deadAfterMs: 2_000, lookEveryMs: 50 }

    for (const how of ["powerOff", "unplug"] as const) {
      for (const what of ["a TCP socket", "a TLSSocket"] as const) {
        it.scopedLive(`${how}: ends ${what} with bytes in flight`, () =>
          Effect.gen(function*() {
            const calls = yield* realCalls
            yield* ownNetwork
            const peer = yield* machine
            const program = peer.spawn("python3", "-u", "-c", server)
            yield* Effect.async<void>((resume) => {
              program.stdout!.once("data", () => resume(Effect.void))
            })
            const tcp = yield* connecting({ host: peer.host, port: 4000 })
            const socket = what === "a TCP socket" ? tcp : new Tls.TLSSocket(tcp, {})
            const watch = new DeadPeers.Watch(calls, options)
            watch.add(socket)
            assert.strictEqual(watch.sockets.size, 1)
            peer[how]()
            const failed = errorOf(socket)
            // Below TLS, for the other end does not speak it.
            tcp.write(Buffer.alloc(1_000))
            const closed = yield* Effect.fork(closeOf(tcp))
            assert.strictEqual((yield* failed).code, "ETIMEDOUT")
            yield* Fiber.join(closed)
            assert.strictEqual(watch.sockets.size, 0)
          }), 30_000)
      }
    }
  })
})

const server = `
import socket, time
l = socket.socket(); l.bind(('', 4000)); l.listen(); print('ready')
c = l.accept()[0]
time.sleep(60)`
