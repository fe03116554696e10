/**
 * The operator's HTTP server: the admin API, metrics, live events and the page, at each of its addresses, until its layer's
 * scope closes, which ends those connections that still stream.
 *
 * A client that may use it may do everything. At a unix socket those are the processes that the file system lets in; over
 * TCP, clients that bear the token, and browsers that were signed in, which cannot sign in others. It answers no page of
 * another site that a browser on this machine shows.
 *
 * @since 0.1.0
 */
import * as Sse from "@effect/experimental/Sse"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as OpenApi from "@effect/platform/OpenApi"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as LocalHttp from "@tx3/local-http/LocalHttp"
import * as LocalPage from "@tx3/local-http/LocalPage"
import * as PageSessions from "@tx3/local-http/PageSessions"
import { AccessControl } from "@tx3/policy/AccessControl"
import * as OperatorConfig from "@tx3/policy/OperatorConfig"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import { PortPatience } from "@tx3/relay/Listener"
import * as Relay from "@tx3/relay/Relay"
import * as Listen from "@tx3/sockets/Listen"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { createHash, timingSafeEqual } from "node:crypto"
import { AdminApi, NotReady } from "./AdminApi.js"
import * as AdminPage from "./AdminPage.js"
import { onDemand } from "./internal/onDemand.js"
import * as LogLevelSwitch from "./LogLevelSwitch.js"
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
  /** The system's code for it, if it has one. */
  readonly code?: string | undefined
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
  /** Where it listens: `http://HOST:PORT` with the port it got, or `unix:PATH`. None where it is off. */
  readonly addresses: ReadonlyArray<string>
  /** Where it serves metrics alone, in the same form. */
  readonly metrics: Option.Option<string>
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
      .handle("pageOfNodes", ({ urlParams }) =>
        Effect.sync(() => history.nodes(urlParams)))
      .handle("pageOfSplices", ({ urlParams }) => Effect.sync(() => history.splices(urlParams)))
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
      .handle("everywhere", ({ payload }) => Effect.map(actions.everywhere(payload), (members) => ({ members })))
      .handle("drain", () => Effect.map(actions.drain, (splices) => ({ splices })))
      .handle(
        "logLevel",
        ({ payload }) => Effect.as(actions.setLogLevel(LogLevelSwitch.levels[payload.level]), payload)
      )
      .handle("reload", () => actions.reload)
  }))

/** The state that the listeners of one admin server share. */
interface Shared {
  readonly sessions: PageSessions.PageSessions
  readonly connections: LocalHttp.Connections
  /** Where browsers can be signed in. */
  readonly pages: Array<string>
  streams: number
}

const signIn = ({ pages, sessions }: Shared) =>
  HttpApiBuilder.group(AdminApi, "signIn", (handlers) =>
    handlers
      .handle(
        "page",
        () =>
          Effect.sync(() => ({
            code: sessions.makeCode(),
            expiresInSeconds: PageSessions.codeMs / 1000,
            addresses: pages
          }))
      )
      .handle("session", ({ payload }) => PageSessions.signIn(sessions, payload.code, "tx3-relay page")))

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

/** The OpenAPI description, generated at the first request: that takes as long as to build all other routes. */
const description = HttpLayerRouter.add(
  "GET",
  "/openapi.json",
  Effect.sync(() => HttpServerResponse.unsafeJson(OpenApi.fromApi(AdminApi)))
)

const event = (name: string, data: unknown) =>
  Sse.encoder.write({ _tag: "Event", data: JSON.stringify(data), event: name, id: undefined })

/** Pages that can be open at a time. One more is told so: those that are open stay. */
const streamsMax = 8

