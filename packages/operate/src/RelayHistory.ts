/**
 * Keeps what a relay has done in the last 15 minutes, and shows what it is doing now. Its fiber takes a sample each second and
 * keeps 900 of them, until the layer's scope closes.
 *
 * @since 0.1.0
 */
import { LiveSettings } from "@tx3/policy/LiveSettings"
import type { Settings } from "@tx3/policy/OperatorConfig"
import { VolumeQuota } from "@tx3/policy/VolumeQuota"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type { View } from "@tx3/relay/Elsewhere"
import * as Limiter from "@tx3/relay/Limiter"
import * as Relay from "@tx3/relay/Relay"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { monitorEventLoopDelay } from "node:perf_hooks"
import * as Listings from "./internal/listings.js"
import { Talkers } from "./internal/talkers.js"
import { version } from "./internal/version.js"
import { RelayJournal } from "./RelayJournal.js"
import type {
  Event,
  LimitUse,
  NodeList,
  NodeQuery,
  Rates,
  Sample,
  SpliceList,
  SpliceQuery,
  Status,
  Talker
} from "./RelayStatus.js"

/**
 * The last 15 minutes of a relay, second by second, and its state now.
 *
 * @since 0.1.0
 * @category services
 */
export class RelayHistory extends Context.Tag("@tx3/operate/RelayHistory")<RelayHistory, {
  /** The state now. */
  readonly status: Effect.Effect<Status>

  /** One of each of the last 900 seconds at most, the oldest first. */
  readonly samples: () => ReadonlyArray<Sample>

  /** Each second from now on, until the relay ends. */
  readonly seconds: Stream.Stream<Second>

  /** The registered nodes, 20 at a time. */
  readonly nodes: (query: NodeQuery) => NodeList

  /** The running splices, 20 at a time. */
  readonly splices: (query: SpliceQuery) => SpliceList
}>() {}

/**
 * One second of a relay, told at its end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Second {
  readonly status: Status
  readonly sample: Sample
  /** Those that came since the last one. */
  readonly events: ReadonlyArray<Event>
}

const secondsKept = 900

/** Rows in each table of the status. */
const shown = 10

/**
 * Samples the relay that is provided to it, once a second, until the scope closes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  RelayHistory,
  never,
  LiveSettings | Relay.Relay | RelayJournal | VolumeQuota
> = Layer.scoped(
  RelayHistory,
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const journal = yield* RelayJournal
    const live = yield* LiveSettings
    const lag = yield* eventLoopLag
    const quota = yield* VolumeQuota
    const relay = yield* Relay.Relay
    const seconds = yield* Effect.acquireRelease(PubSub.sliding<Second>(2), PubSub.shutdown)
    const startedAt = clock.unsafeCurrentTimeMillis()
    const currentTimeMillis = MonotonicTime.millis(clock)
    const startedMs = currentTimeMillis()
    const taken: Array<{ readonly sample: Sample; readonly ms: number }> = []
    const nodes = new Talkers()
    const sources = new Talkers()
    let lastEvent: Event | undefined

    yield* journal.follow((event) => {
      if (event._tag === "Carried") {
        const now = currentTimeMillis()
        nodes.add(CertDigest.short(event.node), event.fromLeft + event.fromRight, now)
        sources.add(event.source, event.fromLeft + event.fromRight, now)
      }
    })

    const sampleOf = ({ connections, splices, totals }: Relay.Snapshot): Sample => ({
      at: clock.unsafeCurrentTimeMillis(),
      controlStreams: connections.control,
      pending: connections.pending,
      splices,
      connections: sum(Object.values(connections)),
      acceptedTotal: totals.accepted,
      rejectedTotal: sum(Object.values(totals.rejections)),
      splicesTotal: totals.splices,
      bytesFromPeersTotal: totals.bytesFromPeers,
      bytesFromNodesTotal: totals.bytesFromNodes
    })

    const statusOf = Effect.gen(function*() {
      const snapshot = yield* relay.snapshot
      const logLevel = yield* FiberRef.get(FiberRef.currentMinimumLogLevel)
      const now = sampleOf(snapshot)
      const ms = currentTimeMillis()
      const since = (seconds: number) => {
        const first = taken.find((taken) => taken.ms >= ms - seconds * 1000)
        return ratesBetween(first?.sample, now, first === undefined ? 0 : (ms - first.ms) / 1000)
      }
      const running = Array.from(relay.splices())
      const rates = { last10s: since(10), last1m: since(60), last15m: since(900) }
      const status: Status = {
        version,
        startedAt,
        uptimeSeconds: (ms - startedMs) / 1000,
        state: snapshot.state,
        digest: relay.digest,
        addresses: relay.addresses.map(String),
        bound: relay.bound.map(String),
        transport: relay.transport,
        logLevel: logLevel.label,
        connections: snapshot.connections,
        splices: snapshot.splices,
        totals: snapshot.totals,
        limits: limitsOf(live.current(), relay, now, snapshot, rates.last10s, quota.used()),
        cluster: clusterOf(relay.membership?.view()),
        rates,
        top: {
          nodes: talkers(running.map(({ node }) => CertDigest.short(node)), nodes.bytes(ms)),
          sources: talkers(running.map(({ source }) => source), sources.bytes(ms))
        },
        suspectedProxy: suspectedProxy(live.current(), relay, now.connections),
        eventLoopLagSeconds: lag(),
        residentBytes: process.memoryUsage.rss()
      }
      return { ms, sample: now, status }
    })

    const takeSample = Effect.gen(function*() {
      const { ms, sample, status } = yield* statusOf
      taken.push({ ms, sample })
      if (taken.length > secondsKept) {
        taken.shift()
      }
      const recent = journal.recent()
      const events = recent.slice(lastEvent === undefined ? 0 : recent.lastIndexOf(lastEvent) + 1)
      lastEvent = recent.at(-1)
      yield* PubSub.publish(seconds, { status, sample, events })
    })

    yield* takeSample.pipe(Effect.repeat(Schedule.fixed("1 second")), Effect.forkScoped)

    return {
      status: Effect.map(statusOf, ({ status }) => status),
      samples: () => taken.map(({ sample }) => sample),
      seconds: Stream.fromPubSub(seconds),
      nodes: (query) => Listings.nodes(relay, live.current(), nodes.bytes(currentTimeMillis()), query),
      splices: (query) => Listings.splices(relay, query)
    }
  })
)

const clusterOf = (view: View | undefined): Status["cluster"] =>
  view === undefined ? null : {
    ...view,
    members: view.members.map(({ roundTripMs, ...member }) => ({ ...member, roundTripMs: roundTripMs ?? null }))
  }

const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((sum, number) => sum + number, 0)

const most = (numbers: Iterable<number>) => {
  let most = 0
  for (const number of numbers) {
    most = Math.max(most, number)
  }
  return most
}

const ratesBetween = (from: Sample | undefined, to: Sample, seconds: number): Rates => {
  const rate = (key: keyof Sample) => from === undefined || seconds <= 0 ? 0 : (to[key] - from[key]) / seconds
  return {
    seconds,
    accepted: rate("acceptedTotal"),
    rejected: rate("rejectedTotal"),
    splices: rate("splicesTotal"),
    bytesFromPeers: rate("bytesFromPeersTotal"),
    bytesFromNodes: rate("bytesFromNodesTotal")
  }
}

/** Those with most running splices, and those that carried most. */
const talkers = (running: ReadonlyArray<string>, bytes: ReadonlyMap<string, number>) => {
  const splices = new Map<string, number>()
  running.forEach((name) => splices.set(name, (splices.get(name) ?? 0) + 1))
  const all = Array.from(new Set([...splices.keys(), ...bytes.keys()]), (name): Talker => ({
    name,
    splices: splices.get(name) ?? 0,
    bytes: bytes.get(name) ?? 0
  }))
  return {
    bySplices: all.filter(({ splices }) => splices > 0).sort((a, b) => b.splices - a.splices).slice(0, shown),
    byBytes: all.filter(({ bytes }) => bytes > 0).sort((a, b) => b.bytes - a.bytes).slice(0, shown)
  }
}

