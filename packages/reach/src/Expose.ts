/**
 * Makes a service of this machine, which knows nothing of tx3, reachable at a node's addresses: each connection that comes in
 * and may, is carried on to the service over a connection of its own, or to a UDP service from a port of its own. Both end with the passage, and all with `serve`.
 */
import { NodeConfig } from "@tx3/node/NodeConfig"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { Tx3Node } from "@tx3/node/Tx3Node"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Udp from "./internal/udp.js"
import * as UdpExpose from "./internal/udpExpose.js"
import type { LocalEndpoint } from "./LocalEndpoint.js"
import * as Local from "./LocalEndpoint.js"
import { LocalError } from "./LocalEndpoint.js"
import * as Passage from "./Passage.js"
import { linger, send as refuse } from "./Refusal.js"
import * as Socks from "./Socks.js"

/**
 * The events of an exposed service:
 *
 * - `Opened`, `Closed`: a passage began, and ended;
 * - `Refused`: a peer that may not connect was told so. The service was not connected to;
 * - `Unavailable`: the service did not accept a connection, and the peer was told so; or nothing listens at a UDP service;
 * - `Mismatched`: a peer connected as to a TCP service, the service is a UDP one or a SOCKS5 proxy, and the peer was told so;
 * - `Denied`: a peer asked a SOCKS5 proxy for a destination that is not in its list, and was told so.
 *
 * @since 0.1.0
 * @category models
 */
export type Event =
  | Passage.Event
  | Data.TaggedEnum<{
    Refused: { readonly peer: CertDigest }
    Unavailable: { readonly peer: CertDigest; readonly because: LocalError }
    Mismatched: { readonly peer: CertDigest; readonly service: "udp" | "socks" }
    Denied: { readonly peer: CertDigest; readonly because: Socks.Denied }
  }>

/**
 * Constructors, `$is` and `$match` for {@link Event}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Event = Data.taggedEnum<Event>()

/**
 * The service to expose, and the peers that may connect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly node: Tx3Node["Type"]

  /** An endpoint, or a SOCKS5 proxy, which should not be for every peer. */
  readonly service: LocalEndpoint | Socks.Socks

  /** Whether a peer may connect, asked for each connection before the service is connected to. Default: every peer may. */
  readonly allows?: ((peer: CertDigest) => Effect.Effect<boolean>) | undefined

  /** Succeeds when a peer that is connected may not be any longer. Its connections are reset then. Default: never. */
  readonly revoked?: ((peer: CertDigest) => Effect.Effect<void>) | undefined

  /** Told of each event, in the fiber of the connection it is about, which waits for it. */
  readonly onEvent?: ((event: Event) => Effect.Effect<void>) | undefined
}

/**
 * Carries all of a node's inbound connections on to the service, until it is interrupted. Nothing else may take them.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { Expose, LocalEndpoint } from "@tx3/reach"
 * import { Effect } from "effect"
 *
 * const relay = "tx3-rst://relay.example.org:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
 * const friends = new Set(["A-QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdo"])
 *
 * // Makes this machine's SSH server reachable through the relay.
 * export const program = Effect.gen(function*() {
 *   const node = yield* Tx3Node.make({ bind: [relay] })
 *   const service = LocalEndpoint.Tcp({ host: "127.0.0.1", port: 22 })
 *   return yield* Expose.serve({ node, service, allows: (peer) => Effect.succeed(friends.has(peer)) })
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const serve = (options: Options): Effect.Effect<never> => {
  const {
    allows = () => Effect.succeed(true),
    node,
    onEvent = () => Effect.void,
    revoked = () => Effect.never,
    service
  } = options

  const handle = (connection: Tx3Connection) =>
    Effect.gen(function*() {
      const peer = connection.remoteDigest
      if (!(yield* allows(peer))) {
        yield* onEvent(Event.Refused({ peer }))
        return yield* refuse(connection, "not-allowed")
      }
      const { attemptTimeoutMs } = yield* NodeConfig
      const carried = service._tag === "Socks"
        ? carryRequested(connection, service, attemptTimeoutMs)
        : service._tag === "Udp"
        ? carryDatagrams(connection, service, attemptTimeoutMs)
        : Effect.flatMap(
          Local.connect(service, attemptTimeoutMs),
          (local) => Passage.run({ connection, local, onEvent })
        )
      yield* Effect.raceFirst(carried, revoked(peer)).pipe(
        Effect.catchTag("LocalError", (because) =>
          Effect.zipRight(
            onEvent(Event.Unavailable({ peer, because })),
            refuse(connection, "unavailable")
          ))
      )
    })

  const carryRequested = (connection: Tx3Connection, socks: Socks.Socks, timeoutMs: number) => {
    const peer = connection.remoteDigest
    const tell = (event: Event) => Effect.zipRight(onEvent(event), linger(connection))
    return Socks.accept(connection, socks, timeoutMs).pipe(
      Effect.flatMap((local) => Passage.run({ connection, local, onEvent })),
      Effect.catchTags({
        ConnectionError: () => connection.reset,
        Denied: (because) => tell(Event.Denied({ peer, because })),
        // The reply of SOCKS5 has told the peer.
        LocalError: (because) => tell(Event.Unavailable({ peer, because })),
        NoSocks: () => tell(Event.Mismatched({ peer, service: "socks" }))
      })
    )
  }

  const carryDatagrams = (
    connection: Tx3Connection,
    endpoint: Extract<LocalEndpoint, { readonly _tag: "Udp" }>,
    timeoutMs: number
  ) => {
    const peer = connection.remoteDigest
    const unreachable = (cause: unknown) =>
      new LocalError({ action: "connect to", endpoint: Local.format(endpoint), cause })
    return Effect.mapError(Udp.connect(endpoint, timeoutMs), ({ cause }) => unreachable(cause)).pipe(
      Effect.flatMap((socket) =>
        UdpExpose.run({
          connection,
          ownDigest: node.digest,
          socket,
          onEvent,
          onUnavailable: (cause) => onEvent(Event.Unavailable({ peer, because: unreachable(cause) }))
        })
      ),
      Effect.catchTags({
        ConnectionError: () => connection.reset,
        NoDatagrams: () => Effect.zipRight(onEvent(Event.Mismatched({ peer, service: "udp" })), linger(connection))
      })
    )
  }

  return node.serve(handle)
}
