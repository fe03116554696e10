import { assert, describe } from "@effect/vitest"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Tls from "@tx3/protocol/Tls"
import { Interfaces } from "@tx3/sockets/Interfaces"
import { Lookup, LookupError } from "@tx3/sockets/Lookup"
import { socketsOpenedFromNow } from "@tx3/testing/openSockets"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as net from "node:net"
import * as os from "node:os"
import * as tls from "node:tls"
import { Worker } from "node:worker_threads"
import { addressOf, alice, bob, closed, eventually, live, received, sendAll, silent, taken } from "./utils/nodes.js"

const bind = ["tx3-st://127.0.0.1:0"]

const listening = Tx3Node.make({ bind, identity: alice })

const connecting = Tx3Node.make({ identity: bob })

const withConfig = (options: Partial<NodeConfig.NodeConfigOptions>) => Effect.provide(NodeConfig.layer(options))

/** Makes a name stand for these addresses. */
const withName = (...addresses: ReadonlyArray<string>) =>
  Effect.provideService(
    Lookup,
    () => Effect.succeed(addresses.map((address) => ({ address, family: net.isIP(address) })))
  )

/** A port that nobody listens at. */
const freePort = Effect.map(Effect.scoped(listening), (node) => addressOf(node).port)

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
  yield* Effect.replicateEffect(silent({ host: "127.0.0.1", port }), 2)
  return port
})

/** The port of a listener that treats its connections like this. */
const portOf = (onConnection: (socket: net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.async<{ readonly server: net.Server; readonly sockets: Array<net.Socket> }>((resume) => {
      const sockets: Array<net.Socket> = []
      const server = net.createServer((socket) => {
        sockets.push(socket.on("error", () => {}))
        onConnection(socket)
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        sockets.forEach((socket) => socket.destroy())
      })
  ).pipe(Effect.map(({ server }) => (server.address() as net.AddressInfo).port))

describe("binding", () => {
  live("publishes the bound address with the real port and the node's digest", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0", "tx3-st://[::1]:0"], identity: alice })
      assert.strictEqual(node.digest, alice.digest)
      assert.deepStrictEqual(
        node.addresses.map(({ digest, host, scheme }) => [scheme, host, digest.value]),
        [["tx3-st", "127.0.0.1", alice.digest], ["tx3-st", "::1", alice.digest]]
      )
      const bobs = yield* connecting
      for (const address of node.addresses) {
        assert.isAbove(address.port, 0)
        yield* bobs.connect(address.toString())
        assert.strictEqual((yield* taken(node)).remoteDigest, bob.digest)
      }
    }))

  live("both families of one port", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const node = yield* Tx3Node.make({ bind: [`tx3-st://0.0.0.0:${port}`, `tx3-st://[::]:${port}`] })
      const hosts = Object.values(os.networkInterfaces()).flatMap((infos) => infos ?? []).map(({ address }) => address)
      assert.isAtLeast(node.addresses.length, 2)
      for (const address of node.addresses) {
        assert.include(hosts, address.host)
      }
    }))

  live(
    "bound to all addresses of a machine that does not list its interfaces publishes loopback",
    () =>
      Effect.gen(function*() {
        const node = yield* Tx3Node.make({ bind: ["tx3-st://0.0.0.0:0"], identity: alice }).pipe(
          Effect.provideService(Interfaces, () => {
            throw new Error("EACCES")
          })
        )
        assert.deepStrictEqual(node.addresses.map(({ host }) => host), ["127.0.0.1"])
      })
  )

  live("a name listens at all its addresses, localhost in both families", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://localhost:0"], identity: alice })
      assert.sameMembers(node.addresses.map(({ host }) => host), ["127.0.0.1", "::1"])
      assert.strictEqual(node.addresses[0]!.port, node.addresses[1]!.port)
      const bobs = yield* connecting
      for (const address of node.addresses) {
        yield* bobs.connect(address)
      }
    }))

  live(
    "a port in use, a relay without a digest and a text that is no address are typed errors",
    () =>
      Effect.gen(function*() {
        const first = addressOf(yield* listening)
        const inUse = yield* Effect.flip(Tx3Node.make({ bind: [first] }))
        assert.strictEqual(inUse._tag, "BindError")
        assert.include(inUse.message, `127.0.0.1:${first.port}: another program listens there`)
        const noDigest = yield* Effect.flip(Tx3Node.make({ bind: ["tx3-rst://127.0.0.1:1"] }))
        assert.strictEqual(noDigest._tag, "AddressError")
        const noAddress = yield* Effect.flip(Tx3Node.make({ bind: ["127.0.0.1:1"] }))
        assert.strictEqual(noAddress._tag, "AddressError")
      })
  )
})

