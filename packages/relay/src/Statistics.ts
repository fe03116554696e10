/**
 * What one relay has done since it started: the totals of a snapshot, counted together with the metrics. It lives as long as
 * the relay.
 *
 * @since 0.1.0
 */
import type * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { EndReason } from "./ControlSession.js"
import { endReasons } from "./ControlSession.js"
import type { RejectionReason } from "./RelayError.js"
import { rejectionReasons } from "./RelayError.js"
import * as RelayMetrics from "./RelayMetrics.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Totals {
  readonly accepted: number
  readonly acceptErrors: number
  readonly rejections: Readonly<Record<RejectionReason, number>>
  readonly controlStreams: number
  readonly controlStreamsEnded: Readonly<Record<EndReason, number>>
  readonly splices: number
  /** Bytes that ended splices carried. */
  readonly bytesFromPeers: number
  readonly bytesFromNodes: number
}

/**
 * @since 0.1.0
 * @category services
 */
export class Statistics extends Context.Tag("@tx3/relay/Statistics")<Statistics, {
  readonly accepted: () => void
  readonly acceptFailed: () => void
  readonly rejected: (reason: RejectionReason) => void
  readonly controlStreamBegan: () => void
  readonly controlStreamEnded: (reason: EndReason) => void
  /** A splice began, this long after its peer was accepted. */
  readonly spliceBegan: (afterMs: number) => void
  /** A splice ended; its left side is the peer. */
  readonly spliceEnded: (carried: Transport.Carried, durationMs: number) => void
  readonly totals: () => Totals
}>() {}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Statistics> = Layer.sync(Statistics, () => {
  const rejections = zeros(rejectionReasons)
  const controlStreamsEnded = zeros(endReasons)
  let accepted = 0
  let acceptErrors = 0
  let controlStreams = 0
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
    rejected: (reason) => {
      rejections[reason]++
      RelayMetrics.rejections[reason].unsafeUpdate(1, [])
    },
    controlStreamBegan: () => {
      controlStreams++
      RelayMetrics.controlStreams.unsafeUpdate(1, [])
    },
    controlStreamEnded: (reason) => {
      controlStreamsEnded[reason]++
      RelayMetrics.controlStreamsEnded[reason].unsafeUpdate(1, [])
    },
    spliceBegan: (afterMs) => {
      splices++
      RelayMetrics.splices.unsafeUpdate(1, [])
      RelayMetrics.timeToSplice.unsafeUpdate(afterMs / 1000, [])
    },
    spliceEnded: ({ fromLeft, fromRight }, durationMs) => {
      bytesFromPeers += fromLeft
      bytesFromNodes += fromRight
      RelayMetrics.carriedBytes.peer.unsafeUpdate(fromLeft, [])
      RelayMetrics.carriedBytes.node.unsafeUpdate(fromRight, [])
      RelayMetrics.spliceDuration.unsafeUpdate(durationMs / 1000, [])
    },
    totals: () => ({
      accepted,
      acceptErrors,
      rejections: { ...rejections },
      controlStreams,
      controlStreamsEnded: { ...controlStreamsEnded },
      splices,
      bytesFromPeers,
      bytesFromNodes
    })
  }
})

const zeros = <Key extends string>(keys: ReadonlyArray<Key>) =>
  Object.fromEntries(keys.map((key) => [key, 0])) as Record<Key, number>
