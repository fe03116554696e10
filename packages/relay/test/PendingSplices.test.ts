import { assert, describe, it } from "@effect/vitest"
import { SpliceToken } from "@tx3/protocol"
import { PendingSplices, Statistics } from "@tx3/relay"
import { Effect, Layer } from "effect"
import { fakePeer, fakeSession } from "./utils/fakes.js"

const layer = Layer.provide(PendingSplices.layer, Statistics.layer)

/** A peer that waits for a node, and what must be gone when it does not any more. */
const waiting = Effect.gen(function*() {
  const pendingSplices = yield* PendingSplices.PendingSplices
  const node = fakeSession()
  const peer = yield* fakePeer
  pendingSplices.offer(peer.peer, node.session)
  assert.deepStrictEqual(peer.entered, ["pending"])
  const isOver = Effect.sync(() => {
    assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    assert.strictEqual(node.listeners.size, 0)
    assert.isFalse(peer.isWatched())
    assert.isUndefined(pendingSplices.claim(node.delivered[0]!))
  })
  return { isOver, node, peer, pendingSplices, token: node.delivered[0]! }
})

describe("PendingSplices", () => {
  it.effect("sends the node a token, and who claims it gets the peer, once", () =>
    Effect.gen(function*() {
      const { isOver, node, peer, pendingSplices, token } = yield* waiting
      assert.strictEqual(node.delivered.length, 1)
      assert.strictEqual(Array.from(pendingSplices.all()).length, 1)
      const claimed = pendingSplices.claim(token)
      assert.strictEqual(claimed?.peer, peer.peer)
      assert.strictEqual(claimed?.session, node.session)
      assert.isUndefined(pendingSplices.claim(token))
      peer.peer.enter("spliced")
      yield* isOver
      assert.deepStrictEqual(peer.turnedAway, [])
    }).pipe(Effect.provide(layer)))

  it.effect("gives nobody a peer for another token", () =>
    Effect.gen(function*() {
      const { peer, pendingSplices, token } = yield* waiting
      assert.isUndefined(pendingSplices.claim(SpliceToken.random()))
      assert.strictEqual(pendingSplices.claim(token)?.peer, peer.peer)
    }).pipe(Effect.provide(layer)))

  it.effect("hungUp: the peer goes away", () =>
    Effect.gen(function*() {
      const { isOver, peer } = yield* waiting
      peer.hangUp()
      yield* isOver
      assert.deepStrictEqual(peer.turnedAway, ["hungUp"])
    }).pipe(Effect.provide(layer)))

  it.effect("hungUp: a peer that has gone already costs its node no token", () =>
    Effect.gen(function*() {
      const pendingSplices = yield* PendingSplices.PendingSplices
      const node = fakeSession()
      const peer = yield* fakePeer
      peer.hangUp()
      pendingSplices.offer(peer.peer, node.session)
      assert.deepStrictEqual(peer.turnedAway, ["hungUp"])
      assert.deepStrictEqual(node.delivered, [])
      assert.strictEqual(node.listeners.size, 0)
      assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("controlStreamEnded: the node goes away", () =>
    Effect.gen(function*() {
      const { isOver, node, peer } = yield* waiting
      node.session.end("closed")
      yield* isOver
      assert.deepStrictEqual(peer.turnedAway, ["controlStreamEnded"])
    }).pipe(Effect.provide(layer)))

  it.effect("controlStreamBusy: the node has no room for the token", () =>
    Effect.gen(function*() {
      const pendingSplices = yield* PendingSplices.PendingSplices
      const node = fakeSession({ room: 0 })
      const peer = yield* fakePeer
      pendingSplices.offer(peer.peer, node.session)
      assert.deepStrictEqual(peer.turnedAway, ["controlStreamBusy"])
      assert.strictEqual(node.listeners.size, 0)
      assert.isFalse(peer.isWatched())
      assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("a peer that is closed, at its deadline for one, waits no more", () =>
    Effect.gen(function*() {
      const { isOver, peer } = yield* waiting
      peer.peer.turnAway("pendingTimeout")
      yield* isOver
    }).pipe(Effect.provide(layer)))

  it.effect("what happens after the claim no longer concerns it", () =>
    Effect.gen(function*() {
      const { isOver, node, peer, pendingSplices, token } = yield* waiting
      pendingSplices.claim(token)
      peer.peer.enter("spliced")
      node.session.end("closed")
      peer.hangUp()
      yield* isOver
      assert.deepStrictEqual(peer.turnedAway, [])
    }).pipe(Effect.provide(layer)))

  it.effect("keeps many peers of many nodes apart", () =>
    Effect.gen(function*() {
      const all = yield* Effect.replicateEffect(waiting, 20)
      assert.strictEqual(new Set(all.map(({ token }) => token)).size, 20)
      for (const { node, peer, pendingSplices, token } of all.slice(0, 10)) {
        assert.strictEqual(pendingSplices.claim(token)?.session, node.session)
        peer.peer.enter("spliced")
      }
      for (const { peer } of all.slice(10)) {
        peer.hangUp()
      }
      yield* Effect.forEach(all, ({ isOver }) => isOver)
    }).pipe(Effect.provide(layer)))
})
