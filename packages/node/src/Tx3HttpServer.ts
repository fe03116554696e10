/**
 * @effect/platform's `HttpServer` behind a node, in place of `NodeHttpServer.layer`: an HttpApi, a router or any other HTTP app
 * of a machine behind a NAT is reached through relays. It takes a node's connections from `serve` on, and stops when that
 * scope closes. When its own closes, it finishes the requests in progress, for `httpDrainTimeoutMs` at most, and closes all.
 */
import type * as Etag from "@effect/platform/Etag"
import type * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import type * as HttpPlatform from "@effect/platform/HttpPlatform"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as duplex from "./Duplex.js"
import { tcpAddressOf } from "./internal/tcpAddressOf.js"
import { NodeConfig } from "./NodeConfig.js"
import { RemoteDigest } from "./RemoteDigest.js"
import * as Tx3Node from "./Tx3Node.js"

/**
 * Serves HTTP on a node's inbound connections: keep-alive, streams both ways, server-sent events and WebSocket upgrades as
 * on TCP, since below it is Node's own HTTP server with its own time-outs. A handler finds whom it serves in `RemoteDigest`.
 * `address` is the host and port of the node's first address, which alone does not tell where it is, whatever platform logs
 * of it: `Tx3Node.addresses` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<HttpServer.HttpServer, never, Tx3Node.Tx3Node | Scope.Scope> = Effect.gen(function*() {
  const node = yield* Tx3Node.Tx3Node
  const { httpDrainTimeoutMs } = yield* NodeConfig
  const digests = new WeakMap<Duplex, CertDigest>()
  const open = new Set<Duplex>()

  // As NodeHttpServer does it: idle connections are closed, the others after their response. New ones are refused.
  const drain = (connections: Connections) =>
    Effect.sync(() => {
      // For a connection whose response has yet to end. 0 would be for ever.
      connections.keepAliveTimeout = 1
      connections.closeIdleConnections()
    }).pipe(
      Effect.zipRight(Effect.raceFirst(
        Effect.zipRight(Stream.runForEach(node.connections, ({ reset }) => reset), Effect.never),
        Effect.suspend(() => Effect.forEach(open, duplex.closed, { concurrency: "unbounded", discard: true }))
      )),
      Effect.interruptible,
      Effect.timeoutOption(httpDrainTimeoutMs),
      Effect.zipRight(Effect.sync(() => {
        for (const connection of open) {
          connection.destroy()
        }
        connections.close()
      }))
    )
  const connections = yield* Effect.acquireRelease(Effect.sync(() => new Connections()), drain)
  const server = yield* Effect.orDie(NodeHttpServer.make(() => connections, {}))

  const remoteDigest = Effect.map(
    HttpServerRequest.HttpServerRequest,
    (request) => Option.fromNullable(digests.get(NodeHttpServerRequest.toIncomingMessage(request).socket))
  )

  // Around everything, so that any middleware may ask.
  const withRemoteDigest =
    (middleware: HttpMiddleware.HttpMiddleware = identity): HttpMiddleware.HttpMiddleware => (app) =>
      Effect.provideServiceEffect(middleware(app), RemoteDigest, remoteDigest)

  // To interrupt it ends the taking, and no connection.
  const take = Stream.runForEach(node.connections, (connection) =>
    Effect.sync(() => {
      const { duplex, remoteDigest } = connection
      digests.set(duplex, remoteDigest)
      open.add(duplex.once("close", () => open.delete(duplex)))
      connections.emit("connection", duplex)
    }))

  return HttpServer.make({
    address: tcpAddressOf(node),
    serve: (app, middleware) =>
      Effect.zipRight(
        server.serve(app, withRemoteDigest(middleware)),
        Effect.asVoid(Effect.forkScoped(Effect.interruptible(take)))
      )
  })
})

/** An HTTP server that does not listen: it is given its connections. */
class Connections extends Http.Server {
  override listen(...args: ReadonlyArray<unknown>) {
    // Node begins with this to look for requests that take too long.
    this.emit("listening")
    ;(args.at(-1) as () => void)()
    return this
  }

  override address() {
    return { address: "0.0.0.0", family: "IPv4", port: 0 }
  }
}

/**
 * A node with these options, its `HttpServer`, and what platform's HTTP apps need beside it. It fails with the node's own
 * error as its cause.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { RemoteDigest, Tx3HttpServer } from "@tx3/node"
 * import { Effect, Layer, Option } from "effect"
 *
 * const app = HttpRouter.empty.pipe(
 *   HttpRouter.get(
 *     "/",
 *     Effect.map(RemoteDigest.RemoteDigest, (digest) => HttpServerResponse.text(Option.getOrElse(digest, () => "unknown")))
 *   )
 * )
 *
 * const relay = "tx3-rst://relay.example.org:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
 * export const server = Layer.provide(HttpServer.serve(app), Tx3HttpServer.layer({ bind: [relay] }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Tx3Node.Options
): Layer.Layer<
  HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext | Tx3Node.Tx3Node,
  HttpServerError.ServeError
> =>
  Layer.provideMerge(
    layerWithoutNode,
    Layer.mapError(Tx3Node.layer(options), (cause) => new HttpServerError.ServeError({ cause }))
  )

/**
 * The same behind a node that there is. Nothing else may take its connections.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutNode: Layer.Layer<
  HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  never,
  Tx3Node.Tx3Node
> = Layer.merge(Layer.scoped(HttpServer.HttpServer, make), NodeHttpServer.layerContext)
