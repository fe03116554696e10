// `npm run simulate -- [--seeds 500] [--from 1] [--faults [--first N]]`: runs the relay on its simulated kernel under so many seeds
// (packages/relay/test/utils/simulation). The first that fails is shrunk, and printed with its trace. With --faults it puts faults
// into the sources, one after the other, and says how many seeds find each.
import { build } from "esbuild"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import { performance } from "node:perf_hooks"
import { fileURLToPath, pathToFileURL, URL } from "node:url"
import { parseArgs } from "node:util"

const root = fileURLToPath(new URL("../", import.meta.url))
const packages = join(root, "packages")

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "500" },
    from: { type: "string", default: "1" },
    faults: { type: "boolean", default: false },
    first: { type: "string", default: "100" }
  }
})
if (!/^[1-9]\d*$/.test(values.seeds) || !/^\d+$/.test(values.from) || !/^\d+$/.test(values.first)) {
  console.error("usage: npm run simulate -- [--seeds N] [--from SEED] [--faults [--first N]]")
  process.exit(2)
}
const [seeds, from] = [Number(values.seeds), Number(values.from)]

/** Puts a fault into a module: the text that it replaces must be there once. */
const withFault = ({ file, right, wrong }) => ({
  name: "fault",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      if (relative(packages, path) !== file) {
        return undefined
      }
      const parts = readFileSync(path, "utf8").split(right)
      if (parts.length !== 2) {
        throw new Error(
          `${file} has the text ${JSON.stringify(right)} ${parts.length - 1} times: mend scripts/simulate.mjs`
        )
      }
      return { contents: parts.join(wrong), loader: "ts" }
    })
})

/** Lines of a trace that are printed: the end tells what went wrong. */
const traceMax = 200

const folder = mkdtempSync(join(tmpdir(), "tx3-simulate-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))
let bundles = 0

const load = async (plugins = []) => {
  const outfile = join(folder, `${++bundles}.mjs`)
  await build({
    absWorkingDir: root,
    entryPoints: [join(packages, "relay/test/utils/simulation/main.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: ["koffi"],
    logLevel: "error",
    alias: Object.fromEntries(
      ["cluster", "files", "protocol", "relay", "sockets", "transport"].map((name) => [
        `@tx3/${name}`,
        join(packages, name, "src")
      ])
    ),
    banner: {
      js: "import { createRequire as makeRequire } from \"node:module\"; const require = makeRequire(import.meta.url);"
    },
    plugins
  })
  return import(pathToFileURL(outfile).href)
}

/** What the simulation has to find: each a text of a source, and the one that a fault puts in its place. */
const faults = JSON.parse(readFileSync(join(packages, "relay/test/utils/simulation/faults.json"), "utf8"))

if (values.faults) {
  for (const fault of faults.slice(0, Number(values.first))) {
    const { simulate } = await load([withFault(fault)])
    const { failed, seeds: needed } = await simulate(from, seeds)
    if (failed === undefined) {
      console.log(`not found in ${needed} seeds: ${fault.name}`)
      process.exitCode = 1
    } else {
      console.log(`found in ${needed} seeds: ${fault.name}\n    ${failed.failure.split("\n", 1)[0]}`)
    }
  }
} else {
  const { shrink, simulate } = await load()
  const begin = performance.now()
  let last = begin
  const { failed, outcomes, seeds: done, steps } = await simulate(from, seeds, (seed) => {
    if (performance.now() - last > 5_000) {
      last = performance.now()
      console.log(`seed ${seed}`)
    }
  })
  const seconds = (performance.now() - begin) / 1000
  console.log(
    `${done} seeds in ${seconds.toFixed(1)} s, ${(done / seconds).toFixed(1)} a second; ` +
      `${Math.round(steps / done)} steps each; splices: ` +
      Object.entries(outcomes).map(([name, count]) => `${count} ${name}`).join(", ")
  )
  if (failed !== undefined) {
    const smallest = await shrink(failed)
    console.log(smallest.trace.slice(-traceMax).join("\n"))
    console.log(`\nseed ${failed.plan.seed}: ${failed.failure}`)
    console.log(`shrunk: ${smallest.failure}\n${JSON.stringify(smallest.plan)}`)
    process.exitCode = 1
  }
}
