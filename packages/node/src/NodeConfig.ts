/**
 * Every limit and deadline of a node, with its default and the reason. A `Tx3Node` reads them once, when it is made. To change
 * them, provide `layer` to the node's layer.
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

/**
 * A node's limits and deadlines. All times are in milliseconds; the value used where nothing is provided is
 * {@link defaults}.
 *
 * @since 0.1.0
 * @category references
 */
export class NodeConfig extends Context.Reference<NodeConfig>()("@tx3/node/NodeConfig", {
  defaultValue: () => defaults
}) {}

/**
 * The knobs, each with its default.
 *
 * @since 0.1.0
 * @category models
 */
export interface NodeConfigOptions {
  /**
   * The whole of a connect: the name's resolution, TCP over all its addresses, and TLS. Default 20000, as long as a
   * relay holds a peer for a node that does not dial back (protocol, section 4): any longer would wait for nothing.
   */
  readonly connectTimeoutMs: number

  /**
   * TCP to one address. The next address of a name is tried 250 ms after it, at the latest (RFC 8305). Default 5000: two
   * lost SYNs are survived, which are sent again after 1 and 3 s (RFC 6298).
   */
  readonly attemptTimeoutMs: number

  /**
   * Between the begins of two tries where a connect is given several addresses; the next begins at once when one has failed.
   * Default 250, the Connection Attempt Delay that RFC 8305, section 5, recommends.
   */
  readonly connectStaggerMs: number

  /**
   * An inbound connection, from accept or from the relay's token until TLS is done. Default 20000, the relay's
   * `connectionTimeoutMs`.
   */
  readonly handshakeTimeoutMs: number

  /**
   * Inbound connections in all, from accept to close. One more is closed at once. Default 4096, and
   * never more than half of what the descriptor limit (`ulimit -n`) leaves, since `Expose` opens a second one for each.
   */
  readonly maxInbound: number

  /**
   * The same of one source of direct connections, an IPv4 address or an IPv6 /64, and never more than half of all. One
   * more is closed at once; those that are open stay. Default 512: an office or a carrier's NAT is one source, and eight
   * such sources are needed to take a node from others. A relay does not tell sources, and bounds them itself.
   */
  readonly maxInboundPerSource: number

  /**
   * Inbound handshakes in progress at once, over all addresses. One more gives up another: one that has been silent for
   * half a second, else the one that has made no progress for longest, of the source or relay that has most. So silent
   * connections, however many, cannot keep out one that speaks. Default 64, as many peers as a relay lets one node have.
   */
  readonly maxHandshakes: number

  /**
   * Inbound connections that are through TLS and wait to be taken. One more is closed. Default 64: a burst of the
   * largest size a relay lets through.
   */
  readonly maxBacklog: number

  /**
   * The part of `maxHandshakes` and of `maxBacklog` that one source or relay may have, of the backlog one digest too, and
   * of `maxInbound` one relay; rounded up. Default 0.875, as a relay's `maxShareOfNode`: a lone client that opens 50
   * connections at once is served, and leaves eight places to others.
   */
  readonly maxShareOfSource: number

  /** From the end of TLS with a relay to its all-clear. Default 10000; a relay has nothing left to wait for by then. */
  readonly allClearTimeoutMs: number

  /**
   * The wait before the first new try after a registration was lost. It doubles with every further one, and begins anew once
   * a registration has lasted for `reconnectStableMs`, or when the machine has another network. Default 500. Every wait is shortened at random by up to a half, so that nodes that lost a
   * relay together do not come back together.
   */
  readonly reconnectMinMs: number

  /** The longest wait between two tries. Default 60000: a relay has its nodes back in a minute. */
  readonly reconnectMaxMs: number

  /**
   * How long a registration must last for the next wait to begin anew at `reconnectMinMs`. Default 120000, twice the longest
   * wait: two machines with one identity, which end each other's registration whenever they come back, do not reach it.
   */
  readonly reconnectStableMs: number

  /**
   * How long `Tx3HttpServer` finishes requests in progress when it ends; what is left is reset. Default 20000: less than the
   * 30 s that Kubernetes gives a program to end.
   */
  readonly httpDrainTimeoutMs: number

  /**
   * Whether a connection that ends without the other end's close_notify ends like any other, and does not fail with
   * `truncated`. Default false. Only for protocols whose data says itself where it ends: anyone on the way can cut a connection
   * off, and so can a failure of the other end.
   */
  readonly allowTruncated: boolean
}

/**
 * The defaults, as {@link NodeConfigOptions} gives them with their reasons.
 *
 * @since 0.1.0
 * @category defaults
 */
export const defaults: NodeConfigOptions = {
  connectTimeoutMs: 20_000,
  attemptTimeoutMs: 5_000,
  connectStaggerMs: 250,
  handshakeTimeoutMs: 20_000,
  maxInbound: 4_096,
  maxInboundPerSource: 512,
  maxHandshakes: 64,
  maxBacklog: 64,
  maxShareOfSource: 0.875,
  allClearTimeoutMs: 10_000,
  reconnectMinMs: 500,
  reconnectMaxMs: 60_000,
  reconnectStableMs: 120_000,
  httpDrainTimeoutMs: 20_000,
  allowTruncated: false
}

/**
 * The defaults with some of them replaced, for the node's layer.
 *
 * @example
 * ```ts
 * import { NodeConfig, Tx3Node } from "@tx3/node"
 * import { Layer } from "effect"
 *
 * export const node = Layer.provide(
 *   Tx3Node.layer({ bind: ["tx3-st://0.0.0.0:38150"] }),
 *   NodeConfig.layer({ maxInbound: 256, connectTimeoutMs: 5_000 })
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Partial<NodeConfigOptions>): Layer.Layer<NodeConfig> =>
  Layer.succeed(NodeConfig, { ...defaults, ...options })
