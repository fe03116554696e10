/**
 * Who may use the relay. Whoever has an opinion provides this reference around the relay; by default it is open to
 * everybody, as the original is. Nothing is held: a policy only says no.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Rejected } from "./RelayError.js"

/**
 * Each question is asked once for a connection, which may wait for the answer until its `connectionTimeoutMs` is over.
 * Addresses are numeric, an IPv4 address without the mapping of a dual-stack listener.
 *
 * @since 0.1.0
 * @category models
 */
export interface AccessPolicy {
  /** Whether an address may begin a control stream; asked before TLS. */
  readonly controlStream: (address: string) => Effect.Effect<void, Rejected>

  /** Whether a node, which has proved its digest, may register from an address. */
  readonly node: (node: CertDigest, address: string) => Effect.Effect<void, Rejected>

  /** Whether a peer may reach a registered node from an address. */
  readonly peer: (node: CertDigest, address: string) => Effect.Effect<void, Rejected>
}

/**
 * Lets everybody do everything. It is the policy of a relay that is given no other.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open: AccessPolicy = {
  controlStream: () => Effect.void,
  node: () => Effect.void,
  peer: () => Effect.void
}

/**
 * The policy that a relay asks. Provide one of your own around the relay's layer; without one it is
 * `open`.
 *
 * @since 0.1.0
 * @category references
 */
export class Access extends Context.Reference<Access>()("@tx3/relay/Access", {
  defaultValue: (): AccessPolicy => open
}) {}
