import { assert, describe, it } from "@effect/vitest"
import type { CertDigest } from "@tx3/protocol"
import { SpliceToken } from "@tx3/protocol"
import { Limiter, PendingSplices, RelayEvents, Statistics } from "@tx3/relay"
import { Effect, Layer, TestClock } from "effect"
import { fakePeer, fakeSession } from "./utils/fakes.js"

/** Peers of each node that hold a place, waiting or spliced, beside those of the test. */
const relays = new Map<CertDigest.CertDigest, number>()
const none = new Map<never, number>()
const limiter = Layer.mock(Limiter.Limiter, {
  refusal: () => undefined,
  dialed: () => "maxInboundConnections",
  inbound: () => "maxInboundConnections",
  controlStream: () => "maxControlStreams",
  relay: () => "maxRelaysPerControl",
  handshake: () => (handshake) => handshake,
  counts: () => ({
    sockets: none,
    unsettled: none,
    handshakes: none,
    controlStreams: none,
    relays,
    shares: none,
    guests: none
  })
})

const layer = PendingSplices.layer.pipe(
  Layer.provide([limiter, Statistics.layer]),
  Layer.provide(RelayEvents.layerSilent)
)

/** A peer that waits for a node, and what must be gone when it does not any more. */
const waiting = Effect.gen(function*() {
  const pendingSplices = yield* PendingSplices.PendingSplices
  const node = fakeSession()
  const peer = yield* fakePeer
  pendingSplices.offer(peer.peer, node.session)
  assert.deepStrictEqual(peer.entered, ["pending"])
  const isOver = Effect.sync(() => {
    assert.strictEqual(Array.from(pendingSplices.all()).length, 0)
    // One of the watch over the node, which lasts as long as its control stream.
    assert.isAtMost(node.listeners.size, 1)
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

/** A node and its peers: what they do, and why its control stream was ended. */
const watched = (options: { readonly dialedBack: boolean }) =>
  Effect.gen(function*() {
    const pendingSplices = yield* PendingSplices.PendingSplices
    const node = fakeSession()
    const arrive = Effect.map(fakePeer, (peer) => {
      pendingSplices.offer(peer.peer, node.session)
      return peer
    })
    const dialBack = (token = node.delivered.at(-1)!) =>
      Effect.sync(() => pendingSplices.claim(token)?.peer.enter("spliced"))
    const waitsInVain = Effect.gen(function*() {
      const peer = yield* arrive
      yield* TestClock.adjust("20 seconds")
      peer.peer.turnAway("pendingTimeout")
    })
    if (options.dialedBack) {
      yield* arrive
      yield* dialBack()
    }
    return { arrive, dialBack, ended: node.ended, node, waitsInVain }
  })

describe("unresponsive", () => {
  it.effect("a node that dialed back before: two peers in vain, 28 s after the first of them came", () =>
    Effect.gen(function*() {
      const { arrive, ended, waitsInVain } = yield* watched({ dialedBack: true })
      yield* waitsInVain
      const second = yield* arrive
      yield* TestClock.adjust("7 seconds")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(ended, ["unresponsive"])
      assert.deepStrictEqual(second.turnedAway, ["controlStreamEnded"])
    }).pipe(Effect.provide(layer)))

  it.effect("later a second peer waits five seconds, not twenty", () =>
    Effect.gen(function*() {
      const { arrive, ended, waitsInVain } = yield* watched({ dialedBack: true })
      yield* waitsInVain
      // TestClock stops at every second of it.
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(ended, [], "one token proves nothing")
      yield* arrive
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(ended, ["unresponsive"])
    }).pipe(Effect.provide(layer)))

  it.effect("peers that leave before the node can dial back do not count, however many", () =>
    Effect.gen(function*() {
      const { arrive, ended } = yield* watched({ dialedBack: true })
      for (let round = 0; round < 50; round++) {
        const peers = yield* Effect.replicateEffect(arrive, 20)
        yield* TestClock.adjust("4 seconds")
        peers.forEach((peer) => peer.hangUp())
      }
      assert.deepStrictEqual(ended, [])
    }).pipe(Effect.provide(layer)))

  it.effect("a dial-back for one of many peers clears the node, also for a peer that is gone", () =>
    Effect.gen(function*() {
      const { arrive, dialBack, ended, node } = yield* watched({ dialedBack: true })
      for (let round = 0; round < 20; round++) {
        const gone = yield* arrive
        const token = node.delivered.at(-1)!
        gone.hangUp()
        const peers = yield* Effect.replicateEffect(arrive, 5)
        yield* TestClock.adjust("19 seconds")
        yield* dialBack(round % 2 === 0 ? token : undefined)
        peers.forEach((peer) => peer.peer.turnAway("pendingTimeout"))
      }
      assert.deepStrictEqual(ended, [])
    }).pipe(Effect.provide(layer)))

  it.effect("a flood of peers that are gone does not hide the node's dial-backs for them", () =>
    Effect.gen(function*() {
      const { arrive, dialBack, ended, node } = yield* watched({ dialedBack: true })
      const flood = Effect.gen(function*() {
        const from = node.delivered.length
        const peers = yield* Effect.replicateEffect(arrive, 200)
        peers.forEach((peer) => peer.hangUp())
        return node.delivered.slice(from)
      })
      for (let round = 0; round < 10; round++) {
        const backlog = yield* flood
        const honest = yield* arrive
        yield* TestClock.adjust("20 seconds")
        honest.peer.turnAway("pendingTimeout")
        // The node is that far behind.
        yield* dialBack(backlog[0])
      }
      assert.deepStrictEqual(ended, [])
    }).pipe(Effect.provide(layer)))

  it.effect("a node that never dialed back, as behind a firewall: four peers in vain, and two minutes", () =>
    Effect.gen(function*() {
      const { ended, waitsInVain } = yield* watched({ dialedBack: false })
      yield* Effect.repeatN(waitsInVain, 4)
      yield* TestClock.adjust("19 seconds")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(ended, ["unresponsive"])
    }).pipe(Effect.provide(layer)))

  it.effect("a node with a splice, which may serve one peer at a time: as patient", () =>
    Effect.gen(function*() {
      const { ended, node, waitsInVain } = yield* watched({ dialedBack: true })
      relays.set(node.session.node, 2)
      yield* Effect.repeatN(waitsInVain, 4)
      yield* TestClock.adjust("19 seconds")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(ended, ["unresponsive"])
      relays.clear()
    }).pipe(Effect.provide(layer)))
})
