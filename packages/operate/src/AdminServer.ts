/**
 * The operator's HTTP server: the admin API, metrics, live events and the page, until its layer's scope closes, which ends
 * those connections that still stream.
 *
 * Whoever can reach it may do everything. So it listens on loopback or a unix socket, or wants a token; and it answers no
 * page of another site that a browser on this machine shows.
 *
 * @since 0.1.0
 */
import * as Sse from "@effect/experimental/Sse"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Relay from "@tx3/relay/Relay"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { createHash, timingSafeEqual } from "node:crypto"
import { AccessControl } from "./AccessControl.js"
import { AdminApi, NotReady } from "./AdminApi.js"
import * as AdminPage from "./AdminPage.js"
import * as LocalHttp from "./LocalHttp.js"
import { RelayActions } from "./RelayActions.js"
import { RelayHistory } from "./RelayHistory.js"
import { RelayJournal } from "./RelayJournal.js"
import { RelayTelemetry } from "./RelayTelemetry.js"

/**
 * The admin server's address could not be listened on.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdminListenError extends Data.TaggedError("AdminListenError")<{
  readonly address: string
  readonly problem: string
}> {
  override get message() {
    return `the admin server cannot listen on ${this.address}: ${this.problem}`
  }
}

/**
 * The relay's admin server, running or off.
 *
 * @since 0.1.0
 * @category services
 */
export class AdminServer extends Context.Tag("@tx3/operate/AdminServer")<AdminServer, {
  /** Where it listens, if it does: `http://HOST:PORT` with the port it got, or `unix:PATH`. */
  readonly address: Option.Option<string>
}>() {}

const health = HttpApiBuilder.group(AdminApi, "health", (handlers) =>
  Effect.gen(function*() {
    const relay = yield* Relay.Relay
    const state = Effect.map(relay.snapshot, ({ state }) => ({ state }))
    return handlers
      .handle("healthz", () => state)
      .handle("readyz", () =>
        Effect.filterOrFail(
          state,
          ({ state }) => state === "listening",
          ({ state }) => new NotReady({ message: `the relay is ${state}` })
        ))
  }))

const look = HttpApiBuilder.group(AdminApi, "look", (handlers) =>
  Effect.gen(function*() {
    const access = yield* AccessControl
    const history = yield* RelayHistory
    const relay = yield* Relay.Relay
    return handlers
      .handle("status", () => history.status)
      .handle("controlStreams", () =>
        Effect.sync(() =>
          Array.from(relay.controlStreams(), ({ connection, node, since, source }) => ({
            connection,
            node,
            since,
            source,
            peers: relay.peers().get(node) ?? 0
          }))
        ))
      .handle("splices", () =>
        Effect.sync(() =>
          Array.from(relay.splices(), (splice) => {
            const { connection, node, since, source } = splice
            const { fromLeft, fromRight } = splice.carried()
            return { bytesFromNode: fromRight, bytesFromPeer: fromLeft, connection, node, since, source }
          })
        ))
      .handle("bans", () =>
        Effect.sync(access.bans))
  }))

const act = HttpApiBuilder.group(AdminApi, "act", (handlers) =>
  Effect.gen(function*() {
    const actions = yield* RelayActions
    const kicked = Effect.map((kicked: number) => ({ kicked }))
    return handlers
      .handle("kickNode", ({ payload }) => kicked(actions.kickNode(payload.node)))
      .handle("kickSplice", ({ payload }) => kicked(actions.kickSplice(payload.connection)))
      .handle("ban", ({ payload }) => kicked(actions.ban(payload.who)))
      .handle("unban", ({ payload }) => Effect.as(actions.unban(payload.who), {}))
      .handle("drain", () => Effect.map(actions.drain, (splices) => ({ splices })))
      .handle("logLevel", ({ payload }) => Effect.as(actions.setLogLevel(levels[payload.level]), payload))
      .handle("reload", () => actions.reload)
  }))

const levels = {
  trace: LogLevel.Trace,
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error,
  fatal: LogLevel.Fatal,
  none: LogLevel.None
}

const metrics = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    const { prometheus } = yield* RelayTelemetry
    yield* router.add(
      "GET",
      "/metrics",
      Effect.map(prometheus, (text) =>
        HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" }))
    )
  })
)

const event = (name: string, data: unknown) =>
  Sse.encoder.write({ _tag: "Event", data: JSON.stringify(data), event: name, id: undefined })

