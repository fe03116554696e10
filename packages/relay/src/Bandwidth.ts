/**
 * How many bytes a second splices may carry. Whoever limits them provides this reference around the relay; by default
 * nobody does. A splice takes its rates when it begins and leaves them when it has ended.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import type { Rate } from "@tx3/transport/Rate"
import * as Context from "effect/Context"

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
 * What a splice was given at its begin, and has to give back at its end.
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

const unlimited: Membership = { rates: [], leave: () => {} }

/**
 * The policy that a relay asks. Provide one of your own around the relay's layer; without one there are
 * no rates.
 *
 * @since 0.1.0
 * @category references
 */
export class Bandwidth extends Context.Reference<Bandwidth>()("@tx3/relay/Bandwidth", {
  defaultValue: (): BandwidthPolicy => ({ join: () => unlimited })
}) {}
