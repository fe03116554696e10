import { assert, describe, it } from "@effect/vitest"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Plan } from "../src/index.js"
import { Figure, Goals, ProcessTree, Progress, Run, Start, Subject } from "../src/index.js"
import { results } from "./utils/results.js"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-bench-test-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const settings: Plan.Settings = {
  quick: true,
  rounds: 1,
  memoryRounds: 1,
  besideRounds: 1,
  rateRounds: 1,
  besideRepeats: 1,
  seconds: 0.1,
  rateSeconds: 0.5,
  rateTurns: 1,
  attackRounds: 1,
  clusterRounds: 1,
  warmUpSeconds: 0.1,
  attackSeconds: 0.3,
  attacks: ["unknown", "hello"],
  startRounds: 1,
  restSeconds: 0.1,
  programs: Start.measured,
  cluster: { seconds: 0.1, returningNodes: 10, subscriptions: 100 },
  figures: ["a", "b", "c", "d", "e", "f", "i", "j"],
  splices: [1],
  roundTripSplices: [1],
  inFlight: [1],
  idle: [0, 20],
  memorySplices: 20,
  controlStreams: 10
}

const measure = (changed: Partial<Plan.Settings>, ...subjects: ReadonlyArray<Subject.Subject>) =>
  Effect.flatMap(
    folder,
    (path) => Effect.scoped(Run.run({ ...settings, ...changed }, subjects, path, () => Progress.silent))
  )

const subject = (wanted: string) =>
  Effect.map(Subject.discover, ({ found }) => found.find(({ name }) => name === wanted)!)

const floor = subject("floor")

describe("a run", { timeout: 300_000 }, () => {
  it.scopedLive("measures every figure of a relay, and leaves no program behind", () =>
    Effect.gen(function*() {
      const { failures, figures } = yield* measure({}, yield* floor)
      assert.deepStrictEqual(failures, [])
      const value = ({ id }: Figure.Figure) => figures.find((figure) => figure.id === id)?.subjects["floor"]?.median
      const positive = [
        Figure.cpuPerGb(1),
        Figure.throughput(1),
        Figure.roundTrip(1),
        Figure.roundTripP99(1),
        Figure.setUpCpu(1),
        Figure.setUpRate(1),
        Figure.setUpTime(1),
        Figure.setUpTimeP99(1),
        Figure.cpuPerGb(4, 20),
        Figure.roundTrip(1, 20)
      ]
      for (const figure of positive) {
        assert.isAbove(value(figure) ?? 0, 0, figure.id)
      }
      assert.strictEqual(value(Figure.spliceDescriptors), 2)
      assert.strictEqual(value(Figure.controlDescriptors), 1)
      assert.deepStrictEqual(ProcessTree.pids(process.pid), [process.pid])
    }))

  it.scopedLive("measures programs from their start, and leaves none behind", () =>
    Effect.gen(function*() {
      const { failures, figures } = yield* measure({ figures: ["h"] })
      assert.deepStrictEqual(failures, [])
      const started = [
        ...(["version", "help", "connect"] as const).map((what) => [Figure.startTime(what), "tx3"] as const),
        ...(["version", "help"] as const).map((what) => [Figure.peakMemory(what), "tx3"] as const),
        ...(["expose", "forward"] as const).map((what) => [Figure.restMemory(what), "tx3"] as const),
        [Figure.startTime("relay"), "tx3-relay"],
        [Figure.restMemory("relay"), "tx3-relay"],
        [Figure.startTime("node"), "node"],
        [Figure.peakMemory("node"), "node"]
      ] as const
      for (const [figure, program] of started) {
        // Node alone has this many megabytes, and takes this many milliseconds on any machine.
        assert.isAbove(figures.find(({ id }) => id === figure.id)?.subjects[program]?.median ?? 0, 5, figure.id)
      }
      assert.deepStrictEqual(ProcessTree.pids(process.pid), [process.pid])
    }))

  it.scopedLive("holds rates against what our relay carries, and against what it costs without", () =>
    Effect.gen(function*() {
      const { failures, figures } = yield* measure({ figures: ["f"] }, yield* subject("portable"), yield* floor)
      assert.deepStrictEqual(failures, [])
      const rates = [...Figure.rates.map(Figure.rateError), ...Figure.rates.map(Figure.rateCpu)]
      const all = [...rates, Figure.unreachedCpu(true), Figure.unreachedCpu(false)]
      assert.sameMembers(figures.map(({ id }) => id), all.map(({ id }) => id))
      for (const { id, subjects } of figures) {
        assert.hasAllKeys(subjects, ["portable"])
        // Without its rate it would carry more than ten times as much. A far end that a busy machine stops for a while counts
        // what had come before.
        const most = id.startsWith("rateError") ? 400 : 50
        assert.isBelow(Math.abs(subjects["portable"]!.median!), most, id)
      }
    }))

  it.scopedLive("times peers and nodes before and beside an attack on our relay", () =>
    Effect.gen(function*() {
      const { failures, figures } = yield* measure({ figures: ["j"] }, yield* subject("portable"), yield* floor)
      assert.deepStrictEqual(failures, [])
      for (const attack of ["unknown", "hello"] as const) {
        const value = ({ id }: Figure.Figure) =>
          figures.find((figure) => figure.id === id)?.subjects["portable"]?.median
        assert.isAbove(value(Figure.attackRate(attack)) ?? 0, 0)
        for (const what of ["setUp", "registration"] as const) {
          for (const beside of [false, true]) {
            assert.isAbove(value(Figure.honestTime(what, "p50", attack, beside)) ?? 0, 0)
          }
        }
      }
      assert.deepStrictEqual(ProcessTree.pids(process.pid), [process.pid])
    }))

  withPrograms(["nats-server"], () => {
    it.scopedLive("measures a cluster, and leaves no program behind", () =>
      Effect.gen(function*() {
        const { failures, figures } = yield* measure({ figures: ["g"] })
        assert.deepStrictEqual(failures, [])
        const judged = Goals.judge(results({ figures })).filter(({ what }) => what.startsWith("cluster: "))
        assert.lengthOf(judged, 6)
        judged.forEach(({ verdict, what }) => assert.notStrictEqual(verdict, "not measured", what))
        for (const { id, subjects } of figures.filter(({ id }) => !id.startsWith("cluster.subscriptionMemory"))) {
          assert.isAbove(subjects["cluster"]!.median!, 0, id)
        }
        assert.deepStrictEqual(ProcessTree.pids(process.pid), [process.pid])
      }))
  })

  it.scopedLive("goes on without a subject that does not start or dies, and names it", () =>
    Effect.gen(function*() {
      const absent = Subject.custom({ name: "absent", command: "no-such-relay {config}" })
      const { failures, figures } = yield* measure({ figures: ["c"], inFlight: [1, 2] }, absent, yield* floor)
      assert.lengthOf(failures, 2)
      assert.match(failures[0]!.problem, /^absent ended with exit code 127; its log: \S+ \(.*no-such-relay.*\)$/)
      assert.hasAllKeys(figures[0]!.subjects, ["floor"])
    }))
})

