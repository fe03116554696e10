/**
 * The gauges of a relay's process. They are set when they are scraped. Together with `RelayMetrics` and
 * `AccessCallout.callouts` they are all metrics of the process. No label has a value that a stranger can choose.
 *
 * @since 0.1.0
 */
import type { Stage } from "@tx3/relay/Accepted"
import { stages } from "@tx3/relay/Accepted"
import { lookUpOutcomes } from "@tx3/relay/Elsewhere"
import * as Metric from "effect/Metric"

const gauge = (name: string, description: string) => Metric.gauge(`tx3_relay_${name}`, { description })

const tagged = <Value extends string>(
  metric: Metric.Metric.Gauge<number>,
  key: string,
  values: ReadonlyArray<Value>
) =>
  Object.fromEntries(values.map((value) => [value, Metric.tagged(metric, key, value)])) as Record<
    Value,
    Metric.Metric.Gauge<number>
  >

/**
 * Open connections, by what they are doing; a splice is two of them.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connections: Record<Stage, Metric.Metric.Gauge<number>> = tagged(
  gauge("connections", "Open connections, by stage"),
  "stage",
  stages
)

/**
 * Splices that run now.
 *
 * @since 0.1.0
 * @category metrics
 */
export const splicesRunning = gauge("splices_running", "Splices running")

/**
 * 1 while the relay accepts connections, 0 while it drains.
 *
 * @since 0.1.0
 * @category metrics
 */
export const ready = gauge("ready", "Whether the relay accepts connections")

/**
 * 1 for the data plane in use.
 *
 * @since 0.1.0
 * @category metrics
 */
export const transport = tagged(gauge("transport", "1 for the data plane in use"), "kind", ["kernel", "portable"])

/**
 * How much of each limit is used, by the name of the setting; where a limit is of each node or source, by the one that
 * uses most.
 *
 * @since 0.1.0
 * @category metrics
 */
export const limitUsed = (name: string) =>
  Metric.tagged(gauge("limit_used", "How much of a limit is used"), "limit", name)

/**
 * The value of each limit, by the name of the setting, in the unit of `limitUsed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const limit = (name: string) => Metric.tagged(gauge("limit", "What a limit allows"), "limit", name)

/**
 * Descriptors that the process has open, and may have.
 *
 * @since 0.1.0
 * @category metrics
 */
export const descriptors = tagged(gauge("descriptors", "File descriptors of the process"), "state", ["open", "allowed"])

/**
 * How long, at most, something waited for the event loop in the last 10 seconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const eventLoopLag = gauge(
  "event_loop_lag_seconds",
  "The longest wait for the event loop in the last 10 seconds"
)

/**
 * Memory of the process that is in RAM, in bytes.
 *
 * @since 0.1.0
 * @category metrics
 */
export const residentBytes = gauge("resident_bytes", "Resident memory of the process")

/**
 * 1 while a member of a cluster is connected to NATS. Relays without a cluster do not have it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clusterConnected = gauge("cluster_connected", "1 while this member is connected to NATS")

/**
 * The members of the cluster that this member knows of, with itself.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clusterMembers = gauge("cluster_members", "Members of the cluster, as this one sees it")

/**
 * Look-ups at other members since the relay started, by how they ended.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clusterLookUps = tagged(
  gauge("cluster_look_ups_total", "Look-ups at other members since the start"),
  "outcome",
  lookUpOutcomes
)

/**
 * Seconds that all of these look-ups took together.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clusterLookUpSeconds = gauge("cluster_look_up_seconds_total", "Seconds that all look-ups took together")

/**
 * Connections forwarded to other members, and received from them, since the relay started.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clusterConnections = tagged(
  gauge("cluster_connections_total", "Connections between members since the start"),
  "direction",
  ["forwarded", "received"]
)

/**
 * Seconds since the epoch.
 *
 * @since 0.1.0
 * @category metrics
 */
export const startTime = gauge("start_time_seconds", "When the relay started, in seconds since the epoch")
