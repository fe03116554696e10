/**
 * A relay: all components put together, and what can be asked of it. It runs as long as its layer's scope is open.
 *
 * @since 0.1.0
 */
import type * as Address from "@tx3/protocol/Address"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import * as AutoTransport from "@tx3/transport/AutoTransport"
import * as KernelTransport from "@tx3/transport/KernelTransport"
import * as PortableTransport from "@tx3/transport/PortableTransport"
import * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type { Stage } from "./Accepted.js"
import { hasDeadline, isSettled, stages } from "./Accepted.js"
import * as Access from "./Access.js"
import * as Bandwidth from "./Bandwidth.js"
import type { ControlSession } from "./ControlSession.js"
import * as ControlSessions from "./ControlSessions.js"
import type { Membership } from "./Elsewhere.js"
import { Tally } from "./internal/tally.js"
import * as Limiter from "./Limiter.js"
import * as Listener from "./Listener.js"
import * as PendingSplices from "./PendingSplices.js"
import { RelayConfig } from "./RelayConfig.js"
import * as RelayEvents from "./RelayEvents.js"
import * as Splices from "./Splices.js"
import type { Totals } from "./Statistics.js"
import * as Statistics from "./Statistics.js"

/**
 * A relay that runs: its addresses, what it is doing, and the way to drain it.
 *
 * @since 0.1.0
 * @category services
 */
export class Relay extends Context.Tag("@tx3/relay/Relay")<Relay, {
  /** The addresses that nodes register at: one for each address listened on. */
  readonly addresses: ReadonlyArray<Address.Address>

  /** The addresses that are bound, which are the same unless others are advertised. */
  readonly bound: ReadonlyArray<Address.Address>

  /** The digest of the relay's certificate. */
  readonly digest: CertDigest

  /** The transport that carries its bytes. */
  readonly transport: Transport.Transport["Type"]["kind"]

  /** How many connections the descriptor limit of the process allows, if it has one. */
  readonly connectionsByDescriptors: Option.Option<number>

  /** The state and the totals of the relay at one moment. */
  readonly snapshot: Effect.Effect<Snapshot>

  /** Its membership in a cluster, if it is in one. */
  readonly membership: Membership | undefined

  /** The registered nodes' control streams. */
  readonly controlStreams: () => Iterable<ControlSession>

  /** The splices that have not ended. */
  readonly splices: () => Iterable<Splices.RunningSplice>

  /** The peers that wait for their nodes. */
  readonly pending: () => Iterable<PendingSplices.Pending>

  /** Peers of each node, waiting or spliced. */
  readonly peers: () => ReadonlyMap<CertDigest, number>

  /** Open sockets of each source. */
  readonly sources: () => ReadonlyMap<Source, number>

  /**
   * Stops accepting, ends everything but splices, and waits for those as long as they last; the shutdown is what has a
   * time. Nothing brings a drained relay back.
   */
  readonly drain: Effect.Effect<void>

  /** Compares every counter with what it counts. Anything but an empty list is a bug in the relay. */
  readonly inconsistencies: Effect.Effect<ReadonlyArray<string>>
}>() {}

/**
 * The state of a relay at one moment, and the totals up to then.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  /** `draining` from the begin of shutdown on. */
  readonly state: "listening" | "draining"
  /** Open connections, by what they are doing; a splice is two of them. An accepted socket that waits for its turn is in none. */
  readonly connections: Readonly<Record<Stage, number>>
  /** Splices running. */
  readonly splices: number
  /** Since the relay started; the bytes of running splices are in them. */
  readonly totals: Totals
}

