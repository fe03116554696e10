/**
 * Why a connection came to nothing. Each reason is counted under its own name in snapshots and metrics.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * The limits that can turn a connection away. Each is the setting of that name, but for `descriptors`: the process may
 * not open as many sockets as `maxInboundConnections` allows.
 *
 * @since 0.1.0
 * @category models
 */
export const limits = [
  "maxInboundConnections",
  "maxShareOfRelay",
  "maxInboundPerIp",
  "maxSocketsPerIp",
  "connectionRatePerIp",
  "maxHandshakes",
  "maxHandshakesPerIp",
  "maxControlStreams",
  "maxControlStreamsPerIp",
  "maxRelaysPerControl",
  "maxShareOfNode",
  "peerRatePerIp",
  "descriptors"
] as const

/**
 * Everything that ends a connection before it is a registered node or a splice:
 *
 * - a limit,
 * - `denied`: the access policy says no,
 * - `quota`: the relay has carried what it may,
 * - `hungUp`: the remote end went away,
 * - `preambleTimeout`, `handshakeTimeout`, `pendingTimeout`: that stage was not done `connectionTimeoutMs` after accept,
 * - `unknownPreamble`: its 32 bytes name neither the relay, nor a live node, nor a waiting peer,
 * - `handshakeFailed`: TLS with a node did not come about,
 * - `controlStreamEnded`: the node that a peer waited for was gone,
 * - `clusterUnavailable`: whether another relay of the cluster has its preamble could not be found out, or that relay
 *   could not be reached,
 * - `maxLookUps`: too many connections, in all or of its source, were being looked for at other relays,
 * - `refusedElsewhere`: the relay that has the node refused it.
 *
 * @since 0.1.0
 * @category models
 */
export const rejectionReasons = [
  ...limits,
  "denied",
  "quota",
  "hungUp",
  "preambleTimeout",
  "handshakeTimeout",
  "pendingTimeout",
  "unknownPreamble",
  "handshakeFailed",
  "controlStreamEnded",
  "clusterUnavailable",
  "maxLookUps",
  "refusedElsewhere"
] as const

/**
 * One of {@link rejectionReasons}.
 *
 * @since 0.1.0
 * @category models
 */
export type RejectionReason = typeof rejectionReasons[number]

/**
 * A connection was turned away. It is closed without a byte, as the protocol has it; this is for counts and logs.
 *
 * @since 0.1.0
 * @category errors
 */
export class Rejected extends Data.TaggedError("Rejected")<{
  readonly reason: RejectionReason
  /** The details, as of a certificate. Only the debug log has them. */
  readonly detail?: string
}> {
  override get message(): string {
    return this.reason
  }
}

/**
 * Whether the connection was turned away by a limit, which an operator may want to raise, rather than by its own doing.
 *
 * @since 0.1.0
 * @category guards
 */
export const isLimit = (reason: RejectionReason): boolean => (limits as ReadonlyArray<RejectionReason>).includes(reason)
