/**
 * How many bytes a second splices may carry. A splice takes its rates from this service when it begins, and leaves them when
 * it has ended. `layerUnlimited` gives none.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import type { Rate } from "@tx3/transport/Rate"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

/**
 * Chooses the rates of splices. It is asked once for each, at its begin, and answers at once.
 *
 * @since 0.1.0
 * @category models
 */
export interface BandwidthPolicy {
  /** The rates of a splice of this node with a peer of this source. `limit` puts one that has none under rates, later. */
  readonly join: (
    node: CertDigest,
    source: Source,
    limit: (rates: ReadonlyArray<Rate>) => void
  ) => Membership
}

/**
 * The membership of a splice, from its begin to its end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Membership {
  /** All of them hold, for the bytes of both directions together. */
  readonly rates: ReadonlyArray<Rate>
  /** Called once, when the splice has ended. */
  readonly leave: () => void
}

/**
 * The policy that a relay asks.
 *
 * @since 0.1.0
 * @category services
 */
export class Bandwidth extends Context.Tag("@tx3/relay/Bandwidth")<Bandwidth, BandwidthPolicy>() {}

const unlimited: Membership = { rates: [], leave: () => {} }

/**
 * Splices without rates.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUnlimited: Layer.Layer<Bandwidth> = Layer.succeed(Bandwidth, { join: () => unlimited })
