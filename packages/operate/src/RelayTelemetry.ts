/**
 * A relay's metrics for the outside: as Prometheus reads them, and, with logs and traces, as OTLP to where `otlp` says.
 * Nothing is kept here: metrics are Effect's registry, brought up to date by each scrape. The first scrape loads
 * OpenTelemetry, which a relay without a scraper does not need.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { callouts } from "@tx3/policy/AccessCallout"
import { stages } from "@tx3/relay/Accepted"
import { lookUpOutcomes } from "@tx3/relay/Elsewhere"
import * as RelayMetrics from "@tx3/relay/RelayMetrics"
import * as DescriptorLimit from "@tx3/sockets/DescriptorLimit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { onDemand } from "./internal/onDemand.js"
import { version } from "./internal/version.js"
import * as OperatorMetrics from "./OperatorMetrics.js"
import { RelayHistory } from "./RelayHistory.js"

/**
 * The metrics of the process, as Prometheus scrapes them.
 *
 * @since 0.1.0
 * @category services
 */
export class RelayTelemetry extends Context.Tag("@tx3/operate/RelayTelemetry")<RelayTelemetry, {
  /** All metrics of the process in Prometheus' text format. */
  readonly prometheus: Effect.Effect<string>
}>() {}

const resource = { serviceName: "tx3-relay", serviceVersion: version }

/** A counter that has not counted yet is there, too, and is 0. */
const register = () => {
  for (const metric of Object.values({ ...RelayMetrics, callouts })) {
    const metrics = "unsafeValue" in metric ? [metric] : Object.values(metric)
    metrics.forEach((metric) => metric.unsafeValue([]))
  }
}

const set = (gauge: Metric.Metric.Gauge<number>, value: number) => gauge.unsafeUpdate(value, [])

/** A limit that is taken out of the settings stays in the registry, and nothing of it is used. */
const limitsTold = new Set<string>()

/** Sets those metrics that are states. */
const refresh = Effect.gen(function*() {
  const status = yield* Effect.flatMap(RelayHistory, (history) => history.status)
  const allowed = yield* DescriptorLimit.descriptorLimit
  const open = yield* openDescriptors
  stages.forEach((stage) => set(OperatorMetrics.connections[stage], status.connections[stage]))
  set(OperatorMetrics.splicesRunning, status.splices)
  set(OperatorMetrics.ready, status.state === "listening" ? 1 : 0)
  set(OperatorMetrics.transport.kernel, status.transport === "kernel" ? 1 : 0)
  set(OperatorMetrics.transport.portable, status.transport === "portable" ? 1 : 0)
  set(OperatorMetrics.eventLoopLag, status.eventLoopLagSeconds)
  set(OperatorMetrics.residentBytes, status.residentBytes)
  set(OperatorMetrics.startTime, status.startedAt / 1000)
  if (status.cluster !== null) {
    const { cluster } = status
    set(OperatorMetrics.clusterConnected, cluster.isConnected ? 1 : 0)
    set(OperatorMetrics.clusterMembers, cluster.members.length + 1)
    lookUpOutcomes.forEach((outcome) => set(OperatorMetrics.clusterLookUps[outcome], cluster.lookUps[outcome]))
    set(OperatorMetrics.clusterLookUpSeconds, cluster.lookUpSeconds)
    set(OperatorMetrics.clusterConnections.forwarded, cluster.forwarded)
    set(OperatorMetrics.clusterConnections.received, cluster.received)
  }
  for (const { limit, name, used } of status.limits) {
    limitsTold.add(name)
    set(OperatorMetrics.limit(name), limit)
    set(OperatorMetrics.limitUsed(name), used)
  }
  const none = Array.from(limitsTold).filter((name) => !status.limits.some((limit) => limit.name === name))
  none.forEach((name) => set(OperatorMetrics.limitUsed(name), 0))
  Option.map(allowed, (count) => set(OperatorMetrics.descriptors.allowed, count))
  Option.map(open, (count) => set(OperatorMetrics.descriptors.open, count))
})

/** As Linux tells; nothing elsewhere. */
const openDescriptors = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => Effect.option(Effect.map(fs.readDirectory("/proc/self/fd"), ({ length }) => length))
)

/**
 * Serves the relay's metrics. Every counter is there from the start, at 0. States are read anew for each scrape.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<RelayTelemetry, never, FileSystem.FileSystem | RelayHistory> = Layer.scoped(
  RelayTelemetry,
  Effect.gen(function*() {
    const context = yield* Effect.context<FileSystem.FileSystem | RelayHistory>()
    register()
    const serialize = yield* onDemand(
      Effect.flatMap(Effect.promise(() => import("./internal/prometheus.js")), ({ make }) => make(resource))
    )
    return { prometheus: Effect.zipRight(refresh, Effect.flatten(serialize)).pipe(Effect.provide(context)) }
  })
)

/**
 * Sends metrics, logs and traces of whatever it is provided to to an OTLP collector, as JSON over HTTP, every few seconds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOtlp = (url: string): Layer.Layer<never> =>
  Layer.unwrapEffect(
    Effect.map(Effect.promise(() => import("./internal/otlp.js")), ({ layer }) => layer({ baseUrl: url, resource }))
  )

/**
 * Keeps the metrics that are states up to date for `layerOtlp`, which does not ask.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRefreshing: Layer.Layer<never, never, FileSystem.FileSystem | RelayHistory> = Layer.scopedDiscard(
  Effect.forkScoped(Effect.repeat(refresh, Schedule.fixed("5 seconds")))
)
