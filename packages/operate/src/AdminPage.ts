/**
 * The operator's page: hand-written files of this package and uPlot's own, as routes of the admin server. The page asks for
 * nothing else but the endpoints of `AdminApi` and `/events`. The files are read once, when the layer is built.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { asset } from "@tx3/sockets/Executable"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import * as Words from "./internal/words.js"

/** The path of one of this package's own files, the same from src and from dist. */
const page = (name: string) => fileURLToPath(new URL(`../page/${name}`, import.meta.url))

const uplot = (name: string) => createRequire(import.meta.url).resolve(`uplot/dist/${name}`)

/** No file: what is said in it is also said in the journal. */
const wordsFile = "words.js"

const read = (name: string) => {
  if (name === wordsFile) {
    return Effect.succeed(Words.script)
  }
  const carried = asset(`page/${name}`)?.toString()
  return carried !== undefined
    ? Effect.succeed(carried)
    : Effect.flatMap(
      FileSystem.FileSystem,
      (fileSystem) => fileSystem.readFileString(name.startsWith("uPlot") ? uplot(name) : page(name))
    )
}

const scripts = ["page", "actions", "charts", "elements", "format", "history", "lists", "panels", "signIn", "stream"]

const html = "text/html; charset=utf-8"
const css = "text/css; charset=utf-8"
const javascript = "text/javascript; charset=utf-8"

const files: ReadonlyArray<readonly [path: `/${string}`, type: string, name: string]> = [
  ["/", html, "index.html"],
  ["/page.css", css, "page.css"],
  ...scripts.map((name) => [`/${name}.js`, javascript, `${name}.js`] as const),
  ["/uplot.css", css, "uPlot.min.css"],
  ["/uplot.js", javascript, "uPlot.esm.js"],
  ["/words.js", javascript, wordsFile]
]

/**
 * The paths of the page's files. They hold nothing secret, and a browser asks for them before it is signed in.
 *
 * @since 0.1.0
 * @category routes
 */
export const paths: ReadonlySet<string> = new Set(files.map(([path]) => path))

/** Nothing but the page's own files, and nowhere but the relay. */
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

/**
 * The routes of the page, for the router of the admin server.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, never, FileSystem.FileSystem | HttpLayerRouter.HttpRouter> = HttpLayerRouter
  .addAll(
    Effect.forEach(files, ([path, contentType, name]) =>
      read(name).pipe(
        // they are part of the package, as the code is
        Effect.orDie,
        Effect.map((content) =>
          HttpLayerRouter.route("GET", path, HttpServerResponse.text(content, { contentType, headers }))
        )
      ))
  )
