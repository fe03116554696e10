/**
 * Counts what one relay has done since it started: the totals of a snapshot, together with the metrics. It lives as long as the
 * relay.
 *
 * @since 0.1.0
 */
import type * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Accepted } from "./Accepted.js"
import type { RejectionReason } from "./RelayError.js"
import { rejectionReasons } from "./RelayError.js"
import type { EndReason, Party } from "./RelayEvents.js"
import { endReasons, RelayEvents } from "./RelayEvents.js"
import * as RelayMetrics from "./RelayMetrics.js"

/**
 * Everything counted since the relay started. No number ever gets smaller.
 *
 * @since 0.1.0
 * @category models
 */
export interface Totals {
  readonly accepted: number
  readonly acceptErrors: number
  readonly rejections: Readonly<Record<RejectionReason, number>>
  readonly controlStreams: number
  readonly controlStreamsEnded: Readonly<Record<EndReason, number>>
  readonly unclaimedTokens: number
  readonly splices: number
  /** Bytes that splices carried. */
  readonly bytesFromPeers: number
  readonly bytesFromNodes: number
}

/**
 * Told by the other components of what happens. It adds to the totals and to the metrics of the process, and publishes
 * what is a `RelayEvent`.
 *
 * @since 0.1.0
 * @category services
 */
export class Statistics extends Context.Tag("@tx3/relay/Statistics")<Statistics, {
  /** A connection was accepted. */
  readonly accepted: () => void
  /** An accept failed. */
  readonly acceptFailed: () => void
  /** A connection was turned away, or came to nothing. */
  readonly rejected: (connection: Pick<Accepted, "id" | "source">, reason: RejectionReason) => void
  /** A node registered. */
  readonly controlStreamBegan: (who: Party) => void
  /** A node's control stream ended. */
  readonly controlStreamEnded: (who: Party, reason: EndReason) => void
  /** A node did not claim a token that it was sent. */
  readonly tokenUnclaimed: () => void
  /** A splice began, this long after its peer was accepted. */
  readonly spliceBegan: (who: Party, afterMs: number) => void
  /** A splice has carried more bytes; its left side is the peer. */
  readonly carried: (who: Party, bytes: Transport.Carried) => void
  /** A splice ended, this long after it began. `carried` counts its bytes. */
  readonly spliceEnded: (who: Party, report: Transport.SpliceReport, durationMs: number) => void
  /** The totals so far; they do not change afterwards. */
  readonly totals: () => Totals
}>() {}

/**
 * Begins at zero, and publishes to `RelayEvents`. The metrics are shared by all relays of a
 * process.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Statistics, never, RelayEvents> = Layer.effect(
  Statistics,
  Effect.map(RelayEvents, ({ publish }) => {
    const rejections = zeros(rejectionReasons)
    const controlStreamsEnded = zeros(endReasons)
    let accepted = 0
    let acceptErrors = 0
    let controlStreams = 0
    let unclaimedTokens = 0
    let splices = 0
    let bytesFromPeers = 0
    let bytesFromNodes = 0

    return {
      accepted: () => {
        accepted++
        RelayMetrics.accepted.unsafeUpdate(1, [])
      },
      acceptFailed: () => {
        acceptErrors++
        RelayMetrics.acceptErrors.unsafeUpdate(1, [])
      },
      rejected: ({ id, source }, reason) => {
        rejections[reason]++
        RelayMetrics.rejections[reason].unsafeUpdate(1, [])
        publish({ _tag: "Rejected", connection: id, source, reason })
      },
      controlStreamBegan: ({ connection, node, source }) => {
        controlStreams++
        RelayMetrics.controlStreams.unsafeUpdate(1, [])
        publish({ _tag: "ControlStreamBegan", connection, node, source })
      },
      controlStreamEnded: ({ connection, node, source }, reason) => {
        controlStreamsEnded[reason]++
        RelayMetrics.controlStreamsEnded[reason].unsafeUpdate(1, [])
        publish({ _tag: "ControlStreamEnded", connection, node, source, reason })
      },
      tokenUnclaimed: () => {
        unclaimedTokens++
        RelayMetrics.unclaimedTokens.unsafeUpdate(1, [])
      },
      spliceBegan: ({ connection, node, source }, afterMs) => {
        splices++
        RelayMetrics.splices.unsafeUpdate(1, [])
        RelayMetrics.timeToSplice.unsafeUpdate(afterMs / 1000, [])
        publish({ _tag: "SpliceBegan", connection, node, source })
      },
      carried: ({ connection, node, source }, { fromLeft, fromRight }) => {
        bytesFromPeers += fromLeft
        bytesFromNodes += fromRight
        RelayMetrics.carriedBytes.peer.unsafeUpdate(fromLeft, [])
        RelayMetrics.carriedBytes.node.unsafeUpdate(fromRight, [])
        publish({ _tag: "Carried", connection, node, source, fromLeft, fromRight })
      },
      spliceEnded: ({ connection, node, source }, report, durationMs) => {
        RelayMetrics.spliceDuration.unsafeUpdate(durationMs / 1000, [])
        publish({ _tag: "SpliceEnded", connection, node, source, ...report, durationMs })
      },
      totals: () => ({
        accepted,
        acceptErrors,
        rejections: { ...rejections },
        controlStreams,
        controlStreamsEnded: { ...controlStreamsEnded },
        unclaimedTokens,
        splices,
        bytesFromPeers,
        bytesFromNodes
      })
    }
  })
)

const zeros = <Key extends string>(keys: ReadonlyArray<Key>) =>
  Object.fromEntries(keys.map((key) => [key, 0])) as Record<Key, number>