const events = (shared: Shared) =>
  HttpLayerRouter.use((router) =>
    Effect.gen(function*() {
      const history = yield* RelayHistory
      const journal = yield* RelayJournal
      yield* router.add(
        "GET",
        "/events",
        Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
          if (shared.streams >= streamsMax) {
            return LocalPage.answer(503, `${streamsMax} pages are open already; close one`)
          }
          shared.streams += 1
          NodeHttpServerRequest.toServerResponse(request).once("close", () => {
            shared.streams -= 1
          })
          LocalHttp.trust(request)
          const before = event("history", { samples: history.samples(), events: journal.recent() })
          const seconds = Stream.map(history.seconds, (second) => event("now", second))
          const millisLeft = shared.sessions.millisLeft(LocalPage.bearerOf(request) ?? "")
          return HttpServerResponse.stream(
            Stream.concat(Stream.make(before), seconds).pipe(
              millisLeft === undefined ? identity : Stream.interruptAfter(Duration.millis(millisLeft)),
              Stream.encodeText
            ),
            { contentType: "text/event-stream", headers: { "cache-control": "no-store" } }
          )
        })
      )
    })
  )

/** The credentials that a listener requires. */
type Policy =
  /** Nothing: the file system, or the machine's being of one user, decides who comes. */
  | { readonly is: "open" }
  /** The token, or a session. */
  | { readonly is: "closed"; readonly isToken: (text: string) => boolean }
  /** Nothing, for there is nothing but metrics and health. */
  | { readonly is: "metrics" }

const healthPaths = ["/healthz", "/readyz"]
const metricsPaths = ["/metrics", ...healthPaths]

const isTokenOf = (token: Redacted.Redacted<string> | undefined) => {
  const digest = (text: string) => createHash("sha256").update(text).digest()
  const wanted = token === undefined ? undefined : digest(Redacted.value(token))
  return (text: string) => wanted !== undefined && timingSafeEqual(wanted, digest(text))
}

const guarded = (policy: Policy, { sessions }: Shared) =>
  LocalPage.guarded((request) => {
    const { headers, method } = request
    const path = LocalPage.pathOf(request)
    if (policy.is === "metrics") {
      return metricsPaths.includes(path)
        ? undefined
        : LocalPage.answer(404, "there are metrics and health only here")
    }
    // ssh forwards a socket to a port, which browsers call by an address, too.
    if (policy.is === "open" && !LocalPage.isToAddress(request)) {
      return LocalPage.answer(403, `the admin server is not ${headers["host"] ?? ""}; call it by its address`)
    }
    if (LocalPage.isOfOtherSite(request)) {
      return LocalPage.answer(403, "the admin server answers no other site's page")
    }
    if (
      policy.is === "open" || healthPaths.includes(path) || AdminPage.paths.has(path) ||
      method === "POST" && path === "/session"
    ) {
      return undefined
    }
    const bearer = LocalPage.bearerOf(request) ?? ""
    if (policy.isToken(bearer)) {
      LocalHttp.trust(request)
      return undefined
    }
    if (sessions.millisLeft(bearer) !== undefined) {
      return path === "/page"
        ? LocalPage.answer(403, "a session of the page signs in no others; run tx3-relay page")
        : undefined
    }
    return LocalPage.answer(
      401,
      "needs the header Authorization: Bearer TOKEN, with the relay's adminToken; for its page run tx3-relay page"
    )
  })

/** Errors of a unix socket's folder that do not keep the relay from starting. */
const unusable = new Set(["EACCES", "EAFNOSUPPORT", "EINVAL", "ENAMETOOLONG", "ENOTSUP", "EPERM", "EROFS"])

