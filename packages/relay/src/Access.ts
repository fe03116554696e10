/**
 * Decides who may use the relay. The relay asks this service, which holds nothing: a policy only refuses. `layerOpen`
 * refuses nothing, as the original does.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Rejected } from "./RelayError.js"

/**
 * Each question is asked once for a connection, which may wait for the answer until its `connectionTimeoutMs` is over. An
 * answer that is there already, as `Effect.void` or `Effect.fail`, costs a peer no fiber.
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
 * Refuses nothing.
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
 * The policy that a relay asks.
 *
 * @since 0.1.0
 * @category services
 */
export class Access extends Context.Tag("@tx3/relay/Access")<Access, AccessPolicy>() {}

/**
 * A relay that is open to every node and peer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOpen: Layer.Layer<Access> = Layer.succeed(Access, open)
