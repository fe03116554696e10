/**
 * The operator's page: hand-written files of this package, those that all pages share, and uPlot's own, as routes of the admin
 * server. The page asks for nothing else but the endpoints of `AdminApi` and `/events`.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as LocalPage from "@tx3/local-http/LocalPage"
import type * as Layer from "effect/Layer"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import * as Words from "./internal/words.js"

/** The path of one of this package's own files, the same from src and from dist. */
const page = (name: string) => fileURLToPath(new URL(`../page/${name}`, import.meta.url))

const uplot = (name: string) => createRequire(import.meta.url).resolve(`uplot/dist/${name}`)

const scripts = ["page", "actions", "charts", "history", "lists", "panels", "stream"]

const files: ReadonlyArray<LocalPage.PageFile> = [
  LocalPage.file("/", "index.html", page),
  ...scripts.map((name) => LocalPage.file(`/${name}.js`, `${name}.js`, page)),
  ...LocalPage.shared,
  LocalPage.file("/uplot.css", "uPlot.min.css", uplot),
  LocalPage.file("/uplot.js", "uPlot.esm.js", uplot),
  // What is said in it is also said in the journal.
  LocalPage.made("/words.js", Words.script)
]

/**
 * The paths of the page's files. They hold nothing secret, and a browser asks for them before it is signed in.
 *
 * @since 0.1.0
 * @category routes
 */
export const paths: ReadonlySet<string> = LocalPage.pathsOf(files)

/**
 * The routes of the page, for the router of the admin server.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, never, FileSystem.FileSystem | HttpLayerRouter.HttpRouter> = LocalPage.layer(
  files
)
