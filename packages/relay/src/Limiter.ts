/**
 * Admission: who may come in, begin TLS, register, or wait for a node. It never waits, and it decides in one step: the
 * place is taken or the connection is rejected. A place is given back when the scope it was taken in closes.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as DescriptorLimit from "@tx3/transport/DescriptorLimit"
import * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { Tally } from "./internal/tally.js"
import { RelayConfig } from "./RelayConfig.js"
import type { RejectionReason } from "./RelayError.js"
import { Rejected } from "./RelayError.js"
import type { Source } from "./Source.js"

/**
 * @since 0.1.0
 * @category services
 */
export class Limiter extends Context.Tag("@tx3/relay/Limiter")<Limiter, {
  /** Any accepted socket: `maxInboundConnections` until it is closed, `maxInboundPerIp` until it is settled. */
  readonly inbound: (source: Source) => Effect.Effect<InboundPlace, Rejected, Scope.Scope>

  /** A TLS handshake in progress: `maxHandshakes`, `maxHandshakesPerIp`. */
  readonly handshake: (source: Source) => Effect.Effect<void, Rejected, Scope.Scope>

  /**
   * A registered node: `maxControlStreams`, `maxControlStreamsPerIp`. One that registers again takes over the place of
   * its predecessor, which is given back in the same step; if it is rejected, the predecessor keeps it.
   */
  readonly controlStream: (
    source: Source,
    predecessor: ControlPlace | undefined
  ) => Effect.Effect<ControlPlace, Rejected, Scope.Scope>

  /** A peer of a node, waiting or spliced: `maxRelaysPerControl`. */
  readonly relay: (node: CertDigest) => Effect.Effect<void, Rejected, Scope.Scope>

  /** What is taken now. */
  readonly counts: () => Counts
}>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface InboundPlace {
  /** The socket has become a registered node or part of a splice, and no longer counts to its source. Idempotent. */
  readonly settle: () => void
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ControlPlace {
  /** The source it counts to. */
  readonly key: Source
  /** Gives the place back before its scope does. Idempotent. */
  readonly giveBack: () => void
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly inbound: number
  readonly unsettled: ReadonlyMap<Source, number>
  readonly handshakes: ReadonlyMap<Source, number>
  readonly controlStreams: ReadonlyMap<Source, number>
  readonly relays: ReadonlyMap<CertDigest, number>
}

/** Descriptors that are not inbound sockets: standard streams, listeners, the event loop, files, name look-ups. */
const reservedDescriptors = 64

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
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Limiter, never, RelayConfig | Transport.Transport> = Layer.effect(
  Limiter,
  Effect.gen(function*() {
    const config = yield* RelayConfig
    const descriptors = Option.getOrElse(yield* inboundByDescriptors, () => Infinity)
    const unsettled = new Tally<Source>()
    const handshakes = new Tally<Source>()
    const controlStreams = new Tally<Source>()
    const relays = new Tally<CertDigest>()
    const inbound = { total: 0 }

    return {
      inbound: (source) =>
        take(() => {
          if (inbound.total >= config.maxInboundConnections) return "maxInboundConnections"
          if (inbound.total >= descriptors) return "descriptors"
          if (unsettled.of(source) >= config.maxInboundPerIp) return "maxInboundPerIp"
          return new Inbound(unsettled, source, inbound)
        }),

      handshake: (source) =>
        take(() => {
          if (handshakes.total >= config.maxHandshakes) return "maxHandshakes"
          if (handshakes.of(source) >= config.maxHandshakesPerIp) return "maxHandshakesPerIp"
          return new Place(handshakes, source)
        }),

      controlStream: (source, predecessor) =>
        take(() => {
          const total = controlStreams.total - (predecessor === undefined ? 0 : 1)
          const ofSource = controlStreams.of(source) - (predecessor?.key === source ? 1 : 0)
          if (total >= config.maxControlStreams) return "maxControlStreams"
          if (ofSource >= config.maxControlStreamsPerIp) return "maxControlStreamsPerIp"
          predecessor?.giveBack()
          return new Place(controlStreams, source)
        }),

      relay: (node) =>
        take(() => {
          if (relays.of(node) >= config.maxRelaysPerControl) return "maxRelaysPerControl"
          return new Place(relays, node)
        }),

      counts: () => ({
        inbound: inbound.total,
        unsettled: unsettled.entries(),
        handshakes: handshakes.entries(),
        controlStreams: controlStreams.entries(),
        relays: relays.entries()
      })
    }
  })
)

/** Takes a place into the scope, or fails with the reason why there is none, in one step. */
const take = <A extends Place<unknown>>(admit: () => A | RejectionReason) =>
  Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope): Effect.Effect<A, Rejected> => {
    const place = admit()
    return typeof place === "string"
      ? new Rejected({ reason: place })
      : Effect.as(Scope.addFinalizerExit(scope, giverBack(place)), place)
  }))

const giverBack = (place: Place<unknown>) => () => {
  place.giveBack()
  return Effect.void
}

/** Counts one of a key until it is given back. */
class Place<K> {
  private counted = true

  constructor(
    private readonly tally: Tally<K>,
    readonly key: K
  ) {
    tally.add(key)
  }

  giveBack() {
    if (this.counted) {
      this.counted = false
      this.tally.remove(this.key)
    }
  }
}

/** Counts a socket until it is given back, and to its source until it is settled. */
class Inbound extends Place<Source> {
  private open = true

  constructor(unsettled: Tally<Source>, source: Source, private readonly inbound: { total: number }) {
    super(unsettled, source)
    inbound.total++
  }

  settle() {
    super.giveBack()
  }

  override giveBack() {
    if (this.open) {
      this.open = false
      super.giveBack()
      this.inbound.total--
    }
  }
}
