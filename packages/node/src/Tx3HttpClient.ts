/**
 * @effect/platform's `HttpClient` to a node, in place of `NodeHttpClient.layer`, and its `WebSocketConstructor`. Every request
 * goes to the one node, whatever host its URL has. Connections are kept for later requests, and end with the layer's scope.
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Socket from "@effect/platform/Socket"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Undici from "@effect/platform-node/Undici"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import * as WS from "ws"
import * as handOver from "./internal/handOver.js"
import { ConnectionError } from "./NodeError.js"
import * as Tx3Node from "./Tx3Node.js"

/** As many connections as a relay by default lets one source have with one node. Further requests wait for one of them. */
const maxConnections = 32

/**
 * A client of the HTTP server at this address, or at several of one node, with the identity of `options`: a new one,
 * without any. URLs are `http://` and `ws://`, since what carries them is encrypted already; their host is the server's
 * to make something of. A request whose connection cannot be made fails with the `ConnectError` as its cause. A WebSocket
 * that ends without a close frame emits `error` before `close`.
 *
 * @example
 * ```ts
 * import { HttpClient } from "@effect/platform"
 * import { Tx3HttpClient } from "@tx3/node"
 * import { Effect } from "effect"
 *
 * // The host of the URL does not matter: every request goes to the node.
 * export const get = (address: string) =>
 *   HttpClient.get("http://node/").pipe(
 *     Effect.flatMap((response) => response.text),
 *     Effect.provide(Tx3HttpClient.layer(address))
 *   )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  destination: Tx3Node.Destination,
  options: Pick<Tx3Node.Options, "identity"> = {}
): Layer.Layer<HttpClient.HttpClient | Socket.WebSocketConstructor> =>
  Layer.provide(layerWithoutNode(destination), Layer.orDie(Tx3Node.layer(options)))

/**
 * The same through a node that there is.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutNode = (
  destination: Tx3Node.Destination
): Layer.Layer<HttpClient.HttpClient | Socket.WebSocketConstructor, never, Tx3Node.Tx3Node> =>
  Layer.unwrapScoped(
    Effect.map(makeConnect(destination), (connect) =>
      Layer.merge(
        Layer.provide(NodeHttpClient.layerUndiciWithoutDispatcher, dispatcher(connect)),
        Layer.succeed(Socket.WebSocketConstructor, webSocket(connect))
      ))
  )

type Connect = (protocol: string, callback: (error: unknown, socket?: Duplex) => void) => void

const makeConnect = (destination: Tx3Node.Destination): Effect.Effect<Connect, never, Tx3Node.Tx3Node | Scope.Scope> =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.Tx3Node
    const open = yield* handOver.make
    return (protocol, callback) => {
      if (protocol === "https:" || protocol === "wss:") {
        return callback(new Error(`${protocol}// is not for tx3, which encrypts already; write http:// or ws://`))
      }
      open(node.connect(destination), (error, connection) => {
        if (connection !== undefined) {
          // One that the server has ended is of no use for another request.
          connection.duplex.allowHalfOpen = false
        }
        callback(error, connection?.duplex)
      })
    }
  })

const dispatcher = (connect: Connect) =>
  Layer.scoped(
    NodeHttpClient.Dispatcher,
    Effect.acquireRelease(
      Effect.sync(() =>
        new Undici.Agent({
          connections: maxConnections,
          connect: ({ protocol }, callback) => connect(protocol, callback as Parameters<Connect>[1])
        })
      ),
      (agent) => Effect.promise(() => agent.destroy())
    )
  )

const webSocket = (connect: Connect): Context.Tag.Service<typeof Socket.WebSocketConstructor> => (url, protocols) => {
  const webSocket = new WS.WebSocket(url, protocols, {
    createConnection: (_: unknown, callback: (error: Error | null, socket: Duplex) => void) => {
      connect(new URL(url).protocol, callback as Parameters<Connect>[1])
      return undefined
    }
  })
  // ws reports a connection that is cut off by the close code alone, and platform takes that code for an end in order.
  webSocket.once("open", () =>
    webSocket.prependOnceListener("close", (code) => {
      if (code === cutOffCode && webSocket.listenerCount("error") > 0) {
        webSocket.emit("error", new ConnectionError({ reason: "truncated" }))
      }
    }))
  return webSocket as unknown as WebSocket
}

/** The code of a WebSocket that ended without a close frame (RFC 6455, section 7.1.5). */
const cutOffCode = 1006