describe("connecting", () => {
  live(
    "another digest than the address's is a typed error, and the other end is told nothing",
    () =>
      Effect.gen(function*() {
        const context = Tls.secureContext(alice)
        const answered: Array<Effect.Effect<void>> = []
        let told = 0
        const port = yield* portOf((socket) => {
          const secured = new tls.TLSSocket(socket, Tls.serverOptions(context)).on("error", () => {})
          secured.on("data", (bytes) => told += bytes.length)
          answered.push(closed(secured))
        })
        const bobs = yield* connecting
        const error = yield* Effect.flip(bobs.connect(`tx3-st://127.0.0.1:${port}/${bob.digest}`))
        assert.deepInclude(error, { _tag: "DigestMismatch", expected: bob.digest, actual: alice.digest })
        // The scope is still open: it is the failure that closes the connection.
        yield* Effect.all(answered)
        assert.deepStrictEqual([answered.length, told], [1, 0])
      })
  )

  live("an address that cannot be parsed or has no digest is a typed error", () =>
    Effect.gen(function*() {
      const bobs = yield* connecting
      for (const address of ["tx3-st://127.0.0.1:1", "nonsense"]) {
        assert.strictEqual((yield* Effect.flip(bobs.connect(address)))._tag, "AddressError")
      }
    }))

  live("a refused connection lists each address that was tried", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const error = yield* connecting.pipe(
        Effect.flatMap((bobs) => bobs.connect(`tx3-st://many.test:${port}/${alice.digest}`)),
        withName("127.0.0.1", "::1"),
        Effect.flip
      )
      assert.strictEqual(error._tag, "DialError")
      assert.include(
        error.message,
        `cannot connect to many.test:${port} (127.0.0.1: connection refused; ::1: connection refused)`
      )
    }))

  live("every address of a name is tried", () =>
    Effect.gen(function*() {
      const { port } = addressOf(yield* listening)
      const connection = yield* connecting.pipe(
        Effect.flatMap((bobs) => bobs.connect(`tx3-st://many.test:${port}/${alice.digest}`)),
        withName("::1", "127.0.0.1")
      )
      assert.deepStrictEqual(connection.remoteAddress, { host: "127.0.0.1", port })
    }))

  live("an address that does not answer costs attemptTimeoutMs, not the connect", () =>
    Effect.gen(function*() {
      const port = yield* deafPort
      yield* Tx3Node.make({ bind: [`tx3-st://[::1]:${port}`], identity: alice })
      const connection = yield* connecting.pipe(
        withConfig({ attemptTimeoutMs: 50 }),
        Effect.flatMap((bobs) => bobs.connect(`tx3-st://many.test:${port}/${alice.digest}`)),
        withName("127.0.0.1", "::1")
      )
      assert.strictEqual(connection.remoteAddress.host, "::1")
    }))

  live("a name that does not resolve is a DialError with the name", () =>
    Effect.gen(function*() {
      const error = yield* connecting.pipe(
        Effect.flatMap((bobs) => bobs.connect(`tx3-st://nobody.test:1/${alice.digest}`)),
        Effect.provideService(Lookup, () =>
          new LookupError({ cause: Object.assign(new Error("no"), { code: "ENOTFOUND" }) })),
        Effect.flip
      )
      assert.include(error.message, "cannot connect to nobody.test:1 (the name has no address)")
    }))

  live("connectTimeoutMs ends a resolver and a handshake that are not done", () =>
    Effect.gen(function*() {
      const bobs = yield* withConfig({ connectTimeoutMs: 50 })(connecting)
      const dial = yield* bobs.connect(`tx3-st://slow.test:1/${alice.digest}`).pipe(
        Effect.provideService(Lookup, () => Effect.never),
        Effect.flip
      )
      assert.deepInclude(dial, { _tag: "TimedOut", stage: "dial", timeoutMs: 50 })
      const accepted: Array<Effect.Effect<void>> = []
      const port = yield* portOf((socket) => accepted.push(closed(socket)))
      const handshake = yield* Effect.flip(bobs.connect(`tx3-st://127.0.0.1:${port}/${alice.digest}`))
      assert.deepInclude(handshake, { _tag: "TimedOut", stage: "handshake", timeoutMs: 50 })
      // The scope is still open: it is the failure that closed the connection.
      yield* Effect.all(accepted)
      assert.strictEqual(accepted.length, 1)
    }))

  live("an end that does not speak TLS is a HandshakeError", () =>
    Effect.gen(function*() {
      const port = yield* portOf((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))
      const bobs = yield* connecting
      const error = yield* Effect.flip(bobs.connect(`tx3-st://127.0.0.1:${port}/${alice.digest}`))
      assert.strictEqual(error._tag, "HandshakeError")
    }))
})

