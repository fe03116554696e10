/**
 * Vitest's global setup for projects whose tests start our programs: makes of our built programs a few files, which start in
 * a third of the time, because Node's loader need not find and open a thousand modules. The files are in the run's
 * temporary folder and are removed with it.
 */
import { build } from "esbuild"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { bundles } from "./Programs.js"

const packages = fileURLToPath(new URL("../../", import.meta.url))
const root = join(packages, "..")

/** The programs that our packages install. */
const programs = () =>
  readdirSync(packages)
    .map((name) => join(packages, name, "package.json"))
    .filter((file) => existsSync(file))
    .flatMap((file) => {
      const { bin = {} } = JSON.parse(readFileSync(file, "utf8")) as { readonly bin?: Record<string, string> }
      return Object.values(bin).map((path) => join(file, "..", path))
    })

/** All modules of the examples. Some of them are programs. */
const examples = () =>
  readdirSync(join(root, "examples/dist"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".js"))
    .map((path) => `examples/dist/${path}`)

export default async function setup() {
  // Vitest calls this for each project.
  if (process.env[bundles] !== undefined) {
    return
  }
  const folder = join(tmpdir(), "programs")
  await build({
    entryPoints: [
      ...programs().map((path) => ({ in: path, out: basename(path, ".js") })),
      ...examples().map((path) => ({ in: join(root, path), out: path.replace(/\.js$/, "") }))
    ],
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "error",
    // Modules of CommonJS require Node's own.
    banner: {
      js: "import { createRequire as makeRequire } from \"node:module\"; const require = makeRequire(import.meta.url);"
    },
    plugins: [{
      name: "what stays where it is",
      setup: ({ onLoad, onResolve }) => {
        // Packages of CommonJS that a module imports only when it needs them. esbuild gives import() their default only.
        onResolve({ filter: /^(koffi|@peculiar\/x509)$/ }, ({ importer, path }) => ({
          path: createRequire(importer).resolve(path),
          external: true
        }))
        onLoad({ filter: /\.m?js$/ }, async ({ path }) => {
          const text = await readFile(path, "utf8")
          return text.includes("import.meta.url")
            ? { contents: text.replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href)) }
            : undefined
        })
      }
    }]
  })
  process.env[bundles] = folder
}
