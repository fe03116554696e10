/**
 * Admission: who may come in, begin TLS, register, or wait for a node. It never waits, and it decides in one step: the
 * place is taken or there is a reason why not. The scope of a connection holds its places, and gives them back when it closes.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type { Source } from "@tx3/protocol/Source"
import * as DescriptorLimit from "@tx3/sockets/DescriptorLimit"
import * as Transport from "@tx3/transport/Transport"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { portionOf } from "./internal/portion.js"
import { Tally } from "./internal/tally.js"
import { TokenBuckets } from "./internal/tokenBuckets.js"
import type { Settings } from "./RelayConfig.js"
import { RelayConfig } from "./RelayConfig.js"
import type { RejectionReason } from "./RelayError.js"
import { Rejected } from "./RelayError.js"

/**
 * Gives out places, and where there is none left, the limit that is reached. A place is taken until it is given back; an
 * effect takes one into its scope by {@link hold}.
 *
 * @since 0.1.0
 * @category services
 */
export class Limiter extends Context.Tag("@tx3/relay/Limiter")<Limiter, {
  /** The limit for which `inbound` would reject a socket of this source now, if any. Takes nothing. */
  readonly refusal: (source: Source) => RejectionReason | undefined

  /**
   * Any accepted socket: `maxInboundConnections`, `maxShareOfRelay` and `maxSocketsPerIp` until it is closed,
   * `maxInboundPerIp` until it is settled, and `connectionRatePerIp`.
   */
  readonly inbound: (source: Source) => InboundPlace | RejectionReason

  /** A socket that the relay dials for a connection of this source, until it is closed: the limits of sockets, as `inbound`. */
  readonly dialed: (source: Source) => Place | RejectionReason

  /** A TLS handshake, as long as the effect runs: `maxHandshakes`, `maxHandshakesPerIp`. */
  readonly handshake: (
    source: Source
  ) => <A, E, R>(handshake: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Rejected, R>

  /**
   * A registered node: `maxControlStreams`, `maxControlStreamsPerIp`. One that registers again takes over the place of
   * its predecessor, which is given back in the same step; if it is rejected, the predecessor keeps it.
   */
  readonly controlStream: (source: Source, predecessor: ControlPlace | undefined) => ControlPlace | RejectionReason

  /**
   * A peer of a node, waiting or spliced: `maxRelaysPerControl`, and of them `maxShareOfNode` of one source, which may
   * have `peerRatePerIp` new ones. It counts to `maxShareOfRelay` of the source that registered the node as well, if it comes from another.
   */
  readonly relay: (node: RegisteredNode, source: Source) => Place | RejectionReason

  /** The places that are taken now. */
  readonly counts: () => Counts
}>() {}

/**
 * A node that a peer asks for, and the source that registered it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegisteredNode {
  readonly node: CertDigest
  readonly source: Source
}

/**
 * A place that is taken under a limit.
 *
 * @since 0.1.0
 * @category models
 */
export interface Place {
  /** Idempotent. */
  readonly giveBack: () => void
}

/**
 * The place of an accepted socket, from accept to close.
 *
 * @since 0.1.0
 * @category models
 */
export interface InboundPlace extends Place {
  /** The socket has become a registered node or part of a splice, and no longer counts to its source. Idempotent. */
  readonly settle: () => void
}

/**
 * The place of a registered node, for it to hand on when it registers again.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlPlace extends Place {
  /** The source it counts to. */
  readonly key: Source
}

