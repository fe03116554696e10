/**
 * HTTP for this machine's own programs, on a loopback address or a unix socket: a server's socket and the connections to it,
 * which end with its layer's scope, streams too; and a client's, which end with its. The relay's admin server is one, and the
 * status of `tx3 up` another.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Http from "node:http"
import type * as Net from "node:net"
import { longestPath, removeStaleSocket } from "./UnixSocket.js"

/** More connections than anybody has open; the descriptors are others'. */
const connectionsMax = 64

const pathOf = (address: string) => address.startsWith("unix:") ? address.slice("unix:".length) : undefined

/**
 * A server at `http://HOST:PORT` or `unix:PATH`. A unix socket is for its owner only, and takes the place of one that a
 * killed process left behind.
 *
 * @since 0.1.0
 * @category layers
 */
export const server = (
  address: string
): Layer.Layer<Layer.Layer.Success<ReturnType<typeof NodeHttpServer.layer>>, HttpServerError.ServeError> =>
  Layer.unwrapScoped(Effect.gen(function*() {
    const path = pathOf(address)
    const httpServer = Http.createServer()
    httpServer.maxConnections = connectionsMax
    if (path !== undefined) {
      if (Buffer.byteLength(path) > longestPath) {
        const cause = new Error(
          `its path is longer than the ${longestPath} bytes that a socket's can have; choose another`
        )
        return yield* new HttpServerError.ServeError({ cause })
      }
      yield* removeStaleSocket(path)
      httpServer.on("listening", () => Fs.chmodSync(path, 0o600))
    }
    const listening = NodeHttpServer.layer(() => httpServer, path === undefined ? tcpOptions(address) : { path })
    return Layer.provideMerge(Layer.scopedDiscard(endWithScope(httpServer)), listening)
  }))

const tcpOptions = (address: string): Net.ListenOptions => {
  const { hostname, port } = new URL(address)
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port === "" ? 80 : port) }
}

/** Streams have no end of their own, and the server waits for them. */
const endWithScope = (server: Http.Server) =>
  Effect.addFinalizer(() =>
    Effect.sync(() => {
      server.on("connection", (socket) => socket.destroy())
      server.closeAllConnections()
    })
  )

/**
 * A client of the server at this address. Over a unix socket, `http://localhost` stands for it in URLs.
 *
 * @since 0.1.0
 * @category layers
 */
export const client = (address: string): Layer.Layer<HttpClient.HttpClient> => {
  const path = pathOf(address)
  return Layer.provide(
    NodeHttpClient.layerWithoutAgent,
    NodeHttpClient.makeAgentLayer({ keepAlive: false, ...path === undefined ? {} : { socketPath: path } })
  )
}

/**
 * What URLs of the server at this address begin with.
 *
 * @since 0.1.0
 * @category getters
 */
export const baseUrlOf = (address: string): string => pathOf(address) === undefined ? address : "http://localhost"