describe("inbound", () => {
  live("maxHandshakes silent connections keep nobody out: the oldest of them go", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const sockets = yield* Effect.replicateEffect(
        silent(addressOf(node)),
        NodeConfig.defaults.maxHandshakes
      )
      const bobs = yield* connecting
      yield* bobs.connect(addressOf(node))
      assert.strictEqual((yield* taken(node)).remoteDigest, bob.digest)
      // One source leaves an eighth of the places to others.
      const given = 1 + NodeConfig.defaults.maxHandshakes / 8
      yield* Effect.forEach(sockets.slice(0, given), closed)
      assert.deepStrictEqual(sockets.map(({ closed }) => closed), sockets.map((_, index) => index < given))
    }))

  live("handshakeTimeoutMs ends one that is silent", () =>
    Effect.gen(function*() {
      const node = yield* withConfig({ handshakeTimeoutMs: 20 })(listening)
      yield* closed(yield* silent(addressOf(node)))
    }))

  live("over maxBacklog the newest is closed, and those that wait are taken in order", () =>
    Effect.gen(function*() {
      const node = yield* withConfig({ maxBacklog: 2 })(listening)
      const bobs = yield* connecting
      const first = yield* bobs.connect(addressOf(node))
      const second = yield* bobs.connect(addressOf(node))
      const third = yield* bobs.connect(addressOf(node))
      // By the end of the third the node has decided on all of them.
      yield* Effect.either(received(third))
      for (const connection of [first, second]) {
        yield* sendAll(connection, Buffer.from(connection === first ? "first" : "second"))
      }
      assert.strictEqual((yield* received(yield* taken(node))).toString(), "first")
      assert.strictEqual((yield* received(yield* taken(node))).toString(), "second")
      const fourth = yield* bobs.connect(addressOf(node))
      yield* sendAll(fourth, Buffer.from("fourth"))
      assert.strictEqual((yield* received(yield* taken(node))).toString(), "fourth")
    }))

  live("garbage, a hang-up and a reset during the handshake stop nothing", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const garbage = yield* silent(addressOf(node))
      garbage.write("GET / HTTP/1.1\r\n\r\n")
      yield* closed(garbage)
      const hangUp = yield* silent(addressOf(node))
      hangUp.end()
      yield* closed(hangUp)
      const reset = yield* silent(addressOf(node))
      reset.resetAndDestroy()
      yield* (yield* connecting).connect(addressOf(node))
      assert.strictEqual((yield* taken(node)).remoteDigest, bob.digest)
    }))

  live("a client without a certificate is not let in", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const anonymous = tls.connect({ socket: yield* silent(addressOf(node)), rejectUnauthorized: false })
      yield* closed(anonymous.on("error", () => {}))
      yield* (yield* connecting).connect(addressOf(node))
      assert.strictEqual((yield* taken(node)).remoteDigest, bob.digest)
    }))
})

