import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Drift from "../src/soak/Drift.js"
import * as Judgement from "../src/soak/Judgement.js"
import * as plots from "../src/soak/plots.js"
import type { Sample } from "../src/soak/Sample.js"
import * as Soak from "../src/soak/Soak.js"

const range = (count: number) => Array.from({ length: count }, (_, index) => index)

/** Noise that is the same each time: 1 to one side, 1 to the other. */
const noisy = (values: ReadonlyArray<number>, noise: number) =>
  values.map((value, index) => value + (index % 2 === 0 ? noise : -noise))

describe("Drift", () => {
  it("is growth beyond the noise and the tolerance", () => {
    const { growth, isDrift } = Drift.of(noisy(range(40).map((index) => 100 + index), 2), 0.05)
    assert.isTrue(isDrift)
    // The last thirty of the samples grow from 110 to 139.
    assert.approximately(growth, 29 / 124.5, 0.01)
  })

  it("is not what falls, what is steady, what grows within its tolerance, and what the noise hides", () => {
    const rising = range(40).map((index) => 100 + index)
    assert.isFalse(Drift.of(rising.map((value) => -value + 300), 0.05).isDrift)
    assert.isFalse(Drift.of(noisy(range(40).map(() => 100), 5), 0.05).isDrift)
    assert.isFalse(Drift.of(rising, 0.3).isDrift)
    assert.isFalse(Drift.of(noisy(rising, 60), 0.05).isDrift)
  })

  it("is not in the first quarter, where a relay warms up, and not in too few samples", () => {
    const warm = range(40).map((index) => index < 10 ? index * 20 : 200)
    assert.isFalse(Drift.of(warm, 0.05).isDrift)
    assert.isFalse(Drift.of([1, 2, 3, 4], 0.05).isDrift)
  })

  it("is not where nothing is", () => {
    assert.deepStrictEqual(Drift.of(range(20).map(() => 0), 0.05), { growth: 0, noise: 0, isDrift: false })
  })
})

const sample = (index: number, more: Partial<Sample> = {}): Sample => ({
  transport: "kernel",
  relay: 1,
  seconds: 60 * (index + 1),
  splices: 1000,
  splicesTotal: 1000 * (index + 1),
  residentBytes: 100 * 2 ** 20,
  heapBytes: 30 * 2 ** 20,
  descriptors: 100,
  pipes: 4,
  connections: 60,
  cpuMsPerSplice: 0.2,
  setUpP50: 4,
  setUpP99: 20,
  done: { peer: 900 },
  unserved: 0,
  reloads: index,
  threadsKilled: 0,
  ...more
})

describe("Judgement", () => {
  it("names what drifts, of the relay with the most samples", () => {
    const samples = [
      ...range(5).map((index) => sample(index, { descriptors: 50 * index })),
      ...range(40).map((index) => sample(index, { relay: 2, heapBytes: (30 + index) * 2 ** 20 }))
    ]
    const drifting = Judgement.verdicts(samples).filter(({ isDrift }) => isDrift)
    assert.deepStrictEqual(drifting.map(({ quantity: { name } }) => name), ["heap after a collection"])
    assert.include(
      Judgement.table(samples),
      "| heap after a collection | 43.0 MB | 66.0 MB | 53.2 % | 0.0 % | **drifts** |"
    )
    assert.include(plots.draw(samples), "heap after a collection, MB")
  })
})

describe("a soak", () => {
  it.scopedLive("of a few splices is written down, continued by the next run, and leaves the relay empty", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-soak-test-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
      )
      const file = join(folder, "samples.jsonl")
      const said: Array<string> = []
      const soak = (splices: number) =>
        Effect.scoped(Soak.run(
          { everySeconds: 1, file, hours: 0.02, nodes: 4, peers: 8, splices, transport: "portable" },
          folder,
          (line) => Effect.sync(() => said.push(line))
        ))
      const first = yield* soak(20)
      const total = first.at(-1)!.splicesTotal
      assert.isAtLeast(total, 20)
      const both = yield* soak(total + 20)
      assert.isAtLeast(both.at(-1)!.splicesTotal, total + 20)
      assert.deepStrictEqual(Array.from(new Set(both.map(({ relay }) => relay))), [1, 2])
      assert.deepStrictEqual(yield* Soak.read(file), both)
      assert.strictEqual(readFileSync(file, "utf8").trim().split("\n").length, said.length)
      assert.isTrue(
        both.every(({ descriptors, heapBytes, residentBytes }) =>
          heapBytes > 0 && residentBytes > heapBytes && descriptors > 10
        )
      )
    }))
})
