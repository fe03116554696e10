/**
 * The program `npm run soak`: soaks a relay, and says whether it is the same in the end. Its files are in bench/results/soak, and a
 * run that finds some goes on where they end.
 */
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { BenchError } from "../BenchError.js"
import * as Machine from "../Machine.js"
import * as Judgement from "./Judgement.js"
import * as plots from "./plots.js"
import type { Sample } from "./Sample.js"
import * as Soak from "./Soak.js"

const whole = (name: string, text: string, fallback: number) =>
  Options.integer(name).pipe(Options.withDefault(fallback), Options.withDescription(text))

const options = {
  transport: Options.choice("transport", ["kernel", "portable"]).pipe(
    Options.withDefault("kernel"),
    Options.withDescription("Who carries the bytes")
  ),
  splices: whole("splices", "How many splices, with those of earlier runs", 2_000_000),
  hours: Options.float("hours").pipe(
    Options.withDefault(24),
    Options.withDescription("How long at most this run takes")
  ),
  everySeconds: whole("every", "Seconds between two samples", 60),
  nodes: whole("nodes", "Nodes, each from an address of its own", 48),
  peers: whole("peers", "Peers at a time", 32),
  results: Options.directory("results").pipe(
    Options.withDefault(fileURLToPath(new URL("../../results/soak", import.meta.url))),
    Options.withDescription("The folder of the samples, the table and the plots")
  )
}

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-soak-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

const page = (transport: string, samples: ReadonlyArray<Sample>, others: number) => {
  const of = Judgement.longest(samples)
  const total = samples.reduce((sum, { splices }) => sum + splices, 0)
  const sum = (part: (sample: Sample) => number) => samples.reduce((sum, sample) => sum + part(sample), 0)
  const { cores, cpu, node, system } = Machine.describe()
  return `# A soak of the ${transport} transport

${total.toLocaleString("en")} splices through ${
    new Set(samples.map(({ relay }) => relay)).size
  } relay(s), the longest for ${
    Math.round((of.at(-1)?.seconds ?? 0) / 60)
  } min, on ${cpu}, ${cores} cores, ${system}, Node ${node}; other programs took ${others.toFixed(2)} cores. ${
    sum(({ unserved }) => unserved).toLocaleString("en")
  } peers found no node or lost it. Reloads: ${of.at(-1)?.reloads ?? 0}; threads of the transport killed: ${
    of.at(-1)?.threadsKilled ?? 0
  }. No peer and no node saw other bytes, a clean end too early, or none.

${Judgement.table(samples)}

![${transport}](${transport}.svg)
`
}

const soak = Command.make("soak", options, ({ results, ...options }) =>
  Effect.gen(function*() {
    mkdirSync(results, { recursive: true })
    const folder = yield* temporaryFolder
    const others = Machine.watchOthers()
    const file = join(results, `${options.transport}.jsonl`)
    const samples = yield* Soak.run({ ...options, file }, folder, Console.log)
    writeFileSync(join(results, `${options.transport}.svg`), plots.draw(samples))
    writeFileSync(join(results, `${options.transport}.md`), page(options.transport, samples, others().others))
    yield* Console.log(Judgement.table(samples))
    const drifting = Judgement.verdicts(samples).filter(({ isDrift }) => isDrift)
    if (drifting.length > 0) {
      return yield* new BenchError({ message: `drifts: ${drifting.map(({ quantity: { name } }) => name).join(", ")}` })
    }
  }).pipe(Effect.scoped)).pipe(
    Command.withDescription("Runs a relay under everything that peers do, and says whether it is the same in the end.")
  )

Command.run(soak, { name: "soak", version: "0.1.0" })(process.argv).pipe(
  Effect.tapError((error) =>
    ValidationError.isValidationError(error) ? Effect.void : Console.error(`soak: ${error.message}`)
  ),
  Effect.provide([NodeContext.layer, CliConfig.layer({ showBuiltIns: false })]),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
