/**
 * The command `bench`: its flags, one run, and where the results go.
 */
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { BenchError } from "./BenchError.js"
import * as Cluster from "./Cluster.js"
import * as Cores from "./Cores.js"
import * as Figure from "./Figure.js"
import * as Machine from "./Machine.js"
import * as Markdown from "./Markdown.js"
import type * as Plan from "./Plan.js"
import { leftOut } from "./Plan.js"
import * as Plots from "./Plots.js"
import * as ProcessTree from "./ProcessTree.js"
import * as Progress from "./Progress.js"
import * as Results from "./Results.js"
import * as Run from "./Run.js"
import * as Start from "./Start.js"
import * as Subject from "./Subject.js"

/** Another relay as it is given on the command line. */
export interface CustomRelay {
  readonly name: string
  readonly command: string
}

/** Reads `NAME=COMMAND`, where COMMAND says `{config}` in the place of its file. */
export const parseRelay = (text: string): Either.Either<CustomRelay, BenchError> => {
  const groups = /^(?<name>[\w.-]+)=(?<command>.*\{config\}.*)$/s.exec(text)?.groups
  return groups === undefined
    ? Either.left(new BenchError({ message: `--relay ${text}: must be NAME='COMMAND {config}'` }))
    : Either.right({ name: groups["name"]!, command: groups["command"]! })
}

const GroupsFromText = Schema.compose(
  Schema.split(","),
  Schema.NonEmptyArray(Schema.Literal(...Figure.letters))
).annotations({
  message: () => ({
    message: `--figures must be letters of ${Figure.letters.join(", ")} with commas between them`,
    override: true
  })
})

const number = (flag: string, schema: Schema.Schema<number>, min: number, max: number) =>
  schema.pipe(
    Schema.filter((value) => value >= min && value <= max),
    Schema.annotations({
      message: () => ({ message: `${flag} must be a number from ${min} to ${max}`, override: true })
    })
  )

const quick = Options.boolean("quick").pipe(
  Options.withDescription("A first look within three minutes: one round of short measurements")
)

const rounds = Options.integer("rounds").pipe(
  Options.withPseudoName("N"),
  Options.withDescription("Rounds to take medians of; 9 without it, of h 10, of g alone 3, with --quick 1"),
  Options.withSchema(number("--rounds", Schema.Int, 1, 100)),
  Options.optional
)

const seconds = Options.float("seconds").pipe(
  Options.withPseudoName("N"),
  Options.withDescription(
    "Seconds that each measurement of time lasts; 0.6 without it, with --quick 0.4, and not for the error of rates; many short rounds bring steadier medians than few long ones"
  ),
  Options.withSchema(number("--seconds", Schema.Number, 0.1, 60)),
  Options.optional
)

const subjects = Options.text("subjects").pipe(
  Options.withPseudoName("NAMES"),
  Options.withDescription(
    "What to measure beside --relay: names with commas between them. Without it, everything that is installed"
  ),
  Options.withSchema(Schema.split(",")),
  Options.optional
)

const figures = Options.text("figures").pipe(
  Options.withPseudoName("LETTERS"),
  Options.withDescription(
    `Which figures, with commas between them: ${
      Object.entries(Figure.groups).map(([letter, title]) => `${letter} ${title.toLowerCase()}`).join("; ")
    }. All without it`
  ),
  Options.withSchema(GroupsFromText),
  Options.optional
)

const relay = Options.text("relay").pipe(
  Options.withPseudoName("NAME='COMMAND {config}'"),
  Options.withDescription(
    "Another tx3 relay to measure beside the others; {config} becomes the path of a file as the original writes it. May be repeated"
  ),
  Options.repeated
)

/** Splices beside the idle ones, which a descriptor limit must leave room for. */
const busySplices = 100

const idleSplices = 5000
const controlStreams = 1000

