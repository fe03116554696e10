/**
 * Vitest's global setup for the examples: makes of them a few files, which start in a third of the time, because Node's loader
 * need not find and open a thousand modules. The files are in the run's temporary folder and are removed with it.
 */
import { build } from "esbuild"
import { readdirSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { bundledExamples } from "./Programs.js"

const root = fileURLToPath(new URL("../../../", import.meta.url))

/** All modules of the examples. Some of them are programs. */
const examples = () =>
  readdirSync(join(root, "examples/dist"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".js"))
    .map((path) => `examples/dist/${path}`)

export default async function setup() {
  const folder = join(tmpdir(), "examples")
  await build({
    entryPoints: examples().map((path) => ({ in: join(root, path), out: path.replace(/\.js$/, "") })),
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
      setup: ({ onLoad }) => {
        onLoad({ filter: /\.m?js$/ }, async ({ path }) => {
          const text = await readFile(path, "utf8")
          return text.includes("import.meta.url")
            ? { contents: text.replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href)) }
            : undefined
        })
      }
    }]
  })
  process.env[bundledExamples] = folder
}
