/**
 * How many bytes a second splices may carry. Whoever limits them provides this reference around the relay; by default
 * nobody does. A splice takes its rates when it begins and leaves them when it has ended.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Rate } from "@tx3/transport/Rate"
import * as Context from "effect/Context"
import type { Source } from "./Source.js"

/**
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
 * @since 0.1.0
 * @category references
 */
export class Bandwidth extends Context.Reference<Bandwidth>()("@tx3/relay/Bandwidth", {
  defaultValue: (): BandwidthPolicy => ({ join: () => unlimited })
}) {}