/** The subjects and programs to measure, and the subjects that would be if they were installed. */
const choose = (names: ReadonlyArray<string> | undefined, relays: ReadonlyArray<CustomRelay>) =>
  Effect.gen(function*() {
    const { found, hasNats, missing } = yield* Subject.discover
    const all = [...found, ...relays.map(Subject.custom)]
    const known = [...[...all, ...missing].map(({ name }) => name), ...Start.measured, Cluster.name]
    const twice = known.find((name, index) => known.indexOf(name) !== index)
    if (twice !== undefined) {
      return yield* new BenchError({ message: `--relay ${twice}: there is a subject of this name already` })
    }
    const unknown = names?.find((name) => !known.includes(name))
    if (unknown !== undefined) {
      return yield* new BenchError({ message: `--subjects ${unknown}: there is none; there are ${known.join(", ")}` })
    }
    const wanted = names === undefined ? known : [...names, ...relays.map(({ name }) => name)]
    const isWanted = ({ name }: { readonly name: string }) => wanted.includes(name)
    return {
      subjects: all.filter(isWanted),
      missing: missing.filter(isWanted),
      hasNats,
      hasCluster: wanted.includes(Cluster.name),
      programs: Start.measured.filter((name) => wanted.includes(name))
    }
  })

const root = fileURLToPath(new URL("../../", import.meta.url))

/** Runs the programs in a folder that stays where a log in it is worth reading. */
const measure = (settings: Plan.Settings, chosen: ReadonlyArray<Subject.Subject>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-bench-"))),
    (folder) => Effect.scoped(Run.run(settings, chosen, folder, Progress.make)),
    (folder, exit) =>
      Effect.sync(() => {
        if (exit._tag === "Failure" || exit.value.failures.length === 0) {
          rmSync(folder, { recursive: true, force: true })
        }
      })
  )

const write = (results: Results.Results, folder: string) =>
  Effect.gen(function*() {
    const plots = Plots.draw(results)
    const json = yield* Effect.orDie(Schema.encode(Results.Json)(results))
    yield* Effect.sync(() => {
      mkdirSync(folder, { recursive: true })
      // Folders in it are of other runs.
      readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile())
        .forEach(({ name }) => rmSync(join(folder, name)))
      writeFileSync(join(folder, "results.json"), `${json}\n`)
      writeFileSync(join(folder, "README.md"), Markdown.page(results, plots))
      for (const { file, svg } of plots) {
        writeFileSync(join(folder, file), svg)
      }
    })
  })