const events = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    const history = yield* RelayHistory
    const journal = yield* RelayJournal
    yield* router.add(
      "GET",
      "/events",
      Effect.sync(() => {
        const before = event("history", { samples: history.samples(), events: journal.recent() })
        const seconds = Stream.map(history.seconds, (second) => event("now", second))
        return HttpServerResponse.stream(Stream.encodeText(Stream.concat(Stream.make(before), seconds)), {
          contentType: "text/event-stream",
          headers: { "cache-control": "no-store" }
        })
      })
    )
  })
)

const guard = (token: Redacted.Redacted<string> | undefined) => {
  const digest = (text: string) => createHash("sha256").update(text).digest()
  const wanted = token === undefined ? undefined : digest(`Bearer ${Redacted.value(token)}`)

  const refusal = ({ headers, url }: HttpServerRequest.HttpServerRequest) => {
    const host = headers["host"] ?? ""
    const { origin } = headers
    if (!isAddressOrLocal(host) && wanted === undefined) {
      return { status: 403, message: `the admin server is not ${host}; call it by its address` }
    }
    if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) {
      return { status: 403, message: "the admin server answers no other site's page" }
    }
    if (
      wanted === undefined || AdminPage.paths.has(url) ||
      timingSafeEqual(wanted, digest(headers["authorization"] ?? ""))
    ) {
      return undefined
    }
    return { status: 401, message: "needs the header Authorization: Bearer TOKEN, with the relay's adminToken" }
  }

  return HttpLayerRouter.middleware(
    (handled) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
        const refused = refusal(request)
        if (refused !== undefined) {
          return Effect.succeed(answer(refused.status, refused.message))
        }
        if (wanted !== undefined && !AdminPage.paths.has(request.url)) {
          LocalHttp.trust(request)
        }
        return LocalHttp.withBoundedBody(handled)
      }),
    { global: true }
  )
}

/** The connection ends with it: a body that may follow is not read. */
const answer = (status: number, message: string) =>
  HttpServerResponse.unsafeJson({ _tag: "Refused", message }, { status, headers: { connection: "close" } })

/** A name that another site could have given to this machine's address is none of ours; nor is it on a forwarded socket. */
const isAddressOrLocal = (host: string) => /^(\[[\da-f:.]+\]|[\d.]+|localhost)(:\d+)?$/i.test(host)

/**
 * Serves the API, the metrics, the events and the page. With a `token`, all but the page's own files ask for it. A unix
 * socket is for its owner only, and takes the place of one that a killed process left behind.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  /** `http://HOST:PORT` or `unix:PATH`. */
  readonly address: string
  readonly token?: Redacted.Redacted<string> | undefined
}): Layer.Layer<
  AdminServer,
  AdminListenError,
  AccessControl | Relay.Relay | RelayActions | RelayHistory | RelayJournal | RelayTelemetry
> => {
  const { address, token } = options
  const routes = Layer.mergeAll(
    HttpLayerRouter.addHttpApi(AdminApi, { openapiPath: "/openapi.json" }).pipe(Layer.provide([health, look, act])),
    AdminPage.layer,
    events,
    metrics
  )
  const app = HttpLayerRouter.serve(Layer.mergeAll(routes, guard(token)), {
    disableListenLog: true,
    disableLogger: true
  })
  const bound = Layer.effect(
    AdminServer,
    Effect.map(HttpServer.HttpServer, (server) => ({
      address: Option.some(server.address._tag === "TcpAddress" ? HttpServer.formatAddress(server.address) : address)
    })).pipe(
      Effect.tap(({ address }) =>
        Effect.annotateLogs(Effect.logInfo("admin server listening"), { address: Option.getOrThrow(address) })
      )
    )
  )
  const server = Layer.mapError(
    LocalHttp.server(address),
    ({ cause }) => new AdminListenError({ address, problem: problemOf(cause) })
  )
  return Layer.provide(Layer.provideMerge(bound, app), server)
}

/**
 * No admin server.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOff: Layer.Layer<AdminServer> = Layer.succeed(AdminServer, { address: Option.none() })

const problemOf = (cause: unknown) => {
  const { code, message } = cause as NodeJS.ErrnoException
  return code === "EADDRINUSE" ? "another program listens there already; choose another address with admin" : message
}
