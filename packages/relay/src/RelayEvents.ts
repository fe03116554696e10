/**
 * The events of a relay, one at a time, for a program that keeps or shows them. The relay tells this service; `layerSilent`
 * discards the events.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import type * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { RejectionReason } from "./RelayError.js"

/**
 * How a control stream ended: the node `closed` it, `spoke` on it, or `stalled`; it was
 * `unresponsive`, so peers waited in vain; the same node `replaced` it by a newer one; an operator `kicked` it; or the
 * relay `shutdown`.
 *
 * @since 0.1.0
 * @category models
 */
export const endReasons = ["closed", "spoke", "stalled", "unresponsive", "replaced", "kicked", "shutdown"] as const

/**
 * One of {@link endReasons}.
 *
 * @since 0.1.0
 * @category models
 */
export type EndReason = typeof endReasons[number]

/**
 * `Carried` tells what a splice has carried since it was last told of: every second while it runs, and when it ends.
 * `connection` is the number of the node's control stream, of the peer of a splice, or of a connection that was rejected.
 *
 * @since 0.1.0
 * @category models
 */
export type RelayEvent =
  | { readonly _tag: "Carried" } & Party & Transport.Carried
  | { readonly _tag: "ControlStreamBegan" } & Party
  | { readonly _tag: "ControlStreamEnded"; readonly reason: EndReason } & Party
  | { readonly _tag: "SpliceBegan" } & Party
  | { readonly _tag: "SpliceEnded"; readonly durationMs: number } & Party & Transport.SpliceReport
  | {
    readonly _tag: "Rejected"
    readonly connection: number
    readonly source: Source
    readonly reason: RejectionReason
  }

/**
 * The subject of an event: a registered node, or a peer and the node it came for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Party {
  readonly connection: number
  readonly node: CertDigest
  /** Of the control stream or the peer. */
  readonly source: Source
}

/**
 * The receiver of a relay's events.
 *
 * @since 0.1.0
 * @category services
 */
export class RelayEvents extends Context.Tag("@tx3/relay/RelayEvents")<RelayEvents, {
  /** Called in the event loop as it happens; it must return soon and not throw. */
  readonly publish: (event: RelayEvent) => void
}>() {}

/**
 * Discards all events.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSilent: Layer.Layer<RelayEvents> = Layer.succeed(RelayEvents, { publish: () => {} })
