/**
 * One accepted connection, as the relay's components see it: the same record from accept to close.
 *
 * Its scope owns everything the connection takes. The Listener makes both and closes the scope; nobody else holds a
 * socket or a place of it.
 *
 * @since 0.1.0
 */
import type { Source } from "@tx3/protocol/Source"
import type * as Transport from "@tx3/transport/Transport"
import type * as Scope from "effect/Scope"
import type { RejectionReason } from "./RelayError.js"

/**
 * What a connection is doing: sending its `preamble`, in the TLS `handshake` of a node, a registered node's `control`
 * stream, a `pending` peer, or one side of a splice (`spliced`).
 *
 * @since 0.1.0
 * @category models
 */
export const stages = ["preamble", "handshake", "control", "pending", "spliced"] as const

/**
 * One of {@link stages}.
 *
 * @since 0.1.0
 * @category models
 */
export type Stage = typeof stages[number]

/**
 * A connection that the relay has accepted and not closed yet. Only its `stage` changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Accepted {
  /** Counts up from 1 in each relay; names the connection in logs. */
  readonly id: number
  readonly source: Source
  readonly socket: Transport.Connection
  /** When it was accepted, in milliseconds since the epoch. */
  readonly since: number
  /** The same by `MonotonicTime`, to measure by. */
  readonly sinceMonotonicMs: number
  readonly scope: Scope.CloseableScope
  readonly stage: Stage
  /**
   * Enters the next stage; `leave` is called when that is left, for another or because the connection is closed. From
   * `control` and `spliced` on, neither the deadline nor the source's limit applies.
   */
  readonly enter: (stage: Stage, leave?: () => void) => void
  /** Closes a connection that waits for something that will not come. */
  readonly turnAway: (reason: RejectionReason) => void
}