/**
 * Takes a place into the scope. Fails with the limit that is reached if there is none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hold = <A extends Place>(take: () => A | RejectionReason): Effect.Effect<A, Rejected, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const place = take()
      return typeof place === "string" ? new Rejected({ reason: place }) : Effect.succeed(place)
    }),
    (place) => Effect.sync(() => place.giveBack())
  )

/**
 * How many places are taken now, by the source or node that they count to. The maps have no entries of 0.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly sockets: ReadonlyMap<Source, number>
  readonly unsettled: ReadonlyMap<Source, number>
  readonly handshakes: ReadonlyMap<Source, number>
  readonly controlStreams: ReadonlyMap<Source, number>
  readonly relays: ReadonlyMap<CertDigest, number>
  /** By node and source. */
  readonly shares: ReadonlyMap<string, number>
  /** Peers from elsewhere, waiting or spliced, by the source that registered their node. */
  readonly guests: ReadonlyMap<Source, number>
}

/** Descriptors that are not inbound sockets: standard streams, listeners, the event loop, files, name look-ups. */
const reservedDescriptors = 64

/** As a page or a build needs that opens many connections at once. */
const connectionBurstSeconds = 10

/** A node serves a burst before it serves later peers, so the burst must be short. */
const peerBurstSeconds = 2

/**
 * How many inbound sockets this process can have at most: its descriptor limit less what it and its transport need
 * themselves; none where there is no limit.
 *
 * @since 0.1.0
 * @category getters
 */
export const inboundByDescriptors: Effect.Effect<Option.Option<number>, never, Transport.Transport> = Effect.zipWith(
  DescriptorLimit.descriptorLimit,
  Transport.Transport,
  (limit, { ownDescriptors }) => Option.map(limit, (limit) => Math.max(1, limit - reservedDescriptors - ownDescriptors))
)

/**
 * Whether so many sockets of all that there may be leave less than a quarter free, which is when `maxShareOfRelay` bites.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isCrowded = (sockets: number, capacity: number): boolean => 4 * (capacity - sockets) < capacity

/**
 * The sockets that one source may have while a relay that can have `capacity` of them is crowded: its `maxShareOfRelay`, and
 * never less than one node's full use, which is `maxRelaysPerControl` splices of two sockets, the node's control stream
 * and seven more that are on their way.
 *
 * @since 0.1.0
 * @category getters
 */
export const shareOfRelay = (
  { maxRelaysPerControl, maxShareOfRelay }: Pick<Settings, "maxRelaysPerControl" | "maxShareOfRelay">,
  capacity: number
): number =>
  maxShareOfRelay === 1 ? Infinity : Math.max(portionOf(maxShareOfRelay, capacity), 2 * maxRelaysPerControl + 8)

