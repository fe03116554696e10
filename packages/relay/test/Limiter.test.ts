import { assert, describe, it } from "@effect/vitest"
import { CertDigest, Source } from "@tx3/protocol"
import type { RelayError } from "@tx3/relay"
import { Limiter, RelayConfig } from "@tx3/relay"
import { PortableTransport, Transport } from "@tx3/transport"
import { Deferred, Effect, Exit, Layer, Option, Scope, TestClock } from "effect"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import type { Settings } from "./utils/withRelay.js"

/** The limiter, whose places are held by the scopes of effects. */
const held = (limiter: typeof Limiter.Limiter.Service) => ({
  ...limiter,
  controlStream: (...[source, predecessor]: Parameters<typeof limiter.controlStream>) =>
    Limiter.hold(() => limiter.controlStream(source, predecessor)),
  inbound: (source: Source.Source) => Limiter.hold(() => limiter.inbound(source)),
  relay: (node: Limiter.RegisteredNode, source: Source.Source) => Limiter.hold(() => limiter.relay(node, source))
})

type Service = ReturnType<typeof held>

/** Every count there is, as plain data. */
const countsOf = (limiter: Service) => {
  const { controlStreams, guests, handshakes, relays, shares, sockets, unsettled } = limiter.counts()
  return {
    sockets: Object.fromEntries(sockets),
    shares: Object.fromEntries(shares),
    guests: Object.fromEntries(guests),
    unsettled: Object.fromEntries(unsettled),
    handshakes: Object.fromEntries(handshakes),
    controlStreams: Object.fromEntries(controlStreams),
    relays: Object.fromEntries(relays)
  }
}

const nothing = { sockets: {}, shares: {}, guests: {}, unsettled: {}, handshakes: {}, controlStreams: {}, relays: {} }

const withLimiter = <A, E>(settings: Settings, body: (limiter: Service) => Effect.Effect<A, E, Scope.Scope>) =>
  Effect.gen(function*() {
    const limiter = held(yield* Limiter.Limiter)
    yield* Effect.scoped(body(limiter))
    assert.deepStrictEqual(countsOf(limiter), nothing)
  }).pipe(Effect.provide(
    Limiter.layer.pipe(
      Layer.provide(PortableTransport.layer),
      Layer.provide(RelayConfig.layer({ bind: ["tx3-rst://192.0.2.9:1"], ...settings }))
    )
  ))

const a = Source.fromAddress("192.0.2.1")
const b = Source.fromAddress("192.0.2.2")
const digest = () => CertDigest.fromBytes(randomBytes(32))
/** A node that `a` has registered. */
const nodeOf = (source: Source.Source, node = digest()): Limiter.RegisteredNode => ({ node, source })

/** A handshake that goes on until the scope closes. */
const handshaking = (limiter: Service, source: Source.Source) =>
  Effect.gen(function*() {
    const begun = yield* Deferred.make<void, RelayError.Rejected>()
    yield* limiter.handshake(source)(Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)).pipe(
      Effect.catchAll((rejected) => Deferred.fail(begun, rejected)),
      Effect.forkScoped
    )
    yield* Deferred.await(begun)
  })

const refused = <A>(
  place: Effect.Effect<A, RelayError.Rejected, Scope.Scope>,
  reason: RelayError.RejectionReason
) => Effect.map(Effect.flip(place), (rejected) => assert.strictEqual(rejected.reason, reason))

/** Takes a place; what it gives gives the place back. */
const take = <A>(place: Effect.Effect<A, RelayError.Rejected, Scope.Scope>) =>
  Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void)).pipe(
    Effect.tap((scope) => Scope.extend(place, scope)),
    Effect.map((scope) => Scope.close(scope, Exit.void))
  )

