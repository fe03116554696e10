/**
 * The page of `tx3 up`: its files, its HTTP interface and its server, which listens on 127.0.0.1 at a port that the system chooses,
 * until its scope closes. Links of {@link make} sign browsers in.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import type * as HttpServerError from "@effect/platform/HttpServerError"
import * as LocalHttp from "@tx3/local-http/LocalHttp"
import * as LocalPage from "@tx3/local-http/LocalPage"
import * as PageSessions from "@tx3/local-http/PageSessions"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import * as UpAllow from "./UpAllow.js"
import type * as UpLog from "./UpLog.js"
import * as UpStatus from "./UpStatus.js"

/**
 * A peer that may connect: its digest, its name if it has one, and the file in which it stands.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Allowed = Schema.Struct({ peer: Schema.String, name: Schema.NullOr(Schema.String), file: Schema.String })

/**
 * A service as `UpStatus.Service` has it. What is exposed also has who may connect, null for everyone, and the file of its list if
 * that is an `allowFile`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Service = Schema.Struct({
  ...UpStatus.Service.fields,
  allowed: Schema.NullOr(Schema.Array(Allowed)),
  allowFile: Schema.NullOr(Schema.String)
})

/**
 * The status for the page. `at` is the time of this machine, by which its other times go.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Status = Schema.Struct({ ...UpStatus.Status.fields, at: Schema.Number, services: Schema.Array(Service) })

/**
 * The status for the page, as {@link Status} has it.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = typeof Status.Type

/**
 * What the page is asked with a session: `GET /status` and `/log`, `POST /allow` and `/deny`; and `POST /session` without one.
 *
 * @since 0.1.0
 * @category api
 */
export class Api extends HttpApi.make("tx3-up-page").add(
  HttpApiGroup.make("page", { topLevel: true })
    .add(HttpApiEndpoint.get("status", "/status").addSuccess(Status))
    .add(
      HttpApiEndpoint.get("log", "/log").setUrlParams(Schema.Struct({ after: Schema.NumberFromString }))
        .addSuccess(Schema.Array(UpStatus.Line))
    )
    .add(
      HttpApiEndpoint.post("allow", "/allow").setPayload(UpAllow.Who).addSuccess(UpStatus.Reloaded)
        .addError(UpAllow.NotChanged)
    )
    .add(
      HttpApiEndpoint.post("deny", "/deny").setPayload(UpAllow.Who).addSuccess(UpStatus.Reloaded)
        .addError(UpAllow.NotChanged)
    )
    .add(PageSessions.endpoint)
) {}

/**
 * What answers the page.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answers {
  readonly status: Effect.Effect<Status>
  readonly log: UpLog.UpLog
  readonly allow: (who: typeof UpAllow.Who.Type) => Effect.Effect<UpStatus.Reloaded, UpAllow.NotChanged>
  readonly deny: (who: typeof UpAllow.Who.Type) => Effect.Effect<UpStatus.Reloaded, UpAllow.NotChanged>
}

/** The path of one of this package's own files, the same from src and from dist. */
const page = (name: string) => fileURLToPath(new URL(`../page/${name}`, import.meta.url))

/** The package has its module in two formats, and `require` finds the one that no browser takes. */
const uqr = () => createRequire(import.meta.url).resolve("uqr").replace(/cjs$/, "mjs")

const files: ReadonlyArray<LocalPage.PageFile> = [
  LocalPage.file("/", "index.html", page),
  ...["up.css", "access.js", "panels.js", "qr.js", "up.js"].map((name) => LocalPage.file(`/${name}`, name, page)),
  ...LocalPage.shared,
  LocalPage.file("/uqr.js", "uqr.js", uqr)
]

/**
 * The paths of the page's files.
 *
 * @since 0.1.0
 * @category routes
 */
export const paths: ReadonlySet<string> = LocalPage.pathsOf(files)

const guarded = (sessions: PageSessions.PageSessions) =>
  LocalPage.guarded((request) => {
    const path = LocalPage.pathOf(request)
    if (!LocalPage.isToAddress(request)) {
      return LocalPage.answer(403, "the page has no name; open the link that tx3 page prints")
    }
    if (LocalPage.isOfOtherSite(request)) {
      return LocalPage.answer(403, "tx3 up answers no other site's page")
    }
    return paths.has(path) || request.method === "POST" && path === "/session" ||
        sessions.millisLeft(LocalPage.bearerOf(request) ?? "") !== undefined
      ? undefined
      : LocalPage.answer(401, "needs a session; open the link that tx3 page prints")
  })

/**
 * A page that is served. `link` makes a link that signs one browser in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  readonly link: Effect.Effect<typeof UpStatus.Link.Type>
}

/**
 * Serves the page until the scope closes.
 *
 * @since 0.1.0
 * @category running
 */
export const make = (answers: Answers): Effect.Effect<Page, HttpServerError.ServeError, Scope.Scope> =>
  Effect.gen(function*() {
    const { allow, deny, log, status } = answers
    const sessions = new PageSessions.PageSessions(MonotonicTime.millis(yield* Effect.clock))
    const group = HttpApiBuilder.group(Api, "page", (handlers) =>
      handlers
        .handle("status", () => status)
        .handle("log", ({ urlParams: { after } }) => Effect.sync(() => log.after(after)))
        .handle("allow", ({ payload }) => allow(payload))
        .handle("deny", ({ payload }) => deny(payload))
        .handle("session", ({ payload }) => PageSessions.signIn(sessions, payload.code, "tx3 page")))
    const routes = Layer.mergeAll(
      Layer.provide(HttpLayerRouter.addHttpApi(Api), group),
      LocalPage.layer(files),
      HttpLayerRouter.middleware(guarded(sessions), { global: true })
    )
    const context = yield* HttpLayerRouter.serve(routes, { disableListenLog: true, disableLogger: true }).pipe(
      Layer.provideMerge(LocalHttp.server("http://127.0.0.1:0")),
      Layer.build
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    const port = address._tag === "TcpAddress" ? address.port : 0
    const link = Effect.sync(() => ({
      link: `http://127.0.0.1:${port}/#code=${sessions.makeCode()}`,
      expiresInSeconds: PageSessions.codeMs / 1000
    }))
    return { link }
  })
