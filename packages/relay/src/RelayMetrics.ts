/**
 * All metrics of a relay, as constants of Effect's registry. They sum over the relays of a process; `Relay.snapshot` is one
 * relay's. No label has a value that a stranger can choose.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import type { RejectionReason } from "./RelayError.js"
import { rejectionReasons } from "./RelayError.js"
import type { EndReason } from "./RelayEvents.js"
import { endReasons } from "./RelayEvents.js"

/**
 * Sockets accepted.
 *
 * @since 0.1.0
 * @category metrics
 */
export const accepted = Metric.counter("tx3_relay_accepted_total", {
  description: "Sockets accepted",
  incremental: true
})

/**
 * Accepts that failed, for want of descriptors or because the socket was gone.
 *
 * @since 0.1.0
 * @category metrics
 */
export const acceptErrors = Metric.counter("tx3_relay_accept_errors_total", {
  description: "Accepts that failed",
  incremental: true
})

const tagged = <Value extends string, Type, In, Out>(
  metric: Metric.Metric<Type, In, Out>,
  key: string,
  values: ReadonlyArray<Value>
) =>
  Object.fromEntries(values.map((value) => [value, Metric.tagged(metric, key, value)])) as Record<
    Value,
    Metric.Metric<Type, In, Out>
  >

/**
 * Connections turned away, by reason.
 *
 * @since 0.1.0
 * @category metrics
 */
export const rejections: Record<RejectionReason, Metric.Metric.Counter<number>> = tagged(
  Metric.counter("tx3_relay_rejections_total", {
    description: "Connections that came to nothing",
    incremental: true
  }),
  "reason",
  rejectionReasons
)

/**
 * Nodes registered.
 *
 * @since 0.1.0
 * @category metrics
 */
export const controlStreams = Metric.counter("tx3_relay_control_streams_total", {
  description: "Control streams registered",
  incremental: true
})

/**
 * Control streams that ended, by reason.
 *
 * @since 0.1.0
 * @category metrics
 */
export const controlStreamsEnded: Record<EndReason, Metric.Metric.Counter<number>> = tagged(
  Metric.counter("tx3_relay_control_streams_ended_total", { description: "Control streams ended", incremental: true }),
  "reason",
  endReasons
)

/**
 * Splices begun.
 *
 * @since 0.1.0
 * @category metrics
 */
export const splices = Metric.counter("tx3_relay_splices_total", { description: "Splices begun", incremental: true })

/**
 * Unclaimed splice tokens.
 *
 * @since 0.1.0
 * @category metrics
 */
export const unclaimedTokens = Metric.counter("tx3_relay_unclaimed_tokens_total", {
  description: "Unclaimed splice tokens",
  incremental: true
})

/**
 * Bytes carried, by who sent them; those of running splices are added every second.
 *
 * @since 0.1.0
 * @category metrics
 */
export const carriedBytes = tagged(
  Metric.counter("tx3_relay_carried_bytes_total", {
    description: "Bytes carried, by who sent them",
    incremental: true
  }),
  "from",
  ["peer", "node"]
)

/**
 * Seconds from a peer's accept to its splice.
 *
 * @since 0.1.0
 * @category metrics
 */
export const timeToSplice = Metric.histogram(
  "tx3_relay_time_to_splice_seconds",
  MetricBoundaries.exponential({ start: 0.001, factor: 2, count: 15 }),
  "Seconds from a peer's accept to its splice"
)

/**
 * Seconds from a splice's begin to its end.
 *
 * @since 0.1.0
 * @category metrics
 */
export const spliceDuration = Metric.histogram(
  "tx3_relay_splice_duration_seconds",
  MetricBoundaries.exponential({ start: 0.1, factor: 4, count: 12 }),
  "Seconds from a splice's begin to its end"
)
