/**
 * HTTP for this machine's own programs, on a loopback address or a unix socket: a server's socket and the connections to it,
 * which end with its layer's scope, streams too; and a client's, which end with its. The relay's admin server is one, and the
 * status of `tx3 up` another.
 *
 * A server bounds what strangers can hold of it: connections, and the time that each has for a request.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { bindPrivately, problemOf, removeStaleSocket } from "@tx3/sockets/UnixSocket"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Http from "node:http"
import type * as Net from "node:net"
import { Places } from "./internal/places.js"

/** Milliseconds that a connection has for the head of a request, and silent connections until they are closed. */
const headersTimeoutMs = 3_000
/** Milliseconds that a connection has for a whole request. */
const requestTimeoutMs = 10_000
/** Milliseconds between two looks at which connections have exceeded these. */
const checkEveryMs = 1_000
/** Milliseconds that a connection is kept open for the next request. */
const keepAliveMs = 5_000
/** Milliseconds without a byte after which any connection ends: a reader that does not read. Streams write each second. */
const silenceMs = 30_000
/** Requests of one connection. */
const requestsMax = 100

/**
 * How many bytes a request's body can have: 64 KiB. The longest that the admin API needs has some hundred.
 *
 * @since 0.1.0
 * @category constants
 */
export const bodyMax = 64 * 1024

/**
 * The connections that several servers may have together. Each takes a descriptor beside those of the relay's connections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connections {
  /** How many there are. */
  readonly size: number
}

/**
 * No connections, of 48 at most and 16 of each source. All of loopback is no source, because all users of a machine come
 * from one address there.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeConnections = (): Connections => new Places({ max: 48, maxPerSource: 16 })

const placesOfSocket = new WeakMap<Net.Socket, Places>()

/**
 * Keeps a connection until its request is answered, although newcomers need a place: the request has shown that it may be
 * made.
 *
 * @since 0.1.0
 * @category accessors
 */
export const trust = (request: HttpServerRequest.HttpServerRequest): void => {
  const { socket } = NodeHttpServerRequest.toIncomingMessage(request)
  placesOfSocket.get(socket)?.trust(socket)
}

const pathOf = (address: string) => address.startsWith("unix:") ? address.slice("unix:".length) : undefined

/**
 * A server at `http://HOST:PORT` or `unix:PATH`. A unix socket is for its owner only, from the moment it exists, and takes
 * the place of one that a killed process left behind.
 *
 * @since 0.1.0
 * @category layers
 */
export const server = (
  address: string,
  connections: Connections = makeConnections()
): Layer.Layer<Layer.Layer.Success<ReturnType<typeof NodeHttpServer.layer>>, HttpServerError.ServeError> =>
  Layer.unwrapScoped(Effect.gen(function*() {
    const path = pathOf(address)
    const httpServer = Http.createServer({
      connectionsCheckingInterval: checkEveryMs,
      headersTimeout: headersTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      requestTimeout: requestTimeoutMs
    })
    httpServer.maxRequestsPerSocket = requestsMax
    httpServer.timeout = silenceMs
    bound(httpServer, connections as Places, path !== undefined)
    holdUntilServed(httpServer)
    if (path !== undefined) {
      const problem = problemOf(path)
      if (problem !== undefined) {
        return yield* new HttpServerError.ServeError({ cause: Object.assign(new Error(problem), { code: "ENOTSUP" }) })
      }
      yield* removeStaleSocket(path)
      const listen: Http.Server["listen"] = httpServer.listen.bind(httpServer)
      httpServer.listen = (...args: ReadonlyArray<unknown>) =>
        bindPrivately(path, () => Reflect.apply(listen, httpServer, args))
    }
    const listening = NodeHttpServer.layer(() => httpServer, path === undefined ? tcpOptions(address) : { path })
    return Layer.provideMerge(Layer.scopedDiscard(endWithScope(httpServer)), listening)
  }))

const tcpOptions = (address: string): Net.ListenOptions => {
  const { hostname, port } = new URL(address)
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port === "" ? 80 : port) }
}

const bound = (server: Http.Server, places: Places, isPrivate: boolean) => {
  server.on("connection", (socket) => {
    placesOfSocket.set(socket, places)
    places.enter(socket, isPrivate)
  })
  server.on("request", ({ socket }, response) => response.once("close", places.begin(socket)))
}

/** The server listens before it is served. Requests that come between wait for the first handler; Node gives them to nobody. */
const holdUntilServed = (server: Http.Server) => {
  const held: Array<Parameters<Http.RequestListener>> = []
  const hold: Http.RequestListener = (...request) => held.push(request)
  const onListener = (event: string | symbol, handler: Http.RequestListener) => {
    if (event === "request") {
      server.off("newListener", onListener).off("request", hold)
      queueMicrotask(() => held.forEach((request) => handler.apply(server, request)))
    }
  }
  server.on("request", hold).on("newListener", onListener)
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
 * Reads a request's body before anything else does, and answers with status 413 where it is longer than {@link bodyMax}. The
 * request ends when its client goes away: without this, @effect/platform interrupts only the handlers of a router's routes.
 *
 * @since 0.1.0
 * @category middleware
 */
export const withBoundedBody: <E, R>(
  app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest> = HttpMiddleware
  .make((app) =>
    Effect.interruptible(Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      const message = NodeHttpServerRequest.toIncomingMessage(request)
      const { "content-length": length, "transfer-encoding": encoding } = request.headers
      if (encoding === undefined && (length === undefined || length === "0")) {
        return app
      }
      return Effect.flatMap(
        Number(length ?? 0) > bodyMax ? Effect.succeed(undefined) : bodyOf(message),
        (body) =>
          body === undefined
            ? HttpServerResponse.unsafeJson(
              { _tag: "Refused", message: `a request's body can have ${bodyMax} bytes` },
              { status: 413, headers: { connection: "close" } }
            )
            : Effect.provideService(
              app,
              HttpServerRequest.HttpServerRequest,
              Object.create(request, { text: { value: Effect.succeed(body.toString()) } })
            )
      )
    }))
  )

/** A body, unless it is too long, in which case the rest of it is not read. Waits for ever where the client goes away. */
const bodyOf = (message: Http.IncomingMessage) =>
  Effect.async<Buffer | undefined>((resume) => {
    const chunks: Array<Buffer> = []
    let bytes = 0
    const onData = (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > bodyMax) {
        stop()
        message.pause()
        resume(Effect.succeed(undefined))
      }
    }
    const onEnd = () => resume(Effect.succeed(Buffer.concat(chunks)))
    const stop = () => message.off("data", onData).off("end", onEnd)
    // the client's going away interrupts this; an unheard error would end the process
    message.on("data", onData).on("end", onEnd).on("error", () => {})
    return Effect.sync(stop)
  })

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
 * Returns the beginning of all URLs of the server at this address.
 *
 * @since 0.1.0
 * @category getters
 */
export const baseUrlOf = (address: string): string => pathOf(address) === undefined ? address : "http://localhost"
