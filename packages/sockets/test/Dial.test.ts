import { assert, describe, it } from "@effect/vitest"
import * as Dial from "@tx3/sockets/Dial"
import { Lookup, LookupError } from "@tx3/sockets/Lookup"
import { socketsOpenedFromNow } from "@tx3/testing/openSockets"
import { Effect, Exit, Scope } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import * as net from "node:net"
import { Worker } from "node:worker_threads"

/** A listener on a loopback address of its own, and the connections it has. */
const listener = (host: string, port = 0) =>
  Effect.acquireRelease(
    Effect.async<{ readonly port: number; readonly sockets: Set<net.Socket>; readonly server: net.Server }>(
      (resume) => {
        const sockets = new Set<net.Socket>()
        const server = net.createServer((socket) => {
          sockets.add(socket.on("error", () => {}).resume())
          socket.once("close", () => sockets.delete(socket))
        })
        server.listen({ host, port }, () =>
          resume(Effect.succeed({ port: (server.address() as net.AddressInfo).port, sockets, server })))
      }
    ),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        sockets.forEach((socket) =>
          socket.destroy()
        )
      })
  )

/** A listener whose queue is full and stays full: its thread sleeps, and the kernel drops what else arrives. */
const deafPort = Effect.gen(function*() {
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() =>
      new Worker(
        `const { parentPort } = require("node:worker_threads")
         const server = require("node:net").createServer().listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => {
           parentPort.postMessage(server.address().port)
           Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
         })`,
        { eval: true }
      )
    ),
    (worker) => Effect.promise(() => worker.terminate())
  )
  const port = yield* Effect.async<number>((resume) =>
    void worker.once("message", (port) => resume(Effect.succeed(port)))
  )
  yield* Effect.replicateEffect(Dial.connect({ host: "127.0.0.1", port, attemptTimeoutMs: 60_000 }), 2)
  return port
})

const to = (addresses: ReadonlyArray<string>, port: number, options: Partial<Dial.Options> = {}) =>
  Dial.connect({ host: "name.test", port, attemptTimeoutMs: 60_000, timeoutMs: 60_000, ...options }).pipe(
    Effect.provideService(
      Lookup,
      () => Effect.succeed(addresses.map((address) => ({ address, family: net.isIP(address) })))
    )
  )

/** Turns the event loop until a condition holds: a handle is closed in a later turn. */
const eventually = (condition: () => boolean) =>
  Effect.promise(async () => {
    while (!condition()) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  })

/** A port that nothing listens at. */
const freePort = Effect.map(Effect.scoped(listener("127.0.0.1")), ({ port }) => port)

describe("a connect", () => {
  it.scopedLive("does not wait for an address that does not answer, and closes that attempt", () =>
    Effect.gen(function*() {
      const port = yield* deafPort
      yield* listener("127.0.0.2", port)
      const opened = socketsOpenedFromNow()
      const { remoteAddress, socket } = yield* to(["127.0.0.1", "127.0.0.2"], port)
      assert.deepEqual(remoteAddress, { host: "127.0.0.2", port })
      assert.isFalse(socket.destroyed)
      // Its own and the listener's.
      yield* eventually(() => opened() === 2)
    }))

  it.scopedLive("tries the families in turns, the resolver's first one first, and says what became of each address", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const error = yield* Effect.flip(to(["127.0.0.1", "127.0.0.2", "127.0.0.1", "::1", "127.0.0.3"], port))
      assert.deepEqual(error.failures.map(({ address }) => address), ["127.0.0.1", "::1", "127.0.0.2", "127.0.0.3"])
      assert.strictEqual(
        error.message,
        `cannot connect to name.test:${port} (127.0.0.1: connection refused; ::1: connection refused; ` +
          "127.0.0.2: connection refused; 127.0.0.3: connection refused); is it running and reachable?"
      )
    }))

  it.scopedLive("ends at its deadline, with what is known of each address by then", () =>
    Effect.gen(function*() {
      const port = yield* deafPort
      const opened = socketsOpenedFromNow()
      const error = yield* Effect.flip(to(["::1", "127.0.0.1"], port, { timeoutMs: 500 }))
      assert.strictEqual(error.reasons(), "::1: connection refused; 127.0.0.1: no answer within 500 ms")
      yield* eventually(() => opened() === 0)
    }))

  it.scopedLive("gives one address attemptTimeoutMs", () =>
    Effect.gen(function*() {
      const port = yield* deafPort
      const error = yield* Effect.flip(Dial.connect({ host: "127.0.0.1", port, attemptTimeoutMs: 50 }))
      assert.strictEqual(
        error.message,
        `cannot connect to 127.0.0.1:${port} (no answer within 50 ms); is it running and reachable?`
      )
    }))

  it.scopedLive("says of a name that it has no address, or what the resolver says", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(to([], 1))).reasons(), "the name has no address")
      const refuse = (cause: Error) =>
        Dial.connect({ host: "name.test", port: 1, attemptTimeoutMs: 1 }).pipe(
          Effect.provideService(Lookup, () => new LookupError({ cause })),
          Effect.flip,
          Effect.map((error) => error.reasons())
        )
      assert.strictEqual(yield* refuse(new Error("down")), "down")
      assert.strictEqual(
        yield* refuse(Object.assign(new Error(), { code: "EAI_AGAIN" })),
        "no name server answered"
      )
    }))

  it.scopedLive("resolves a name of this machine, and closes its socket with the scope", () =>
    Effect.gen(function*() {
      const { port, sockets } = yield* listener("127.0.0.1")
      const scope = yield* Scope.make()
      const { remoteAddress, socket } = yield* Scope.extend(
        Dial.connect({ host: "localhost", port, attemptTimeoutMs: 60_000 }),
        scope
      )
      assert.deepEqual(remoteAddress, { host: "127.0.0.1", port })
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(socket.destroyed)
      yield* eventually(() => sockets.size === 0)
    }))

  it("is the only way to connect over TCP in all packages: no other knows several addresses", () => {
    const packages = new URL("../../", import.meta.url)
    const dialing = readdirSync(packages, { recursive: true, encoding: "utf8" }).filter((file) =>
      /^[^/]+\/src\/.*\.ts$/.test(file) &&
      /\bnet\.(?:connect|createConnection)\((?!\{ path\b)/i.test(readFileSync(new URL(file, packages), "utf8"))
    )
    // A transport dials one address of another relay, and its self-test connects to itself.
    assert.deepStrictEqual(dialing.sort(), [
      "sockets/src/Dial.ts",
      "transport/src/PortableTransport.ts",
      "transport/src/internal/selfTest.ts"
    ])
  })
})
