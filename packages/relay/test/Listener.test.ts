import { assert, describe, it } from "@effect/vitest"
import { Address } from "@tx3/protocol"
import {
  ControlSessions,
  Limiter,
  Listener,
  PendingSplices,
  Relay,
  RelayConfig,
  RelayTest,
  Splices,
  Statistics
} from "@tx3/relay"
import { Interfaces } from "@tx3/sockets"
import { PortableTransport, Transport } from "@tx3/transport"
import { Effect, Exit, Layer, Logger, Scope } from "effect"
import * as Net from "node:net"
import { carries, refusedToConnect, refusedToRegister } from "./utils/clients.js"
import { hasIpv6, outgoingConnections } from "./utils/loopback.js"
import { empty, testRelay, transport, withoutDefects, withRelay } from "./utils/withRelay.js"

/** Keeps the lines that are logged at Info and above. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      lines.push(`${logLevel.label} ${String(message)}`)
    })
    return Effect.map(
      Effect.provide(effect, Logger.replace(Logger.defaultLogger, logger)),
      (result) => ({ lines, result })
    )
  })

const serves = (address: Address.Address) =>
  Effect.gen(function*() {
    const { node, peer } = yield* RelayTest.splice(yield* RelayTest.register(address))
    yield* carries(peer, node, "served")
  })

describe("Listener", () => {
  it.live("listens on every address of bind, and every address of a name", () =>
    withRelay(
      { bind: ["tx3-rst://127.0.0.1:0", "tx3-rst://127.0.0.2:0", "tx3-rst://localhost:0"] },
      ({ relay }) =>
        Effect.gen(function*() {
          assert.isAtLeast(relay.addresses.length, 3)
          assert.deepStrictEqual(relay.addresses.slice(0, 2).map(({ host }) => host), ["127.0.0.1", "127.0.0.2"])
          for (const address of relay.addresses) {
            assert.isAbove(address.port, 0)
            yield* serves(address)
          }
        })
    ))

  it.live("bound to all addresses of a machine that does not list its interfaces, publishes loopback and says so", () =>
    Effect.gen(function*() {
      const { lines, result } = yield* logged(
        Effect.map(Relay.Relay, ({ addresses }) => addresses.map(({ host }) => host)).pipe(
          Effect.provide(RelayTest.layer({ transport, bind: ["tx3-rst://0.0.0.0:0"] })),
          Effect.provideService(Interfaces.Interfaces, () => {
            throw new Error("EACCES")
          })
        )
      )
      assert.deepStrictEqual(result, ["127.0.0.1"])
      assert.deepStrictEqual(lines.filter((line) => line.includes("interfaces")), [
        "WARN this process may not list the machine's network interfaces (EACCES): " +
        "loopback is published in place of its addresses; set advertise"
      ])
    }))

  it.live("an address that is taken: a ListenError that says so, and what was bound before is free again", () =>
    withRelay({}, ({ address }) =>
      Effect.gen(function*() {
        const other = new Address.Address({ ...address, host: "127.0.0.2" })
        const build = Layer.build(
          RelayTest.layer({ transport, bind: [`tx3-rst://127.0.0.2:${address.port}`, `${address}`] })
        )
        const error = yield* Effect.flip(Effect.asVoid(Effect.scoped(build))).pipe(
          Effect.provideService(Listener.PortPatience, 0)
        )
        assert.instanceOf(error, Transport.ListenError)
        assert.include(error.message, `127.0.0.1:${address.port}: another program listens there already`)

        yield* refusedToConnect(other)
        yield* serves(address)
      })))

  it.live("waits at its start for a port that an outgoing connection has", () =>
    Effect.scoped(Effect.gen(function*() {
      const [outgoing] = yield* outgoingConnections(1)
      const { at, socket } = outgoing!
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => {
        lines.push(String(message))
        if (lines.at(-1)!.includes(`${at}: another program`)) {
          socket.resetAndDestroy()
        }
      })
      const { address } = yield* Effect.provide(
        testRelay,
        yield* Layer.build(RelayTest.layer({ transport, bind: [`tx3-rst://${at}`] })).pipe(
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
      )
      assert.strictEqual(lines.filter((line) => line.includes("another program")).length, 1)
      yield* serves(address)
    })))

  it.live.skipIf(!hasIpv6)("0.0.0.0 and [::] can have the same port", () =>
    Effect.scoped(Effect.gen(function*() {
      const port = yield* freePort
      const bind = [`tx3-rst://[::]:${port}`, `tx3-rst://0.0.0.0:${port}`] as const
      const relay = yield* Effect.provide(testRelay, yield* Layer.build(RelayTest.layer({ transport, bind })))
      yield* serves(new Address.Address({ ...relay.address, host: "127.0.0.1" }))
    })).pipe(withoutDefects))

  it.live.runIf(process.platform === "linux")(
    "says when maxInboundConnections is beyond the descriptor limit",
    () =>
      Effect.gen(function*() {
        const build = (maxInboundConnections: number) =>
          logged(Effect.scoped(Layer.build(RelayTest.layer({ transport, maxInboundConnections }))))
        const warned = (lines: ReadonlyArray<string>) =>
          lines.filter((line) => line.startsWith("WARN the descriptor limit (ulimit -n) allows "))
        assert.strictEqual(warned((yield* build(2_000_000_000)).lines).length, 1)
        assert.strictEqual(warned((yield* build(10)).lines).length, 0)
      })
  )

  it.live("a source that looks like a proxy without PROXY headers is named, once", () =>
    Effect.gen(function*() {
      const { lines } = yield* logged(
        Effect.gen(function*() {
          const { address, has, rejected } = yield* testRelay
          yield* Effect.replicateEffect(RelayTest.connect(address), 16)
          yield* has({ preamble: 16 })
          for (let count = 0; count < 3; count++) {
            yield* Effect.flatMap(RelayTest.connect(address), (surplus) => surplus.closed)
          }
          yield* rejected("maxShareOfRelay", 3)
        }).pipe(
          Effect.scoped,
          Effect.zipLeft(empty),
          Effect.provide(RelayTest.layer({ transport, maxInboundConnections: 20, maxRelaysPerControl: 1 }))
        )
      )
      const named = lines.filter((line) => line.startsWith("WARN most connections come from one source"))
      assert.strictEqual(named.length, 1)
      assert.strictEqual(lines.filter((line) => line === "WARN connection turned away by a limit").length, 2)
    }))

  it.live("a defect in one connection is logged, closes it, and is no concern of the others", () =>
    Effect.gen(function*() {
      const faulty = Layer.effect(
        Limiter.Limiter,
        Effect.map(Limiter.Limiter, (limiter) =>
          Limiter.Limiter.of({
            ...limiter,
            handshake: (source) => source === "127.0.0.2" ? () => Effect.dieMessage("a bug") : limiter.handshake(source)
          }))
      ).pipe(Layer.provide(Limiter.layer))
      const layer = Relay.layerNoDependencies.pipe(
        Layer.provide(Listener.layer),
        Layer.provide([ControlSessions.layer, PendingSplices.layer, Splices.layer]),
        Layer.provide([faulty, Statistics.layer]),
        Layer.provide(Relay.openPolicies),
        Layer.provide(PortableTransport.layer),
        Layer.provide(RelayConfig.layer({ bind: ["tx3-rst://127.0.0.1:0"] }))
      )
      const { lines } = yield* logged(
        Effect.gen(function*() {
          const { address } = yield* testRelay
          yield* Effect.scoped(Effect.gen(function*() {
            const node = yield* RelayTest.register(address)
            yield* refusedToRegister(address, { localAddress: "127.0.0.2" })
            const { node: inside, peer } = yield* RelayTest.splice(node)
            yield* carries(peer, inside, "unconcerned")
          }))
          yield* empty
        }).pipe(Effect.provide(layer))
      )
      assert.strictEqual(lines.filter((line) => line === "ERROR defect in a connection").length, 1)
    }))

  it.live("a shut down relay's port is free at once", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      for (let i = 0; i < 3; i++) {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          RelayTest.layer({ transport, bind: [`tx3-rst://127.0.0.1:${port}`] }),
          scope
        )
        const { address } = yield* Effect.provide(testRelay, context)
        yield* Effect.scoped(serves(address))
        yield* Scope.close(scope, Exit.void)
      }
    }).pipe(withoutDefects))
})

const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer().listen(0, "0.0.0.0", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})
