/**
 * How (h) is measured: an empty program and ours, each as a whole process from its start on, as npm installs them.
 * Everything that a measurement starts ends with it, and talks to 127.0.0.1 alone.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { BenchError } from "./BenchError.js"
import * as Figure from "./Figure.js"
import * as processes from "./internal/processes.js"
import type * as Measure from "./Measure.js"
import * as ProcessTree from "./ProcessTree.js"
import * as Subject from "./Subject.js"

/** What is measured, beside the empty program that it is compared with. */
export type Measured = Exclude<Figure.Program, "node">

export const measured: ReadonlyArray<Measured> = ["tx3", "tx3-relay"]

const ourNode = fileURLToPath(new URL("../../packages/tx3/bin/tx3.cjs", import.meta.url))

/** The built one, also where the tests run the sources. */
const peakModule = fileURLToPath(new URL("../dist/load/peak.cjs", import.meta.url))

const bytesPerMb = 1e6

/** Runs Node with these arguments, without the settings and the names that this machine has for our programs. */
const start = (
  name: string,
  folder: string,
  args: ReadonlyArray<string>,
  options: { readonly env?: Record<string, string>; readonly stdin?: string; readonly isRead?: boolean } = {}
) =>
  processes.start(process.execPath, args, {
    ...options,
    name,
    folder,
    env: Subject.environment({
      TX3_KNOWN: join(folder, "known"),
      // The code that V8 compiled is kept from round to round, as it is for a user from start to start.
      XDG_CACHE_HOME: join(folder, "cache"),
      ...options.env
    })
  })

const toItsEnd = (name: string, folder: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.scoped(
    Effect.flatMap(start(name, folder, args, { env }), (program) => processes.ended(program, processes.patienceMs))
  )

/** The most resident bytes of a Node program that ends by itself. It has a small module before it, which tells them. */
export const peakBytes = (name: string, folder: string, args: ReadonlyArray<string>) => {
  const file = join(folder, `${name}.memory`)
  return Effect.map(
    toItsEnd(name, folder, ["--require", peakModule, ...args], { BENCH_MEMORY_FILE: file }),
    () => ProcessTree.peakBytesIn(readFileSync(file, "utf8"))
  )
}

const wholeRun = (what: Figure.WholeRun, folder: string, args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    // This comes first, so that the files are in the system's cache when the time is taken.
    const peak = yield* peakBytes(what, folder, args)
    const ms = yield* toItsEnd(what, folder, args)
    return [
      [Figure.peakMemory(what), peak / bytesPerMb],
      [Figure.startTime(what), ms]
    ] satisfies Measure.Values
  })

/** What every other start is compared with. */
export const empty = (folder: string) => wholeRun("node", folder, ["-e", "0"])

/** What `tx3` does at once. */
export const answers = (folder: string) =>
  Effect.map(
    Effect.all([
      wholeRun("version", folder, [ourNode, "--version"]),
      wholeRun("help", folder, [ourNode, "connect", "--help"])
    ]),
    (values) => values.flat()
  )

/** Starts our relay with the file that it makes itself; only its ports are free ones of 127.0.0.1. */
const startRelay = (folder: string) =>
  Effect.gen(function*() {
    const own = mkdtempSync(join(folder, "relay-"))
    const file = join(own, "tx3-relay.yml")
    yield* toItsEnd("tx3-relay-init", folder, [Subject.ourRelay, "--init", "--config", file])
    const program = yield* start(
      "tx3-relay",
      folder,
      [Subject.ourRelay, "--config", file, "--bind", "tx3-rst://127.0.0.1:0"],
      { isRead: true, env: { TX3_RELAY_ADMIN: `unix:${join(own, "tx3-relay.sock")},http://127.0.0.1:0` } }
    )
    const { match, ms } = yield* processes.matching(
      program,
      "printing its address list",
      processes.patienceMs,
      /^(tx3-rst:\S+)\n(?:.*\n)*# tx3-relay address list end #\n/m
    )
    return { program, address: match[1]!, ms }
  })

/** Resident bytes of a program that has been left alone for a while. */
const restingMb = (program: processes.Process) => Effect.sync(() => ProcessTree.residentBytes(program.pid) / bytesPerMb)

/** Our relay until its address list, and at rest with its admin server on both of its addresses. */
export const relay = (folder: string, restSeconds: number): Effect.Effect<Measure.Values, BenchError> =>
  Effect.gen(function*() {
    const { ms, program } = yield* startRelay(folder)
    yield* processes.until(
      program,
      "starting its admin server",
      processes.patienceMs,
      Effect.sync(() => readFileSync(program.log, "utf8").split("admin server listening").length > 2 ? true : undefined)
    )
    yield* Effect.sleep(restSeconds * 1000)
    return [
      [Figure.startTime("relay"), ms],
      [Figure.restMemory("relay"), yield* restingMb(program)]
    ] satisfies Measure.Values
  }).pipe(Effect.scoped)

/** A service without a listener: the measurement opens no connection to it. */
const noService = "127.0.0.1:1"

/** `tx3 expose` and `tx3 forward` at rest, and then `tx3 connect` until the first byte, all through one relay. */
export const reach = (folder: string, restSeconds: number): Effect.Effect<Measure.Values, BenchError> =>
  Effect.gen(function*() {
    const { address } = yield* startRelay(folder)
    const rest = yield* Effect.scoped(atRest(folder, address, restSeconds))
    const byte = join(folder, "byte")
    writeFileSync(byte, "x")
    const listener = yield* start("tx3-listen", folder, [ourNode, "listen", address], { stdin: byte })
    const target = yield* processes.until(
      listener,
      "registering",
      processes.patienceMs,
      Effect.sync(() => /^tx3: listening at (tx3-rst:\S+)\n/m.exec(readFileSync(listener.log, "utf8"))?.[1])
    )
    const peer = yield* start("tx3-connect", folder, [ourNode, "connect", target], { isRead: true })
    const { ms } = yield* processes.matching(peer, "getting a byte", processes.patienceMs, /[^]/)
    return [...rest, [Figure.startTime("connect"), ms]] satisfies Measure.Values
  }).pipe(Effect.scoped)

const atRest = (
  folder: string,
  relayAddress: string,
  restSeconds: number
): Effect.Effect<Measure.Values, BenchError, Scope.Scope> =>
  Effect.gen(function*() {
    const expose = yield* start(
      "tx3-expose",
      folder,
      [ourNode, "expose", noService, "--via", relayAddress, "--allow", relayAddress.split("/").at(-1)!],
      { isRead: true }
    )
    const exposed = yield* processes.matching(expose, "printing its address", processes.patienceMs, /^(tx3-rst:\S+)\n/m)
    const forward = yield* start(
      "tx3-forward",
      folder,
      [ourNode, "forward", "--listen", "127.0.0.1:0", exposed.match[1]!],
      { isRead: true }
    )
    yield* processes.matching(forward, "printing its address", processes.patienceMs, /^127\.0\.0\.1:\d+\n/m)
    yield* Effect.sleep(restSeconds * 1000)
    return [
      [Figure.restMemory("expose"), yield* restingMb(expose)],
      [Figure.restMemory("forward"), yield* restingMb(forward)]
    ] satisfies Measure.Values
  })