describe("serve", () => {
  live("runs handlers side by side, and closes each connection when its handler is done", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const bobs = yield* connecting
      const finalized: Array<string> = []
      const openAtTheEnd: Array<string> = []
      yield* Effect.fork(node.serve((connection) =>
        Effect.gen(function*() {
          const request = (yield* received(connection)).toString()
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              finalized.push(request)
              if (!connection.duplex.destroyed) {
                openAtTheEnd.push(request)
              }
            })
          )
          if (request === "fail") {
            return yield* Effect.fail("no")
          }
          if (request === "die") {
            return yield* Effect.dieMessage("no")
          }
          yield* sendAll(connection, Buffer.from(`${request}!`))
        })
      ))
      // A handler that waits for its connection's end, which comes last.
      const waiting = yield* bobs.connect(addressOf(node))
      for (const [request, answer] of [["fail", "lost"], ["die", "lost"], ["one", "one!"], ["two", "two!"]] as const) {
        const connection = yield* bobs.connect(addressOf(node))
        yield* sendAll(connection, Buffer.from(request))
        const heard = yield* received(connection).pipe(
          Effect.map(String),
          Effect.catchAll(() => Effect.succeed("lost"))
        )
        assert.strictEqual(heard, answer)
        yield* eventually(() => connection.duplex.closed)
      }
      yield* sendAll(waiting, Buffer.from("last"))
      assert.strictEqual((yield* received(waiting)).toString(), "last!")
      yield* eventually(() => finalized.length === 5)
      assert.deepStrictEqual(finalized, ["fail", "die", "one", "two", "last"])
      // A handler's own finalizers run before its connection is closed; the others had ended both sides themselves.
      assert.deepStrictEqual(openAtTheEnd, ["fail", "die"])
    }))

  live("interrupting it interrupts the handlers and closes their connections", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const bobs = yield* connecting
      let began = 0
      const serving = yield* Effect.fork(node.serve(() => Effect.zipRight(Effect.sync(() => began++), Effect.never)))
      const connections = yield* Effect.replicateEffect(bobs.connect(addressOf(node)), 3)
      yield* eventually(() => began === 3)
      yield* Fiber.interrupt(serving)
      yield* Effect.forEach(connections, (connection) => Effect.either(received(connection)))
      // The node itself goes on.
      yield* bobs.connect(addressOf(node))
      yield* taken(node)
    }))
})

describe("the end", () => {
  live(
    "of the scope closes listener, handshakes, backlog and what was taken; streams of connections end",
    () =>
      Effect.gen(function*() {
        const opened = socketsOpenedFromNow()
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Tx3Node.layer({ bind, identity: alice }), scope)
        const node = yield* Effect.provide(Tx3Node.Tx3Node, context)
        const bobs = yield* connecting
        const stalled = yield* silent(addressOf(node))
        const served = yield* bobs.connect(addressOf(node))
        const far = yield* taken(node)
        const waiting = yield* bobs.connect(addressOf(node))
        const reading = yield* Effect.fork(Effect.flip(received(far)))
        yield* eventually(() => far.duplex.listenerCount("readable") > 0)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(reading)).reason, "closed")
        yield* closed(stalled)
        yield* Effect.either(received(served))
        yield* Effect.either(received(waiting))
        yield* served.close
        yield* waiting.close
        yield* Stream.runDrain(node.connections)
        yield* eventually(() => opened() === 0)
        const error = yield* Effect.flip(bobs.connect(addressOf(node)))
        assert.strictEqual(error._tag, "DialError")
      })
  )

  live("of connect's scope closes the connection", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const bobs = yield* connecting
      const far = yield* Effect.scoped(Effect.zipRight(bobs.connect(addressOf(node)), taken(node)))
      yield* Effect.either(received(far))
    }))
})

