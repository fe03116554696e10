/**
 * One soak: a relay as its operator runs it, with its limits, under everything that peers and nodes do, for as many splices as
 * asked. Again and again it reloads the relay, now and then it kills a thread of the transport, and it writes down what the relay
 * takes. It owns the relay and the load, which end with the scope.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { appendFileSync, existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { BenchError } from "../BenchError.js"
import * as processes from "../internal/processes.js"
import * as ProcessTree from "../ProcessTree.js"
import * as Subject from "../Subject.js"
import type { LoadRequest, RelayRequest, Taken, Target } from "./messages.js"
import { Line, type Sample } from "./Sample.js"

export interface Options {
  readonly transport: "kernel" | "portable"
  /** Splices to reach, with those that the file has already; and hours at most, of this run. */
  readonly splices: number
  readonly hours: number
  readonly everySeconds: number
  readonly nodes: number
  readonly peers: number
  /** The samples, which a later run continues. */
  readonly file: string
}

/** Samples between two deaths of a thread. */
const samplesPerDeath = 10

/** Peers that are slow, or stuck, are waited for. */
const stopMs = 120_000
const emptyMs = 30_000

/** The limits that the load is below of, and above at times. */
const limits = { drainTimeoutMs: 1_000, idleTimeoutMs: 20_000, lingerTimeoutMs: 20_000 }
const rates = { bandwidthPerSplice: 20_000_000, bandwidthPerNode: 50_000_000, bandwidthTotal: 500_000_000 }

const ask = <A>(program: processes.Process, message: LoadRequest | RelayRequest, timeoutMs = processes.patienceMs) =>
  Effect.async<A, BenchError>((resume) => {
    const { child } = program
    const onMessage = (reply: A) => {
      child.off("exit", onExit)
      resume(Effect.succeed(reply))
    }
    const onExit = () => {
      child.off("message", onMessage)
      resume(Effect.suspend(() => new BenchError({ message: processes.ending(program)! })))
    }
    child.once("message", onMessage).once("exit", onExit)
    child.send(message)
  }).pipe(Effect.timeoutFail({
    duration: timeoutMs,
    onTimeout: () => new BenchError({ message: `${program.name} does not answer ${JSON.stringify(message)}` })
  }))

/** What the load answers. */
const told = <A>(program: processes.Process, message: LoadRequest, timeoutMs?: number) =>
  Effect.flatMap(
    ask<{ readonly ok: boolean; readonly value: A; readonly problem: string }>(program, message, timeoutMs),
    ({ ok, problem, value }) => ok ? Effect.succeed(value) : new BenchError({ message: `the load: ${problem}` })
  )

const get = (socketPath: string, path: string) =>
  Effect.async<string, BenchError>((resume) => {
    const asked = request({ socketPath, path, timeout: processes.patienceMs }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (chunk: string) => text += chunk)
      response.on("end", () => resume(Effect.succeed(text)))
    })
    asked.on("error", ({ message }) => resume(new BenchError({ message: `the relay's admin server: ${message}` })))
    asked.end()
  })

const Status = Schema.parseJson(Schema.Struct({
  connections: Schema.Record({ key: Schema.String, value: Schema.Number })
}))

const connections = (admin: string) =>
  Effect.flatMap(get(admin, "/status"), (text) =>
    Effect.mapBoth(Schema.decode(Status)(text), {
      onFailure: ({ message }) => new BenchError({ message: `the relay's status: ${message}` }),
      onSuccess: ({ connections }) => Object.values(connections).reduce((sum, count) => sum + count, 0)
    }))

const pipes = (pid: number) => {
  const folder = `/proc/${pid}/fd`
  return readdirSync(folder).filter((number) => {
    try {
      return readlinkSync(join(folder, number)).startsWith("pipe:")
    } catch {
      return false
    }
  }).length
}

/** The samples of a file, none if there is none. */
export const read = (file: string): Effect.Effect<ReadonlyArray<Sample>, BenchError> =>
  Effect.suspend(() =>
    Effect.forEach(
      existsSync(file) ? readFileSync(file, "utf8").split("\n").filter((line) => line !== "") : [],
      (line, index) =>
        Effect.mapError(
          Schema.decode(Line)(line),
          ({ message }) => new BenchError({ message: `${file}, line ${index + 1}: ${message}` })
        )
    )
  )

/**
 * Runs until it has the splices or the time is over, and gives all samples of the file. Fails if a peer or a node saw what must
 * not be, if the relay ended, or if it is not empty in the end.
 */
