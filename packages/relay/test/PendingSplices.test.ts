import { assert, describe, it } from "@effect/vitest"
import { SpliceToken } from "@tx3/protocol"
import type { RelayError } from "@tx3/relay"
import { PendingSplices } from "@tx3/relay"
import { Effect, Fiber } from "effect"
import { fakePeer, fakeSession } from "./utils/fakes.js"

/** A peer that waits for a node, and what must be gone when it does not any more. */
const waiting = Effect.gen(function*() {
  const pendingSplices = yield* PendingSplices.PendingSplices
  const node = fakeSession()
  const peer = yield* fakePeer
  const offer = yield* Effect.fork(pendingSplices.offer(peer.peer, node.session))
  yield* Effect.yieldNow()
  const isOver = Effect.sync(() => {
    assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    assert.strictEqual(node.listeners.size, 0)
    assert.isFalse(peer.isWatched())
    assert.isUndefined(pendingSplices.claim(node.delivered[0]!))
  })
  return { isOver, node, offer, peer, pendingSplices, token: node.delivered[0]! }
})

const rejectedWith = (offer: Fiber.Fiber<void, RelayError.Rejected>) =>
  Effect.map(Effect.flip(Fiber.join(offer)), ({ reason }) => reason)

describe("PendingSplices", () => {
  it.effect("sends the node a token, and who claims it gets the peer, once", () =>
    Effect.gen(function*() {
      const { isOver, node, offer, peer, pendingSplices, token } = yield* waiting
      assert.strictEqual(node.delivered.length, 1)
      assert.strictEqual(Array.from(pendingSplices.all()).length, 1)
      const claimed = pendingSplices.claim(token)
      assert.strictEqual(claimed?.peer, peer.peer)
      assert.strictEqual(claimed?.session, node.session)
      yield* isOver
      yield* Fiber.join(offer)
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("gives nobody a peer for another token", () =>
    Effect.gen(function*() {
      const { isOver, pendingSplices, token } = yield* waiting
      assert.isUndefined(pendingSplices.claim(SpliceToken.random()))
      assert.isDefined(pendingSplices.claim(token))
      yield* isOver
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("hungUp: the peer goes away", () =>
    Effect.gen(function*() {
      const { isOver, offer, peer } = yield* waiting
      peer.hangUp()
      yield* isOver
      assert.strictEqual(yield* rejectedWith(offer), "hungUp")
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("hungUp: a peer that has gone already costs its node no token", () =>
    Effect.gen(function*() {
      const pendingSplices = yield* PendingSplices.PendingSplices
      const node = fakeSession()
      const peer = yield* fakePeer
      peer.hangUp()
      const { reason } = yield* Effect.flip(pendingSplices.offer(peer.peer, node.session))
      assert.strictEqual(reason, "hungUp")
      assert.deepStrictEqual(node.delivered, [])
      assert.strictEqual(node.listeners.size, 0)
      assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("controlStreamEnded: the node goes away", () =>
    Effect.gen(function*() {
      const { isOver, node, offer } = yield* waiting
      node.session.end("closed")
      yield* isOver
      assert.strictEqual(yield* rejectedWith(offer), "controlStreamEnded")
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("controlStreamBusy: the node has no room for the token", () =>
    Effect.gen(function*() {
      const pendingSplices = yield* PendingSplices.PendingSplices
      const node = fakeSession({ room: 0 })
      const peer = yield* fakePeer
      const { reason } = yield* Effect.flip(pendingSplices.offer(peer.peer, node.session))
      assert.strictEqual(reason, "controlStreamBusy")
      assert.strictEqual(node.listeners.size, 0)
      assert.isFalse(peer.isWatched())
      assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("a peer whose fiber is interrupted, at its deadline, waits no more", () =>
    Effect.gen(function*() {
      const { isOver, offer } = yield* waiting
      yield* Fiber.interrupt(offer)
      yield* isOver
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("what happens after the claim no longer concerns it", () =>
    Effect.gen(function*() {
      const { isOver, node, offer, peer, pendingSplices, token } = yield* waiting
      pendingSplices.claim(token)
      node.session.end("closed")
      peer.hangUp()
      yield* isOver
      yield* Fiber.join(offer)
    }).pipe(Effect.provide(PendingSplices.layer)))

  it.effect("keeps many peers of many nodes apart", () =>
    Effect.gen(function*() {
      const all = yield* Effect.replicateEffect(waiting, 20)
      assert.strictEqual(new Set(all.map(({ token }) => token)).size, 20)
      for (const { node, pendingSplices, token } of all.slice(0, 10)) {
        assert.strictEqual(pendingSplices.claim(token)?.session, node.session)
      }
      for (const { peer } of all.slice(10)) {
        peer.hangUp()
      }
      yield* Effect.forEach(all, ({ isOver }) => isOver)
    }).pipe(Effect.provide(PendingSplices.layer)))
})