/**
 * Serves the API, the metrics, the events and the page at each address of `admin`, and metrics and health alone at `metrics`.
 *
 * A unix socket is for its owner only, and takes the place of one that a killed process left behind. Where its folder takes
 * none, the server starts without it and logs a warning. Over TCP, requests bear `adminToken`, or a session of the page; all
 * but the page's own files and health. Where there is neither a token nor a unix socket they bear nothing, which a warning
 * says.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  settings: Pick<OperatorConfig.Settings, "admin" | "adminToken" | "metrics">
): Layer.Layer<
  AdminServer,
  AdminListenError,
  AccessControl | Relay.Relay | RelayActions | RelayHistory | RelayJournal | RelayTelemetry
> =>
  Layer.scoped(
    AdminServer,
    Effect.gen(function*() {
      const { admin, adminToken } = settings
      const clock = yield* Clock.clockWith(Effect.succeed)
      const shared: Shared = {
        connections: LocalHttp.makeConnections(),
        pages: [],
        sessions: new PageSessions.PageSessions(MonotonicTime.millis(clock)),
        streams: 0
      }
      yield* Effect.forEach(OperatorConfig.warningsOf(settings), (warning) => Effect.logWarning(warning))
      const closed: Policy = { is: "closed", isToken: isTokenOf(adminToken) }
      const open = OperatorConfig.openAddresses(settings)
      const app = yield* makeApp(shared)
      const addresses: Array<string> = []
      for (const address of admin) {
        const isOpen = OperatorConfig.isUnix(address) || open.includes(address)
        const bound = yield* listen(address, isOpen ? { is: "open" } : closed, shared, app).pipe(
          Effect.catchIf(
            ({ code = "" }) => OperatorConfig.isUnix(address) && unusable.has(code),
            ({ message }) => Effect.as(Effect.logWarning(`${message}; ${remedyFor(settings)}`), undefined)
          )
        )
        if (bound !== undefined) {
          addresses.push(bound)
          if (!OperatorConfig.isUnix(bound)) {
            shared.pages.push(reachable(bound))
          }
          yield* Effect.annotateLogs(Effect.logInfo("admin server listening"), { address: bound })
        }
      }
      const metrics = yield* Effect.transposeMapOption(
        Option.fromNullable(settings.metrics),
        (address) => listen(address, { is: "metrics" }, shared, app)
      )
      return { addresses, metrics }
    })
  )

const remedyFor = ({ admin, adminToken }: Pick<OperatorConfig.Settings, "admin" | "adminToken">) => {
  const other = admin.find((address) => !OperatorConfig.isUnix(address))
  const meanwhile = other !== undefined && adminToken !== undefined
    ? `the commands work with --admin ${other}; for the socket,`
    : "the relay works, and its commands and its page do not: let admin name a folder that its user may write to,"
  return `${meanwhile} set TX3_RELAY_ADMIN=unix:/run/FOLDER/admin.sock for it and for the commands`
}

/**
 * The routes, the same for each address. Each address checks a request before it reaches them. The first request builds the
 * routes and reads the page's files, which would take a tenth of the relay's start.
 */
const makeApp = (shared: Shared) => {
  const routes = Layer.mergeAll(
    HttpLayerRouter.addHttpApi(AdminApi).pipe(Layer.provide([health, look, act, signIn(shared)])),
    description,
    AdminPage.layer,
    events(shared),
    metrics
  ).pipe(Layer.provide(NodeHttpServer.layerContext))
  return Effect.map(onDemand(HttpLayerRouter.toHttpEffect(routes)), Effect.flatten)
}

/** Listens until the scope closes; returns the address, with the port it got. */
const listen = (
  address: string,
  policy: Policy,
  shared: Shared,
  app: Effect.Effect.Success<ReturnType<typeof makeApp>>
) =>
  Effect.gen(function*() {
    const served = HttpServer.serve(guarded(policy, shared)(app))
    const attempt = Layer.build(Layer.provideMerge(served, LocalHttp.server(address, shared.connections))).pipe(
      Effect.map((context) => {
        const bound = Context.get(context, HttpServer.HttpServer).address
        return bound._tag === "TcpAddress" ? `http://${new URL(address).hostname}:${bound.port}` : address
      }),
      Effect.mapError(({ cause }) =>
        new AdminListenError({ address, problem: problemOf(cause), code: (cause as NodeJS.ErrnoException).code })
      )
    )
    // An outgoing connection can have a port, and no path.
    const isTaken = ({ code }: AdminListenError) => code === "EADDRINUSE" && !OperatorConfig.isUnix(address)
    return yield* Listen.onceFree(attempt, { isTaken, patienceMs: yield* PortPatience })
  })

/** An address of all of the machine's, as one that a browser there can use. */
const reachable = (address: string) => address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")

const problemOf = (cause: unknown) => {
  const { code, message } = cause as NodeJS.ErrnoException
  return code === "EADDRINUSE" ? "another program listens there already; choose another address with admin" : message
}