describe("the peak memory of a program", () => {
  it.scopedLive("is the most that it had, however little it has at its end", () =>
    Effect.gen(function*() {
      const held = 200_000_000
      // It ends once the system has this memory again, which a collector may bring about in a thread of its own.
      const script = `let held = Buffer.alloc(${held}, 1); held = undefined; ` +
        `const free = () => { gc(); process.memoryUsage.rss() < ${held} || setTimeout(free, 10) }; free()`
      const peak = yield* Start.peakBytes("peak", yield* folder, ["--expose-gc", "-e", script])
      assert.isAbove(peak, held)
      assert.isBelow(peak, 2 * held)
    }))

  it.scopedLive("is not told of one that fails", () =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(Start.peakBytes("failing", yield* folder, ["-e", "throw new Error('no')"]))
      assert.match(failed.message, /^failing ended with exit code 1; its log: \S+/)
    }))
})

describe("the CPU of a process", () => {
  it.scopedLive("is that of its tree, with children that have ended", () =>
    Effect.gen(function*() {
      const burn = "while (process.cpuUsage().user < 400_000);"
      const script = `"$0" -e '${burn}'; "$0" -e '${burn} setTimeout(() => {}, 60_000)' & echo; wait`
      const shell = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn("sh", ["-c", script, process.execPath], { detached: true, stdio: ["ignore", "ignore", "ignore"] })
        ),
        (child) => Effect.sync(() => process.kill(-child.pid!, "SIGKILL"))
      )
      const cpu = Effect.sync(() => ProcessTree.cpuSeconds(shell.pid!))
      yield* cpu.pipe(
        Effect.delay("50 millis"),
        Effect.repeat({ until: (seconds) => seconds > 0.6 })
      )
      assert.isAbove(ProcessTree.residentBytes(shell.pid!), 20_000_000)
      assert.isAtLeast(ProcessTree.descriptors(shell.pid!), 6)
    }))
})