/**
 * A relay on components of your own choice: replace any of them by another layer of its tag.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNoDependencies: Layer.Layer<
  Relay,
  never,
  | ControlSessions.ControlSessions
  | Limiter.Limiter
  | Listener.Listener
  | PendingSplices.PendingSplices
  | RelayConfig
  | Splices.Splices
  | Statistics.Statistics
  | Transport.Transport
> = Layer.effect(
  Relay,
  Effect.gen(function*() {
    const config = yield* RelayConfig
    const controlSessions = yield* ControlSessions.ControlSessions
    const limiter = yield* Limiter.Limiter
    const listener = yield* Listener.Listener
    const pendingSplices = yield* PendingSplices.PendingSplices
    const splices = yield* Splices.Splices
    const statistics = yield* Statistics.Statistics
    const transport = yield* Transport.Transport
    const connectionsByDescriptors = yield* Limiter.inboundByDescriptors

    const inStage = () => {
      const counts = Object.fromEntries(stages.map((stage) => [stage, 0])) as Record<Stage, number>
      for (const { stage } of listener.connections()) {
        counts[stage]++
      }
      return counts
    }

    return {
      addresses: listener.addresses,
      bound: listener.bound,
      digest: config.identity.digest,
      transport: transport.kind,
      connectionsByDescriptors,
      snapshot: Effect.sync(() => {
        const totals = statistics.totals()
        const { fromLeft, fromRight } = splices.unmetered()
        return {
          state: listener.state(),
          connections: inStage(),
          splices: Array.from(splices.all()).length,
          totals: {
            ...totals,
            bytesFromPeers: totals.bytesFromPeers + fromLeft,
            bytesFromNodes: totals.bytesFromNodes + fromRight
          }
        }
      }),
      membership: listener.membership,
      controlStreams: controlSessions.all,
      splices: splices.all,
      pending: pendingSplices.all,
      peers: () => limiter.counts().relays,
      sources: () => limiter.counts().sockets,
      drain: listener.drain,
      inconsistencies: Effect.sync(() => {
        const counts = limiter.counts()
        const connections = Array.from(listener.connections())
        const reserved = Array.from(listener.reserved())
        const forwards = Array.from(listener.membership?.forwards() ?? [])
        const sources = [...connections, ...reserved, ...forwards].map(({ source }) => source)
        const unsettled = [
          ...connections.filter(({ stage }) => !isSettled(stage)),
          ...reserved
        ]
        const reservedPeers = reserved.flatMap(({ session, source }) =>
          session === undefined ? [] : [{ session, source }]
        )
        const pending = Array.from(pendingSplices.all())
        const running = Array.from(splices.all())
        const stage = inStage()
        return [
          ...difference(
            "deadlines",
            listener.deadlines(),
            stages.filter(hasDeadline).reduce((sum, name) => sum + stage[name], 0)
          ),
          ...difference("relays", total(counts.relays), stage.pending + running.length + reservedPeers.length),
          ...difference("shares of nodes", total(counts.shares), stage.pending + running.length + reservedPeers.length),
          ...difference("spliced connections", stage.spliced, 2 * running.length),
          ...difference("forwarded connections", stage.forwarded, forwards.length),
          // A link that is being dialed has its place already.
          ...differences("sockets of source", counts.sockets, sources, listener.membership && stage.preamble),
          ...differences("unsettled of source", counts.unsettled, unsettled.map(({ source }) => source)),
          ...differences(
            "control streams of source",
            counts.controlStreams,
            Array.from(controlSessions.all(), ({ source }) => source)
          ),
          ...differences(
            "handshakes of source",
            counts.handshakes,
            connections.filter(({ stage }) => stage === "handshake").map(({ source }) => source)
          ),
          ...differences(
            "guests of source",
            counts.guests,
            [
              ...pending.map(({ peer, session }) => ({ host: session.source, source: peer.source })),
              ...reservedPeers.map(({ session, source }) => ({ host: session.source, source })),
              ...running
            ].filter(({ host, source }) => host !== source).map(({ host }) => host),
            // A peer that is being closed waits no more, and has its place still.
            stage.pending - pending.length
          ),
          ...pending.length > stage.pending ? [`pending splices: ${pending.length} of ${stage.pending} peers`] : []
        ]
      })
    }
  })
)

const total = (counts: ReadonlyMap<unknown, number>) =>
  Array.from(counts.values()).reduce((sum, count) => sum + count, 0)

const difference = (what: string, counted: number, found: number, leaving = 0) =>
  counted >= found && counted <= found + leaving ? [] : [`${what}: ${counted} counted, ${found} there`]

const differences = <Key extends string>(
  what: string,
  counted: ReadonlyMap<Key, number>,
  found: ReadonlyArray<Key>,
  leaving = 0
) => {
  const tally = new Tally<Key>()
  found.forEach((key) => tally.add(key))
  return Array.from(new Set([...counted.keys(), ...found])).flatMap((key) =>
    difference(`${what} ${key}`, counted.get(key) ?? 0, tally.of(key), leaving)
  )
}

/**
 * The transport that the configuration asks for.
 *
 * @since 0.1.0
 * @category layers
 */