/**
 * Begins with no place taken. The limits are those that `RelayConfig` has at the moment of a decision, so they may
 * change; the descriptor limit is read once.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Limiter, never, RelayConfig | Transport.Transport> = Layer.effect(
  Limiter,
  Effect.gen(function*() {
    const config = yield* RelayConfig
    const descriptors = Option.getOrElse(yield* inboundByDescriptors, () => Infinity)
    const currentTimeMillis = yield* Clock.clockWith((clock) => Effect.succeed(MonotonicTime.millis(clock)))
    const rates = new TokenBuckets<Source>(currentTimeMillis, connectionBurstSeconds)
    const peerRates = new TokenBuckets<string>(currentTimeMillis, peerBurstSeconds)
    const sockets = new Tally<Source>()
    const unsettled = new Tally<Source>()
    const handshakes = new Tally<Source>()
    const controlStreams = new Tally<Source>()
    const relays = new Tally<CertDigest>()
    const shares = new Tally<string>()
    const guests = new Tally<Source>()

    /** Whether a source has all that `maxShareOfRelay` leaves it at this moment. */
    const hasItsShare = (source: Source) => {
      const capacity = Math.min(config.maxInboundConnections, descriptors)
      return isCrowded(sockets.total, capacity) &&
        sockets.of(source) + guests.of(source) >= shareOfRelay(config, capacity)
    }

    const refusalOfSocket = (source: Source): RejectionReason | undefined => {
      const { maxSocketsPerIp = Infinity } = config
      if (sockets.total >= config.maxInboundConnections) return "maxInboundConnections"
      if (sockets.total >= descriptors) return "descriptors"
      if (hasItsShare(source)) return "maxShareOfRelay"
      if (sockets.of(source) >= maxSocketsPerIp) return "maxSocketsPerIp"
      return undefined
    }

    const refusal = (source: Source): RejectionReason | undefined => {
      const limit = refusalOfSocket(source)
      if (limit !== undefined) return limit
      if (unsettled.of(source) >= config.maxInboundPerIp) return "maxInboundPerIp"
      if (!rates.has(source, config.connectionRatePerIp)) return "connectionRatePerIp"
      return undefined
    }

    /** The handshakes in progress; their number per source is in `handshakes`. */
    const handshakePermits = yield* Effect.makeSemaphore(config.maxHandshakes)

    const handshakeOfSource = (source: Source) =>
      Effect.suspend(() =>
        handshakes.of(source) >= config.maxHandshakesPerIp
          ? new Rejected({ reason: "maxHandshakesPerIp" })
          : Effect.succeed(new Counted(handshakes, source))
      )

    return {
      refusal,

      inbound: (source) => {
        const limit = refusal(source)
        if (limit !== undefined) return limit
        rates.take(source, config.connectionRatePerIp)
        return new Inbound(sockets, source, new Counted(unsettled, source))
      },

      dialed: (source) => refusalOfSocket(source) ?? new Counted(sockets, source),

      handshake: (source) => (handshake) =>
        handshakePermits.resize(config.maxHandshakes).pipe(
          Effect.zipRight(
            handshakePermits.withPermitsIfAvailable(1)(
              Effect.acquireUseRelease(
                handshakeOfSource(source),
                () => handshake,
                (place) => Effect.sync(() => place.giveBack())
              )
            )
          ),
          Effect.flatMap(Option.match({
            onNone: () => new Rejected({ reason: "maxHandshakes" }),
            onSome: Effect.succeed
          }))
        ),

      controlStream: (source, predecessor) => {
        const total = controlStreams.total - (predecessor === undefined ? 0 : 1)
        const ofSource = controlStreams.of(source) - (predecessor?.key === source ? 1 : 0)
        if (total >= config.maxControlStreams) return "maxControlStreams"
        if (ofSource >= config.maxControlStreamsPerIp) return "maxControlStreamsPerIp"
        predecessor?.giveBack()
        return new Counted(controlStreams, source)
      },

      relay: ({ node, source: host }, source) => {
        const share = `${node} ${source}`
        const mostOfSource = portionOf(config.maxShareOfNode, config.maxRelaysPerControl)
        if (relays.of(node) >= config.maxRelaysPerControl) return "maxRelaysPerControl"
        if (shares.of(share) >= mostOfSource) return "maxShareOfNode"
        if (source !== host && hasItsShare(host)) return "maxShareOfRelay"
        if (!peerRates.take(share, config.peerRatePerIp)) return "peerRatePerIp"
        const guest = source === host ? undefined : new Counted(guests, host)
        return new Counted(relays, node, new Counted(shares, share, guest))
      },

      counts: () => ({
        sockets: sockets.entries(),
        unsettled: unsettled.entries(),
        handshakes: handshakes.entries(),
        controlStreams: controlStreams.entries(),
        relays: relays.entries(),
        shares: shares.entries(),
        guests: guests.entries()
      })
    }
  })
)

/** Counts one of a key until it is given back, and another with it. */
class Counted<K> implements Place {
  private counted = true

  constructor(
    private readonly tally: Tally<K>,
    readonly key: K,
    protected readonly other?: Place
  ) {
    tally.add(key)
  }

  giveBack() {
    if (this.counted) {
      this.counted = false
      this.tally.remove(this.key)
      this.other?.giveBack()
    }
  }
}

/** Counts a socket until it is given back, and as unsettled until it is settled. */
class Inbound extends Counted<Source> implements InboundPlace {
  settle() {
    this.other?.giveBack()
  }
}
