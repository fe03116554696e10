/** The policies that a relay runs under: no program can forget them, and what they are given reaches them. */
import { assert, describe, it } from "@effect/vitest"
import { CertDigest } from "@tx3/protocol"
import { Access, Bandwidth, Relay, RelayConfig, RelayError, RelayEvents, RelayTest } from "@tx3/relay"
import { Context, Effect, Layer, Logger } from "effect"
import { carries, refusedToRegister } from "./utils/clients.js"
import { empty, testRelay, transport, withRelay } from "./utils/withRelay.js"

const config = RelayConfig.layer({ bind: ["tx3-rst://127.0.0.1:0"] })

/** What a layer still needs. */
type Needs<L> = L extends Layer.Layer<infer _A, infer _E, infer R> ? R : never

/** A policy's own: whom it lets in. */
class Friend extends Context.Reference<Friend>()("test/Friend", { defaultValue: () => "nobody" }) {}

const friendsOnly = Layer.succeed(Access.Access, {
  ...Access.open,
  controlStream: (address) =>
    Effect.flatMap(Friend, (friend) => address === friend ? Effect.void : new RelayError.Rejected({ reason: "denied" }))
})

describe("Policies", () => {
  it("are required: one that is merged beside the relay is a type error", () => {
    // What Effect's diagnostics find here as well is what the test is about.
    // @effect-diagnostics-next-line layerMergeAllWithDependencies:off
    const beside = Layer.mergeAll(Relay.layer, friendsOnly).pipe(Layer.provide(config))
    // @ts-expect-error: the relay beside it asks for `Access`, `Bandwidth` and `RelayEvents` still.
    // @effect-diagnostics-next-line missingLayerContext:off
    const complete: Layer.Layer<Relay.Relay, unknown> = beside
    const needs: Needs<typeof beside> extends Access.Access | Bandwidth.Bandwidth | RelayEvents.RelayEvents ? true
      : false = true
    const under: Layer.Layer<Relay.Relay, unknown> = Relay.layer.pipe(
      Layer.provide([friendsOnly, Bandwidth.layerUnlimited, RelayEvents.layerSilent]),
      Layer.provide(config)
    )
    assert.isTrue(needs && Layer.isLayer(complete) && Layer.isLayer(under))
  })

  it.live("that throw end one connection, with a defect in the log", () => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      lines.push(`${logLevel.label} ${Array.isArray(message) ? message[0] : message}`)
    })
    const throwing = Layer.succeed(Access.Access, {
      ...Access.open,
      peer: (_node, address) => {
        if (address === "127.0.0.2") {
          throw new Error("a bug in a policy")
        }
        return address === "127.0.0.3"
          ? new RelayError.Rejected({ reason: "denied" })
          : address === "127.0.0.4"
          ? Effect.fail(new RelayError.Rejected({ reason: "denied" }))
          : Effect.yieldNow()
      }
    })
    const layer = RelayTest.layer(
      { transport },
      Layer.mergeAll(throwing, Bandwidth.layerUnlimited, RelayEvents.layerSilent)
    ).pipe(Layer.provide(Logger.replace(Logger.defaultLogger, logger)))
    return Effect.gen(function*() {
      const { address, rejected } = yield* testRelay
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const peers = yield* Effect.forEach(
          ["127.0.0.2", "127.0.0.3", "127.0.0.4"],
          (localAddress) => RelayTest.sendPreamble(address, CertDigest.toBytes(node.identity.digest), { localAddress })
        )
        for (const peer of peers) {
          yield* peer.closed
        }
        yield* rejected("denied", 2)
        const { node: inside, peer } = yield* RelayTest.splice(node)
        yield* carries(peer, inside, "unconcerned")
      }))
      yield* empty
      assert.deepStrictEqual(lines.filter((line) => line.startsWith("ERROR")), ["ERROR defect in a connection"])
    }).pipe(Effect.provide(layer))
  })

  it.live("have around them in each connection what the relay has", () => {
    const policies = Layer.mergeAll(friendsOnly, Bandwidth.layerUnlimited, RelayEvents.layerSilent)
    return withRelay({}, ({ address, rejected }) =>
      Effect.gen(function*() {
        yield* RelayTest.register(address)
        yield* refusedToRegister(address, { localAddress: "127.0.0.2" })
        yield* rejected("denied", 1)
      }), policies).pipe(Effect.provideService(Friend, "127.0.0.1"))
  })
})