const bench = Command.make(
  "bench",
  { quick, rounds, seconds, subjects, figures, relay },
  ({ figures, quick, relay, rounds, seconds, subjects }) =>
    Effect.gen(function*() {
      if (process.platform !== "linux") {
        return yield* new BenchError({ message: "runs on Linux only: it reads CPU, memory and descriptors from /proc" })
      }
      const startedAt = new Date()
      const chosen = yield* choose(Option.getOrUndefined(subjects), yield* Effect.forEach(relay, parseRelay))
      const chosenFigures = Option.getOrElse(figures, () => Figure.letters)
      const isCluster = chosenFigures.every((group) => group === "g")
      const startRounds = Option.getOrElse(rounds, () => quick ? 1 : 10)
      const chosenRounds = Option.getOrElse(
        rounds,
        () => chosenFigures.every((group) => group === "h") ? startRounds : quick ? 1 : isCluster ? 3 : 9
      )
      const held = Math.min(idleSplices, Subject.mostSplices() - busySplices)
      const settings: Plan.Settings = {
        quick,
        rounds: chosenRounds,
        memoryRounds: Math.min(3, chosenRounds),
        besideRounds: Math.min(4, chosenRounds),
        rateRounds: Math.min(3, chosenRounds),
        besideRepeats: quick ? 1 : 3,
        seconds: Option.getOrElse(seconds, () => quick ? 0.4 : 0.6),
        rateSeconds: quick ? 3 : 10,
        rateTurns: quick ? 1 : 5,
        attackRounds: Math.min(3, chosenRounds),
        clusterRounds: Math.min(3, chosenRounds),
        warmUpSeconds: quick ? 0.6 : 1,
        attackSeconds: quick ? 1 : 4,
        attacks: quick ? ["silent", "unknown", "hello", "peers"] : Object.keys(Figure.attacks) as Array<Figure.Attack>,
        startRounds: chosenFigures.includes("h") ? startRounds : 0,
        // V8 gives memory back when it has seen little work for a while.
        restSeconds: quick ? 1 : 40,
        programs: chosen.programs,
        cluster: chosen.hasCluster && chosen.hasNats
          ? {
            seconds: Option.getOrElse(seconds, () => quick ? 0.4 : 1),
            returningNodes: Figure.returningNodes,
            subscriptions: Figure.subscriptions
          }
          : undefined,
        figures: chosenFigures,
        splices: [1, 4, 64],
        roundTripSplices: [1, 64],
        inFlight: [1, 32, 256],
        idle: quick ? [0, held] : Array.from(new Set([0, Math.min(1000, held), held])),
        memorySplices: held,
        controlStreams: Math.min(controlStreams, held)
      }
      const remarks = [
        ...chosen.missing.map(({ name, reason }) => `\`${name}\`: ${reason}`),
        ...chosen.subjects.flatMap((subject) =>
          leftOut(subject, settings).map((what) => `\`${subject.name}\`: ${what}`)
        ),
        ...held < idleSplices
          ? [`more than ${held} idle splices: the descriptor limit is ${ProcessTree.descriptorLimit()} (ulimit -Hn)`]
          : [],
        ...settings.figures.includes("g") && chosen.hasCluster && !chosen.hasNats
          ? [`(g): ${Subject.natsServer} is not installed (apt-get install nats-server)`]
          : [],
        ...settings.figures.includes("j") && Cores.divide() === undefined
          ? [
            "(j) with the relay and the attacker each on a core of its own: that takes two cores and taskset (util-linux)"
          ]
          : []
      ]
      yield* Effect.forEach(remarks, (remark) => Console.error(`not measured: ${remark}`))

      const disturbance = Machine.watchOthers()
      const { failures, figures: measured } = yield* measure(settings, chosen.subjects)
      const results: Results.Results = {
        ...settings,
        date: startedAt.toISOString(),
        command: ["npm run bench", ...process.argv.length > 2 ? ["--", ...process.argv.slice(2).map(quoted)] : []].join(
          " "
        ),
        tookSeconds: Math.round((Date.now() - startedAt.getTime()) / 1000),
        machine: Machine.describe(),
        disturbance: disturbance(),
        subjects: [
          ...chosen.subjects.map(({ description, name }) => ({ name, description, isInstalled: true })),
          ...chosen.missing.map(({ name, reason }) => ({ name, description: reason, isInstalled: false }))
        ],
        remarks,
        failures,
        figures: measured
      }
      const isWhole = !quick && Option.isNone(subjects) && Option.isNone(figures)
      const folder = fileURLToPath(
        new URL(
          isWhole ? "../results/" : isCluster && !quick ? "../results/cluster/" : "../results/quick/",
          import.meta.url
        )
      )
      yield* write(results, folder)
      if (isWhole) {
        yield* Effect.sync(() => insertIntoDocs(results))
      }
      yield* Console.log([
        Markdown.goals(results),
        Markdown.figures(results),
        Markdown.legend,
        Markdown.disturbance(results),
        ...failures.map(({ problem, subject, what }) => `${subject}, ${what} failed: ${problem}`),
        `Written to ${folder}`
      ].join("\n\n"))
      if (failures.length > 0) {
        return yield* new BenchError({ message: `${failures.length} measurements failed` })
      }
    })
).pipe(
  Command.withDescription(HelpDoc.blocks([
    HelpDoc.p(
      "Measures our relay beside other programs that join two TCP connections, and says how the project's goals fare."
    ),
    HelpDoc.p("A run of everything takes about half an hour and wants the machine for itself.")
  ]))
)

const quoted = (argument: string) => /^[\w.,=/-]+$/.test(argument) ? argument : `'${argument}'`

const insertIntoDocs = (results: Results.Results) => {
  const path = join(root, "docs/performance.md")
  if (existsSync(path)) {
    const text = readFileSync(path, "utf8")
    const changed = Markdown.insertGoals(text, results)
    if (changed !== text) {
      writeFileSync(path, changed)
    }
  }
}

/** Runs `bench` with these arguments, the first two being node and the script. */
export const cli = Command.run(bench, { name: "bench", version: "0.1.0" })
