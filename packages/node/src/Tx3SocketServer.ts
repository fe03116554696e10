/**
 * @effect/platform's `SocketServer` behind a node, in place of `NodeSocketServer.layer`: what serves a `SocketServer`, as an
 * @effect/rpc server does, is reached through relays. Each connection has its handler's fiber and scope, and ends with them.
 */
import * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { tcpAddressOf } from "./internal/tcpAddressOf.js"
import * as Tx3Node from "./Tx3Node.js"

/**
 * Serves a node's inbound connections. A handler finds whom it serves in `RemoteDigest`. When it succeeds its connection's
 * writing side is ended, and what was written still goes out; when it fails, the connection is reset. That a peer reset its
 * connection is logged as debug, any other failure of a handler as an error; neither ends `run`. `address` is the host and
 * port of the node's first address, which alone does not tell where it is: `Tx3Node.addresses` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SocketServer.SocketServer["Type"], never, Tx3Node.Tx3Node> = Effect.map(
  Tx3Node.Tx3Node,
  (node) =>
    SocketServer.SocketServer.of({
      address: tcpAddressOf(node),
      run: <R, E, _>(handler: (socket: Socket.Socket) => Effect.Effect<_, E, R>) =>
        node.serve(({ end, reset, socket }) =>
          handler(socket).pipe(
            Effect.zipRight(Effect.ignore(end)),
            Effect.catchAllCause((cause) =>
              Effect.zipRight(
                reset,
                Socket.isSocketError(Cause.squash(cause))
                  ? Effect.logDebug("a connection was lost", cause)
                  : Effect.logError("the handler of a connection failed", cause)
              )
            )
          )
        )
    })
)

/**
 * A node with these options, and its `SocketServer`. It fails with the reason `Open`, and the node's own error as its cause.
 *
 * @example
 * ```ts
 * import { SocketServer } from "@effect/platform"
 * import { Tx3SocketServer } from "@tx3/node"
 * import { Effect } from "effect"
 *
 * const serve = Effect.gen(function*() {
 *   const server = yield* SocketServer.SocketServer
 *   return yield* server.run((socket) =>
 *     Effect.scoped(Effect.flatMap(socket.writer, (write) => socket.run((chunk) => write(chunk))))
 *   )
 * })
 *
 * const relay = "tx3-rst://relay.example.org:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
 * export const program = Effect.provide(serve, Tx3SocketServer.layer({ bind: [relay] }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Tx3Node.Options
): Layer.Layer<SocketServer.SocketServer | Tx3Node.Tx3Node, SocketServer.SocketServerError> =>
  Layer.provideMerge(
    layerWithoutNode,
    Layer.mapError(Tx3Node.layer(options), (cause) => new SocketServer.SocketServerError({ reason: "Open", cause }))
  )

/**
 * The same behind a node that there is. Nothing else may take its connections.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutNode: Layer.Layer<SocketServer.SocketServer, never, Tx3Node.Tx3Node> = Layer.effect(
  SocketServer.SocketServer,
  make
)