export const run = (
  options: Options,
  folder: string,
  say: (line: string) => Effect.Effect<void>
): Effect.Effect<ReadonlyArray<Sample>, BenchError, Scope.Scope> =>
  Effect.gen(function*() {
    const { everySeconds, file, hours, splices, transport } = options
    const samples = Array.from(yield* read(file))
    const startedBefore = samples.reduce((sum, { splices }) => sum + splices, 0)
    const number = 1 + samples.reduce((most, { relay }) => Math.max(most, relay), 0)
    const admin = join(folder, "admin")
    const relay = yield* processes.startModule(fileURLToPath(new URL("../../dist/soak/relay.js", import.meta.url)), {
      name: `soaked-${transport}`,
      folder,
      env: Subject.environment({
        TX3_RELAY_TRANSPORT: transport,
        TX3_SOAK_CONFIG: yield* Subject.writeConfig(folder, limits, { admin: `unix:${admin}`, ...rates })
      })
    })
    const { digest, host, port } = yield* Subject.listening(relay)
    const before = { descriptors: ProcessTree.descriptors(relay.pid) }
    const load = yield* processes.startModule(fileURLToPath(new URL("../../dist/soak/load.js", import.meta.url)), {
      name: "soaking",
      folder
    })
    const target: Target = { host, port, relay: digest, nodes: options.nodes, peers: options.peers }
    yield* told(load, { type: "start", ...target })
    const startedAt = performance.now()
    const elapsed = () => (performance.now() - startedAt) / 1000
    let cpu = ProcessTree.cpuSeconds(relay.pid)
    let reached = startedBefore
    let reloads = 0
    let threadsKilled = 0

    const notWrong = ({ wrong }: Taken) =>
      wrong.length === 0
        ? Effect.void
        : new BenchError({ message: `peers saw what must not be:\n${wrong.join("\n")}` })

    for (let count = 1; reached < splices && elapsed() < hours * 3600; count++) {
      yield* Effect.sleep(everySeconds * 1000)
      const taken = yield* told<Taken>(load, { type: "take" })
      yield* notWrong(taken)
      reached += taken.splices
      const spent = ProcessTree.cpuSeconds(relay.pid)
      const sample: Sample = {
        transport,
        relay: number,
        seconds: Math.round(elapsed()),
        splices: taken.splices,
        splicesTotal: reached,
        residentBytes: ProcessTree.residentBytes(relay.pid),
        heapBytes: yield* ask<number>(relay, "heap"),
        descriptors: ProcessTree.descriptors(relay.pid),
        pipes: pipes(relay.pid),
        connections: yield* connections(admin),
        cpuMsPerSplice: (spent - cpu) * 1000 / Math.max(1, taken.splices),
        setUpP50: taken.p50,
        setUpP99: taken.p99,
        done: taken.done,
        unserved: taken.unserved,
        reloads,
        threadsKilled
      }
      cpu = ProcessTree.cpuSeconds(relay.pid)
      samples.push(sample)
      appendFileSync(file, `${JSON.stringify(sample)}\n`)
      relay.child.kill("SIGHUP")
      reloads++
      if (transport === "kernel" && count % samplesPerDeath === 0) {
        threadsKilled += yield* ask<number>(relay, "kill a thread")
      }
      const perSecond = (reached - startedBefore) / elapsed()
      const left = Math.max(0, Math.min(hours * 3600 - elapsed(), (splices - reached) / Math.max(1, perSecond)))
      yield* say(
        `${reached} of ${splices} splices, ${Math.round(perSecond)} a second, ${Math.ceil(left / 60)} min left; ` +
          `${(sample.residentBytes / 2 ** 20).toFixed(0)} MB, heap ${(sample.heapBytes / 2 ** 20).toFixed(1)} MB, ` +
          `${sample.descriptors} descriptors, p99 ${sample.setUpP99.toFixed(0)} ms, ${
            sample.cpuMsPerSplice.toFixed(3)
          } ms of CPU, ${sample.unserved} unserved`
      )
    }
    yield* notWrong(yield* told<Taken>(load, { type: "stop" }, stopMs))
    // A descriptor or two come and go with the admin server.
    yield* processes.until(
      relay,
      "being empty after the load has ended",
      emptyMs,
      Effect.map(
        connections(admin),
        (count) =>
          count === 0 && ProcessTree.descriptors(relay.pid) <= before.descriptors + idleDescriptors ? true : undefined
      ).pipe(Effect.orElseSucceed(() => undefined))
    )
    return samples
  })

/** What an idle relay may keep of its busy times: pipes, and the admin server's connection. */
const idleDescriptors = 40
