import { assert, describe } from "@effect/vitest"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Identity from "@tx3/protocol/Identity"
import * as Relay from "@tx3/relay/Relay"
import * as RelayTest from "@tx3/relay/RelayTest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { addressOf, alice, bob, live, payload, received, sendAll, sha256, taken, untilState } from "./utils/nodes.js"

const relayIdentity = await Effect.runPromise(Identity.generate)

const relay = (port = 0) =>
  Effect.map(
    Layer.build(RelayTest.layer({ bind: [`tx3-rst://127.0.0.1:${port}`], identity: relayIdentity, drainTimeoutMs: 1 })),
    Context.get(Relay.Relay)
  )

const addressIn = (relay: Relay.Relay["Type"]) => relay.addresses[0]!

const registered = (...relays: ReadonlyArray<Relay.Relay["Type"]>) =>
  Tx3Node.make({ bind: relays.map(addressIn), identity: alice, requireRegistration: true })

const connecting = Tx3Node.make({ identity: bob })

describe("through a relay", () => {
  live("8 MiB each way at once, and both digests are right", () =>
    Effect.gen(function*() {
      const node = yield* registered(yield* relay())
      const near = yield* (yield* connecting).connect(addressOf(node))
      const far = yield* taken(node)
      assert.strictEqual(near.remoteDigest, alice.digest)
      assert.strictEqual(far.remoteDigest, bob.digest)
      const [, atNear, , atFar] = yield* Effect.all(
        [sendAll(far, payload), received(near), sendAll(near, payload), received(far)],
        { concurrency: "unbounded" }
      )
      assert.strictEqual(sha256(atNear), sha256(payload))
      assert.strictEqual(sha256(atFar), sha256(payload))
    }))

  live("either side ends first, and still gets the answer", () =>
    Effect.gen(function*() {
      const node = yield* registered(yield* relay())
      const bobs = yield* connecting
      for (const swap of [false, true]) {
        const near = yield* bobs.connect(addressOf(node))
        const far = yield* taken(node)
        const [first, second] = swap ? [far, near] : [near, far]
        yield* sendAll(first, Buffer.from("request"))
        assert.strictEqual((yield* received(second)).toString(), "request")
        yield* sendAll(second, Buffer.from("answer"))
        assert.strictEqual((yield* received(first)).toString(), "answer")
      }
    }))

  live(
    "of two machines with one identity the older learns that the other has replaced it",
    () =>
      Effect.gen(function*() {
        const running = yield* relay()
        const older = yield* registered(running)
        yield* registered(running)
        const lost = yield* older.registrations[0]!.state.changes.pipe(
          Stream.filter(RelayRegistration.State.$is("Lost")),
          Stream.runHead,
          Effect.map(Option.getOrThrow)
        )
        assert.strictEqual(lost.because.reason, "replaced")
      })
  )

  live("a relay that stops, and one that throws a node out, are no other machine", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const running = yield* Scope.extend(relay(), scope)
      const node = yield* registered(running)
      yield* Scope.close(scope, Exit.void)
      const lost = yield* node.registrations[0]!.state.changes.pipe(
        Stream.filter(RelayRegistration.State.$is("Lost")),
        Stream.runHead,
        Effect.map(Option.getOrThrow)
      )
      assert.strictEqual(lost.because.reason, "lost")
    }))

  live("a digest that is not registered is a typed error that says so", () =>
    Effect.gen(function*() {
      const address = addressIn(yield* relay()).withDigest(alice.digest)
      const error = yield* Effect.flip((yield* connecting).connect(address))
      assert.deepInclude(error, { _tag: "PeerUnavailable", digest: alice.digest })
      assert.include(error.message, `no node with digest ${alice.digest} is registered there`)
    }))

  live("several relays and a direct address at once", () =>
    Effect.gen(function*() {
      const relays = [yield* relay(), yield* relay()]
      const node = yield* Tx3Node.make({
        bind: ["tx3-st://127.0.0.1:0", ...relays.map(addressIn)],
        identity: alice,
        requireRegistration: true
      })
      assert.deepStrictEqual(node.addresses.map(({ scheme }) => scheme), ["tx3-st", "tx3-rst", "tx3-rst"])
      const bobs = yield* connecting
      for (const address of node.addresses) {
        yield* sendAll(yield* bobs.connect(address), Buffer.from(address.toString()))
        assert.strictEqual((yield* received(yield* taken(node))).toString(), address.toString())
      }
    }))

  live("a relay with no room refuses, and a node can be told to fail with that", () =>
    Effect.gen(function*() {
      const full = yield* Effect.map(Layer.build(RelayTest.layer({ maxControlStreams: 1 })), Context.get(Relay.Relay))
      yield* registered(full)
      const error = yield* Effect.flip(
        Tx3Node.make({ bind: [addressIn(full)], identity: bob, requireRegistration: true })
      )
      assert.deepInclude(error, { _tag: "RegistrationError", reason: "full" })
      assert.include(error.message, "maxControlStreamsPerIp")
    }))

  live("a relay that is restarted has its node back", () =>
    Effect.gen(function*() {
      const relayScope = yield* Scope.make()
      const first = yield* Scope.extend(relay(), relayScope)
      const node = yield* Effect.provide(
        registered(first),
        NodeConfig.layer({ reconnectMinMs: 10, reconnectMaxMs: 20 })
      )
      yield* Scope.close(relayScope, Exit.void)
      yield* untilState(node, "Lost")
      yield* relay(addressIn(first).port)
      yield* untilState(node, "Live")
      yield* sendAll(yield* (yield* connecting).connect(addressOf(node)), Buffer.from("again"))
      assert.strictEqual((yield* received(yield* taken(node))).toString(), "again")
    }))
})