const limitsOf = (
  settings: Settings,
  relay: Relay.Relay["Type"],
  now: Sample,
  { connections }: Relay.Snapshot,
  { bytesFromNodes, bytesFromPeers }: Rates,
  bytesOfMonth: number
): ReadonlyArray<LimitUse> => [
  { name: "maxInboundConnections", used: now.connections, limit: settings.maxInboundConnections, unit: "count" },
  ...Option.match(relay.connectionsByDescriptors, {
    onNone: () => [],
    onSome: (limit) => [{ name: "descriptors", used: now.connections, limit, unit: "count" as const }]
  }),
  ...shareOfRelay(settings, relay),
  { name: "maxControlStreams", used: now.controlStreams, limit: settings.maxControlStreams, unit: "count" },
  { name: "maxHandshakes", used: connections.handshake, limit: settings.maxHandshakes, unit: "count" },
  {
    name: "maxRelaysPerControl",
    used: most(relay.peers().values()),
    limit: settings.maxRelaysPerControl,
    unit: "count"
  },
  ...settings.bandwidthTotal === undefined ? [] : [{
    name: "bandwidthTotal",
    used: bytesFromNodes + bytesFromPeers,
    limit: settings.bandwidthTotal,
    unit: "bytesPerSecond" as const
  }],
  ...(["monthlyBytesSoft", "monthlyBytesHard"] as const).flatMap((name) => {
    const limit = settings[name]
    return limit === undefined ? [] : [{ name, used: bytesOfMonth, limit, unit: "bytes" as const }]
  })
]

const capacityOf = ({ maxInboundConnections }: Settings, relay: Relay.Relay["Type"]) =>
  Math.min(maxInboundConnections, Option.getOrElse(relay.connectionsByDescriptors, () => Infinity))

/** Of the source that has most, whether or not the limit bites at this moment. */
const shareOfRelay = (settings: Settings, relay: Relay.Relay["Type"]): ReadonlyArray<LimitUse> => {
  const limit = Limiter.shareOfRelay(settings, capacityOf(settings, relay))
  return limit === Infinity
    ? []
    : [{ name: "maxShareOfRelay", used: most(relay.sources().values()), limit, unit: "count" }]
}

/** A source that has most of the sockets of a relay that has few left. */
const suspectedProxy = (settings: Settings, relay: Relay.Relay["Type"], connections: number) => {
  const all = Array.from(relay.sources(), ([source, connections]) => ({ source, connections }))
  return Limiter.isCrowded(connections, capacityOf(settings, relay))
    ? all.find(({ connections: own }) => 2 * own > connections) ?? null
    : null
}

/** The longest wait for the event loop in about the last 10 seconds, in seconds. */
const eventLoopLag = Effect.gen(function*() {
  const resolution = 20
  const delays = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const delays = monitorEventLoopDelay({ resolution })
      delays.enable()
      return delays
    }),
    (delays) => Effect.sync(() => delays.disable())
  )
  let before = 0
  yield* Effect.sync(() => {
    before = delays.max
    delays.reset()
  }).pipe(Effect.repeat(Schedule.fixed("10 seconds")), Effect.forkScoped)
  return () => Math.max(0, Math.max(before, delays.max) / 1e9 - resolution / 1000)
})