export const transport: Layer.Layer<Transport.Transport, KernelTransport.KernelUnavailable, RelayConfig> = Layer
  .unwrapEffect(
    Effect.map(RelayConfig, ({ transport, transportThreads: threads }) => {
      switch (transport) {
        case "auto":
          return AutoTransport.layer({ threads })
        case "kernel":
          return KernelTransport.layer({ threads })
        case "portable":
          return PortableTransport.layer
      }
    })
  )

/**
 * A relay with the usual components, under policies of your choice. It asks `Access` and `Bandwidth`, and tells `RelayEvents`.
 *
 * @example
 * ```ts
 * import { Access, Bandwidth, Relay, RelayConfig, RelayError, RelayEvents } from "@tx3/relay"
 * import { Effect, Layer } from "effect"
 *
 * const friends = new Set(["1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"])
 *
 * const access = Layer.succeed(Access.Access, {
 *   ...Access.open,
 *   node: (digest) => friends.has(digest) ? Effect.void : new RelayError.Rejected({ reason: "denied" })
 * })
 *
 * export const relay = Relay.layer.pipe(
 *   Layer.provide([access, Bandwidth.layerUnlimited, RelayEvents.layerSilent]),
 *   Layer.provide(RelayConfig.layer({ bind: ["tx3-rst://0.0.0.0:38141"] }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Relay,
  Transport.ListenError | KernelTransport.KernelUnavailable,
  Access.Access | Bandwidth.Bandwidth | RelayConfig | RelayEvents.RelayEvents
> = layerNoDependencies.pipe(
  Layer.provide(Listener.layer),
  Layer.provide([ControlSessions.layer, PendingSplices.layer, Splices.layer]),
  Layer.provide([Limiter.layer, Statistics.layer]),
  Layer.provide(transport)
)

/**
 * The policies of an open relay: every node and peer may use it, splices have no rates, and its events are discarded.
 *
 * @since 0.1.0
 * @category layers
 */
export const openPolicies: Layer.Layer<Access.Access | Bandwidth.Bandwidth | RelayEvents.RelayEvents> = Layer.mergeAll(
  Access.layerOpen,
  Bandwidth.layerUnlimited,
  RelayEvents.layerSilent
)

/**
 * A relay with the usual components that is open to every node and peer, as the original is.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Relay, RelayConfig } from "@tx3/relay"
 * import { Effect, Layer } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const relay = yield* Relay.Relay
 *   yield* Effect.log(...relay.addresses.map(String))
 *   return yield* Effect.never
 * })
 *
 * const config = RelayConfig.layer({ bind: ["tx3-rst://0.0.0.0:38141"] })
 * NodeRuntime.runMain(Effect.provide(program, Layer.provide(Relay.layerOpen, config)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOpen: Layer.Layer<Relay, Transport.ListenError | KernelTransport.KernelUnavailable, RelayConfig> =
  Layer.provide(layer, openPolicies)