describe("connecting to several addresses of a node", () => {
  live("takes the first; the next is not tried before its time", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: [...bind, ...bind], identity: alice })
      const tried: Array<unknown> = []
      const port = yield* portOf((socket) => tried.push(socket.destroy()))
      const second = `tx3-st://127.0.0.1:${port}/${alice.digest}` as const
      const bobs = yield* withConfig({ connectStaggerMs: 60_000 })(connecting)
      yield* bobs.connect([addressOf(node), second])
      assert.deepStrictEqual(tried, [])
    }))

  live("tries the next at once where one fails, and after a while where one is silent", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const dead = `tx3-st://127.0.0.1:${yield* freePort}/${alice.digest}` as const
      const patient = yield* withConfig({ connectStaggerMs: 60_000 })(connecting)
      const first = yield* patient.connect([dead, addressOf(node)])
      assert.strictEqual(first.remoteAddress.port, addressOf(node).port)

      const ended: Array<Effect.Effect<void>> = []
      const silentPort = yield* portOf((socket) => ended.push(closed(socket)))
      const impatient = yield* withConfig({ connectStaggerMs: 10 })(connecting)
      const second = yield* impatient.connect([`tx3-st://127.0.0.1:${silentPort}/${alice.digest}`, addressOf(node)])
      assert.strictEqual(second.remoteAddress.port, addressOf(node).port)
      // The scope is still open: it is the other's success that closed it.
      yield* Effect.all(ended)
      assert.strictEqual(ended.length, 1)
    }))

  live("of two that both succeed one is kept, and the other is closed", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: [...bind, ...bind], identity: alice })
      const bobs = yield* withConfig({ connectStaggerMs: 0 })(connecting)
      for (let round = 0; round < 20; round++) {
        const connection = yield* bobs.connect([node.addresses[0]!, node.addresses[1]!])
        yield* sendAll(connection, Buffer.from("one"))
        // One that was closed may have come in before; nothing has been sent on it.
        const texts = yield* node.connections.pipe(
          Stream.mapEffect((connection) => Effect.orElseSucceed(received(connection), () => Buffer.alloc(0))),
          Stream.map(String),
          Stream.takeUntil((text) => text === "one"),
          Stream.runCollect
        )
        assert.deepStrictEqual(Array.from(texts).filter((text) => text !== ""), ["one"])
        yield* connection.close
      }
    }))

  live(
    "none that can be connected to is an error with the reason of each, and a bad one is told as such",
    () =>
      Effect.gen(function*() {
        const node = yield* listening
        const bobs = yield* connecting
        const dead = `tx3-st://127.0.0.1:${yield* freePort}/${alice.digest}` as const
        const other = addressOf(node).withDigest(bob.digest)
        const error = yield* Effect.flip(bobs.connect([dead, other]))
        assert(error._tag === "NoneReachable")
        assert.deepStrictEqual(error.failures.map(({ address }) => address), [dead, other.toString()])
        assert.deepInclude(error.failures[0]!.cause, { _tag: "DialError" })
        assert.deepInclude(error.failures[1]!.cause, { _tag: "DigestMismatch" })
        assert.include(error.message, "connection refused")
        assert.deepInclude(yield* Effect.flip(bobs.connect([dead, "nowhere"])), { _tag: "AddressError" })
      })
  )
})