describe("Limiter", () => {
  it.effect("maxInboundConnections: in all, settled or not", () =>
    withLimiter({ maxInboundConnections: 2 }, (limiter) =>
      Effect.gen(function*() {
        const giveBack = yield* take(Effect.map(limiter.inbound(a), (place) => place.settle()))
        yield* limiter.inbound(b)
        yield* refused(limiter.inbound(b), "maxInboundConnections")
        assert.deepStrictEqual(countsOf(limiter).sockets, { [a]: 1, [b]: 1 })
        yield* giveBack
        yield* limiter.inbound(b)
        yield* refused(limiter.inbound(b), "maxInboundConnections")
      })))

  it.effect("maxInboundPerIp: of one source, until settled", () =>
    withLimiter({ maxInboundPerIp: 2 }, (limiter) =>
      Effect.gen(function*() {
        const first = yield* limiter.inbound(a)
        const giveBack = yield* take(limiter.inbound(a))
        yield* refused(limiter.inbound(a), "maxInboundPerIp")
        yield* limiter.inbound(b)
        first.settle()
        first.settle()
        yield* limiter.inbound(a)
        yield* refused(limiter.inbound(a), "maxInboundPerIp")
        yield* giveBack
        yield* limiter.inbound(a)
        yield* refused(limiter.inbound(a), "maxInboundPerIp")
        assert.deepStrictEqual(countsOf(limiter).sockets, { [a]: 3, [b]: 1 })
      })))

  it.effect("maxHandshakes and maxHandshakesPerIp", () =>
    withLimiter({ maxHandshakes: 3, maxHandshakesPerIp: 2 }, (limiter) =>
      Effect.gen(function*() {
        const giveBack = yield* take(handshaking(limiter, a))
        yield* handshaking(limiter, a)
        yield* refused(handshaking(limiter, a), "maxHandshakesPerIp")
        yield* handshaking(limiter, b)
        yield* refused(handshaking(limiter, b), "maxHandshakes")
        yield* giveBack
        yield* handshaking(limiter, b)
        yield* refused(handshaking(limiter, a), "maxHandshakes")
      })))

  it.effect("a handshake that fails, or is interrupted, gives its places back", () =>
    withLimiter({ maxHandshakes: 1 }, (limiter) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Effect.flip(limiter.handshake(a)(Effect.fail("no"))), "no")
        yield* Effect.flatMap(take(handshaking(limiter, a)), (giveBack) => giveBack)
        assert.strictEqual(yield* limiter.handshake(a)(Effect.succeed("yes")), "yes")
        assert.deepStrictEqual(countsOf(limiter), nothing)
      })))

  it.effect("maxControlStreams and maxControlStreamsPerIp", () =>
    withLimiter({ maxControlStreams: 3, maxControlStreamsPerIp: 2 }, (limiter) =>
      Effect.gen(function*() {
        const giveBack = yield* take(limiter.controlStream(a, undefined))
        yield* limiter.controlStream(a, undefined)
        yield* refused(limiter.controlStream(a, undefined), "maxControlStreamsPerIp")
        yield* limiter.controlStream(b, undefined)
        yield* refused(limiter.controlStream(b, undefined), "maxControlStreams")
        yield* giveBack
        yield* limiter.controlStream(b, undefined)
        yield* refused(limiter.controlStream(a, undefined), "maxControlStreams")
      })))

  it.effect("a predecessor's place changes hands in one step, and only if there is one for the newcomer", () =>
    withLimiter({ maxControlStreams: 2, maxControlStreamsPerIp: 1 }, (limiter) =>
      Effect.gen(function*() {
        const first = yield* limiter.controlStream(a, undefined)
        yield* limiter.controlStream(b, undefined)
        yield* refused(limiter.controlStream(b, first), "maxControlStreamsPerIp")
        assert.deepStrictEqual(countsOf(limiter), { ...nothing, controlStreams: { [a]: 1, [b]: 1 } })

        const second = yield* limiter.controlStream(a, first)
        assert.deepStrictEqual(countsOf(limiter), { ...nothing, controlStreams: { [a]: 1, [b]: 1 } })
        first.giveBack()
        second.giveBack()
        second.giveBack()
        assert.deepStrictEqual(countsOf(limiter), { ...nothing, controlStreams: { [b]: 1 } })
      })))

  it.effect("maxRelaysPerControl: of one node", () =>
    withLimiter({ maxRelaysPerControl: 2, maxShareOfNode: 1 }, (limiter) =>
      Effect.gen(function*() {
        const [node, other] = [nodeOf(a), nodeOf(a)]
        const giveBack = yield* take(limiter.relay(node, a))
        yield* limiter.relay(node, a)
        yield* refused(limiter.relay(node, a), "maxRelaysPerControl")
        yield* limiter.relay(other, a)
        yield* giveBack
        yield* limiter.relay(node, a)
        yield* refused(limiter.relay(node, a), "maxRelaysPerControl")
        assert.deepStrictEqual(countsOf(limiter), {
          ...nothing,
          relays: { [node.node]: 2, [other.node]: 1 },
          shares: { [`${node.node} ${a}`]: 2, [`${other.node} ${a}`]: 1 }
        })
      })))

  it.effect("maxShareOfNode: one source opens 50 connections to a node, and leaves eight places for others", () =>
    withLimiter({}, (limiter) =>
      Effect.gen(function*() {
        const node = nodeOf(a)
        yield* Effect.replicateEffect(limiter.relay(node, a), 56)
        yield* refused(limiter.relay(node, a), "maxShareOfNode")
        yield* Effect.replicateEffect(limiter.relay(node, b), 8)
        yield* refused(limiter.relay(node, b), "maxRelaysPerControl")
      })))

  it.effect("maxShareOfNode: of small numbers it is the protocol's, one source may have 3 of 3", () =>
    withLimiter({ maxRelaysPerControl: 3 }, (limiter) =>
      Effect.gen(function*() {
        const node = nodeOf(a)
        yield* Effect.replicateEffect(limiter.relay(node, a), 3)
        yield* refused(limiter.relay(node, a), "maxRelaysPerControl")
      })))

  it.effect("maxShareOfNode: rounded up, as a decimal fraction", () =>
    withLimiter({ maxRelaysPerControl: 90, maxShareOfNode: 0.7 }, (limiter) =>
      Effect.gen(function*() {
        const node = nodeOf(a)
        yield* Effect.replicateEffect(limiter.relay(node, a), 63)
        yield* refused(limiter.relay(node, a), "maxShareOfNode")
      })))

  it.effect("maxShareOfNode: a place that is given back can be taken again, by anybody", () =>
    withLimiter({ maxRelaysPerControl: 5, maxShareOfNode: 0.4 }, (limiter) =>
      Effect.gen(function*() {
        const [node, other] = [nodeOf(a), nodeOf(a)]
        const giveBack = yield* take(limiter.relay(node, a))
        yield* limiter.relay(node, a)
        yield* refused(limiter.relay(node, a), "maxShareOfNode")
        yield* limiter.relay(other, a)
        yield* limiter.relay(node, b)
        yield* giveBack
        yield* limiter.relay(node, a)
        yield* refused(limiter.relay(node, a), "maxShareOfNode")
        yield* limiter.relay(node, b)
        yield* refused(limiter.relay(node, b), "maxShareOfNode")
      })))

  it.effect("maxShareOfNode: never less than one", () =>
    withLimiter({ maxRelaysPerControl: 1 }, (limiter) => limiter.relay(nodeOf(a), a)))

  const inbound = (limiter: Service, source: Source.Source, count: number) =>
    Effect.replicateEffect(Effect.map(limiter.inbound(source), (place) => place.settle()), count)

  it.effect("maxShareOfRelay: all sockets of one source, once less than a quarter is free", () =>
    withLimiter({ maxInboundConnections: 1_000, maxShareOfRelay: 0.3 }, (limiter) =>
      Effect.gen(function*() {
        yield* inbound(limiter, a, 750)
        const giveBack = yield* take(inbound(limiter, b, 1))
        yield* refused(limiter.inbound(a), "maxShareOfRelay")
        yield* giveBack
        yield* inbound(limiter, a, 1)
        yield* refused(limiter.inbound(a), "maxShareOfRelay")
        yield* inbound(limiter, b, 249)
        yield* refused(limiter.inbound(b), "maxInboundConnections")
      })))

  it.effect("maxShareOfRelay: a source within its share is not held back by others", () =>
    withLimiter({ maxInboundConnections: 1_000, maxShareOfRelay: 0.3 }, (limiter) =>
      Effect.gen(function*() {
        yield* inbound(limiter, a, 751)
        yield* inbound(limiter, b, 249)
      })))

  it.effect("maxShareOfRelay: never less than one node's full use, 2 x maxRelaysPerControl + 8", () =>
    withLimiter(
      { maxInboundConnections: 200, maxRelaysPerControl: 74, maxShareOfRelay: 0.001 },
      (limiter) =>
        Effect.gen(function*() {
          yield* inbound(limiter, a, 156)
          yield* refused(limiter.inbound(a), "maxShareOfRelay")
        })
    ))

  it.effect("maxShareOfRelay 1 turns it off", () =>
    withLimiter({ maxInboundConnections: 1_000, maxShareOfRelay: 1 }, (limiter) => inbound(limiter, a, 1_000)))

  it.effect("maxShareOfRelay: a peer from elsewhere counts to the source that registered its node, too", () =>
    withLimiter({ maxInboundConnections: 40, maxRelaysPerControl: 4 }, (limiter) =>
      Effect.gen(function*() {
        const [node, other] = [nodeOf(a), nodeOf(a)]
        yield* inbound(limiter, a, 13)
        yield* inbound(limiter, b, 18)
        const giveBack = yield* take(Effect.replicateEffect(limiter.relay(node, b), 3))
        yield* Effect.replicateEffect(limiter.relay(other, b), 4)
        yield* limiter.relay(node, a)
        assert.deepStrictEqual(countsOf(limiter).guests, { [a]: 7 })
        yield* refused(limiter.inbound(a), "maxShareOfRelay")
        yield* refused(limiter.relay(nodeOf(a), b), "maxShareOfRelay")
        yield* limiter.relay(nodeOf(b), b)
        yield* giveBack
        yield* inbound(limiter, a, 3)
        yield* refused(limiter.inbound(a), "maxShareOfRelay")
        assert.deepStrictEqual(countsOf(limiter).guests, { [a]: 4 })
      })))

  it.effect("peerRatePerIp: of one source to one node, two seconds' worth at once, then so many a second", () =>
    withLimiter({ peerRatePerIp: 10 }, (limiter) =>
      Effect.gen(function*() {
        const [node, other] = [nodeOf(a), nodeOf(a)]
        const twenty = Effect.replicateEffect(Effect.scoped(limiter.relay(node, b)), 20)
        yield* twenty
        yield* refused(limiter.relay(node, b), "peerRatePerIp")
        yield* limiter.relay(other, b)
        yield* limiter.relay(node, a)
        yield* TestClock.adjust("99 millis")
        yield* refused(limiter.relay(node, b), "peerRatePerIp")
        yield* TestClock.adjust("1 millis")
        yield* limiter.relay(node, b)
        yield* refused(limiter.relay(node, b), "peerRatePerIp")
        yield* TestClock.adjust("2 seconds")
        yield* twenty
      })))

  it.effect("peerRatePerIp: a peer that another limit turns away costs nothing of it", () =>
    withLimiter({ peerRatePerIp: 5, maxRelaysPerControl: 1 }, (limiter) =>
      Effect.gen(function*() {
        const node = nodeOf(a)
        const giveBack = yield* take(limiter.relay(node, b))
        yield* Effect.replicateEffect(refused(limiter.relay(node, b), "maxRelaysPerControl"), 20)
        yield* giveBack
        yield* Effect.replicateEffect(Effect.scoped(limiter.relay(node, b)), 9)
        yield* refused(limiter.relay(node, b), "peerRatePerIp")
      })))

  it.effect("maxSocketsPerIp: of one source, settled or not", () =>
    withLimiter({ maxSocketsPerIp: 2 }, (limiter) =>
      Effect.gen(function*() {
        const giveBack = yield* take(Effect.map(limiter.inbound(a), (place) => place.settle()))
        yield* Effect.map(limiter.inbound(a), (place) => place.settle())
        yield* refused(limiter.inbound(a), "maxSocketsPerIp")
        yield* limiter.inbound(b)
        yield* giveBack
        yield* limiter.inbound(a)
      })))

  it.effect("refusal says what inbound would, and takes nothing", () =>
    withLimiter(
      { connectionRatePerIp: 1, maxInboundPerIp: 11, maxSocketsPerIp: 12 },
      (limiter) =>
        Effect.gen(function*() {
          const places = yield* Effect.replicateEffect(limiter.inbound(a), 10)
          assert.strictEqual(limiter.refusal(a), "connectionRatePerIp")
          yield* refused(limiter.inbound(a), "connectionRatePerIp")
          yield* TestClock.adjust("1 second")
          for (let time = 0; time < 3; time++) {
            assert.isUndefined(limiter.refusal(a))
          }
          yield* limiter.inbound(a)
          assert.strictEqual(limiter.refusal(a), "maxInboundPerIp")
          places[0]!.settle()
          assert.strictEqual(limiter.refusal(a), "connectionRatePerIp")
          assert.isUndefined(limiter.refusal(b))
        })
    ))

  it.effect("connectionRatePerIp: ten seconds' worth at once, then so many a second", () =>
    withLimiter({ connectionRatePerIp: 2 }, (limiter) =>
      Effect.gen(function*() {
        const twenty = Effect.replicateEffect(Effect.scoped(limiter.inbound(a)), 20)
        yield* twenty
        yield* refused(limiter.inbound(a), "connectionRatePerIp")
        yield* limiter.inbound(b)
        yield* TestClock.adjust("499 millis")
        yield* refused(limiter.inbound(a), "connectionRatePerIp")
        yield* TestClock.adjust("1 millis")
        yield* limiter.inbound(a)
        yield* refused(limiter.inbound(a), "connectionRatePerIp")
        yield* TestClock.adjust("10 seconds")
        yield* twenty
        yield* refused(limiter.inbound(a), "connectionRatePerIp")
      })))

  it.effect("whoever is refused takes nothing, and gives nothing back", () =>
    withLimiter(
      { maxHandshakes: 1, maxInboundConnections: 1, maxRelaysPerControl: 1, connectionRatePerIp: 1 },
      (limiter) =>
        Effect.gen(function*() {
          const node = nodeOf(a)
          yield* Effect.all([limiter.inbound(a), handshaking(limiter, a), limiter.relay(node, a)])
          const before = countsOf(limiter)
          yield* Effect.scoped(Effect.gen(function*() {
            yield* refused(limiter.inbound(b), "maxInboundConnections")
            yield* refused(handshaking(limiter, b), "maxHandshakes")
            yield* refused(limiter.relay(node, a), "maxRelaysPerControl")
            assert.deepStrictEqual(countsOf(limiter), before)
          }))
          assert.deepStrictEqual(countsOf(limiter), before)
        })
    ))

  it.effect("10,000 sources that came and went leave no entry behind", () =>
    withLimiter({}, (limiter) =>
      Effect.gen(function*() {
        for (let i = 0; i < 10_000; i++) {
          yield* Effect.scoped(limiter.inbound(Source.fromAddress(`10.0.${i >> 8}.${i & 255}`)))
        }
        assert.strictEqual(limiter.counts().unsettled.size, 0)
      })))

  const limits = /^Max open files\s+(\d+)/m

  it.effect.runIf(process.platform === "linux")(
    "leaves 64 of the process's descriptors for other things, and what the transport needs",
    () =>
      Effect.gen(function*() {
        const limit = Number(limits.exec(readFileSync("/proc/self/limits", "utf8"))?.[1])
        const portable = yield* Effect.provide(Limiter.inboundByDescriptors, PortableTransport.layer)
        assert.strictEqual(Option.getOrNull(portable), limit - 64)
        const transport = yield* Effect.provide(Transport.Transport, PortableTransport.layer)
        const needy = yield* Effect.provideService(Limiter.inboundByDescriptors, Transport.Transport, {
          ...transport,
          ownDescriptors: 100
        })
        assert.strictEqual(Option.getOrNull(needy), limit - 164)
      })
  )
})
