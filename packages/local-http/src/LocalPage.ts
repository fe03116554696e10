/**
 * The page of a local HTTP server: its files as routes, and what its server refuses. The files are read once, when the layer is
 * built: from the package, or from the executable that carries them. The page's style and the modules that all pages share are
 * in `page/` of this package.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { asset } from "@tx3/sockets/Executable"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { fileURLToPath } from "node:url"
import * as LocalHttp from "./LocalHttp.js"

/**
 * A file of a page: where a browser asks for it, and its content.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageFile {
  /** `/` is HTML; other paths say by their ending what they are, `.css` or `.js`. */
  readonly path: `/${string}`

  /** Dies where the file cannot be read, because it is part of a package, as the code is. */
  readonly content: Effect.Effect<string, never, FileSystem.FileSystem>
}

/**
 * A file that a package has at `placeOf(name)`, and an executable as the asset `page/` with its name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const file = (path: `/${string}`, name: string, placeOf: (name: string) => string): PageFile => ({
  path,
  content: Effect.suspend(() => {
    const carried = asset(`page/${name}`)?.toString()
    return carried === undefined
      ? Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.orDie(fs.readFileString(placeOf(name))))
      : Effect.succeed(carried)
  })
})

/**
 * A file whose content the program makes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const made = (path: `/${string}`, content: string): PageFile => ({ path, content: Effect.succeed(content) })

/** The path of one of this package's own files, the same from src and from dist. */
const page = (name: string) => fileURLToPath(new URL(`../page/${name}`, import.meta.url))

/**
 * The files that all pages share.
 *
 * @since 0.1.0
 * @category constants
 */
export const shared: ReadonlyArray<PageFile> = [
  "page.css",
  "elements.js",
  "format.js",
  "questions.js",
  "signIn.js"
].map((name) => file(`/${name}`, name, page))

/** Nothing but the page's own files, and nowhere but its server. */
const headers = {
  "cache-control": "no-cache",
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'"
  ].join("; "),
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
}

const typeOf = (path: string) =>
  `text/${path.endsWith(".js") ? "javascript" : path.endsWith(".css") ? "css" : "html"}; charset=utf-8`

/**
 * The routes of a page's files.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  files: ReadonlyArray<PageFile>
): Layer.Layer<never, never, FileSystem.FileSystem | HttpLayerRouter.HttpRouter> =>
  HttpLayerRouter.addAll(
    Effect.forEach(files, ({ content, path }) =>
      Effect.map(content, (text) =>
        HttpLayerRouter.route(
          "GET",
          path,
          HttpServerResponse.text(text, { contentType: typeOf(path), headers })
        )), { concurrency: "unbounded" })
  )

/**
 * The paths of a page's files. They hold nothing secret, and a browser asks for them before it is signed in.
 *
 * @since 0.1.0
 * @category getters
 */
export const pathsOf = (files: ReadonlyArray<PageFile>): ReadonlySet<string> => new Set(files.map(({ path }) => path))

/**
 * The path of a request, without its query.
 *
 * @since 0.1.0
 * @category getters
 */
export const pathOf = ({ url }: HttpServerRequest.HttpServerRequest): string => url.replace(/\?.*/, "")

/**
 * The bearer token of a request. The scheme may be written in any case (RFC 9110, section 11.1).
 *
 * @since 0.1.0
 * @category getters
 */
export const bearerOf = ({ headers }: HttpServerRequest.HttpServerRequest): string | undefined =>
  /^bearer +(.*?) *$/i.exec(headers["authorization"] ?? "")?.[1]

/**
 * Tells whether a request names the server by an address or as localhost. Another site can give this machine's address to any
 * other name, and its pages then reach the server.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isToAddress = ({ headers }: HttpServerRequest.HttpServerRequest): boolean =>
  /^(\[[\da-f:.]+\]|[\d.]+|localhost)(:\d+)?$/i.test(headers["host"] ?? "")

/**
 * Tells whether a request comes from a page of another site.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isOfOtherSite = ({ headers: { host = "", origin } }: HttpServerRequest.HttpServerRequest): boolean =>
  origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`

/**
 * Refuses a request, with its reason. The connection ends with the answer, so a body that may follow is not read.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answer = (status: number, message: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson({ _tag: "Refused", message }, {
    status,
    headers: { connection: "close", ...status === 401 ? { "www-authenticate": "Bearer" } : {} }
  })

/**
 * An application that answers requests with the refusal that `refusalOf` gives, and bounds the bodies of all others.
 *
 * @since 0.1.0
 * @category middleware
 */
export const guarded =
  (refusalOf: (request: HttpServerRequest.HttpServerRequest) => HttpServerResponse.HttpServerResponse | undefined) =>
  <E, R>(
    app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
  ): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest> =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      const refused = refusalOf(request)
      return refused === undefined ? LocalHttp.withBoundedBody(app) : Effect.succeed(refused)
    })
