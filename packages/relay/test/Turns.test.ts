import { assert, describe, it } from "@effect/vitest"
import { Source } from "@tx3/protocol"
import { Effect } from "effect"
import { Turns } from "../src/internal/turns.js"

const [many, few] = [Source.fromAddress("192.0.2.1"), Source.fromAddress("192.0.2.2")]
const turnOver = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

describe("Turns", () => {
  it.live("serve the first few at once, and all in the end, those of a source in their order", () =>
    Effect.gen(function*() {
      const served: Array<number> = []
      const turns = new Turns<{ readonly source: Source.Source; readonly number: number }>(({ number }) =>
        served.push(number)
      )
      for (let number = 0; number < 100; number++) {
        turns.add({ source: many, number })
      }
      assert.isAtLeast(served.length, 1)
      assert.strictEqual(turns.of(many), 100 - served.length)
      yield* Effect.repeat(turnOver, { until: () => turns.of(many) === 0, times: 1_000 })
      assert.deepStrictEqual(served, Array.from({ length: 100 }, (_, number) => number))
      // The last turn has served its few, and one that comes now is served with the next.
      turns.add({ source: few, number: 100 })
      yield* turnOver
      assert.strictEqual(served.at(-1), 100)
    }))

  it.live("one that comes behind a thousand of another source is served with the next few", () =>
    Effect.gen(function*() {
      const served: Array<Source.Source> = []
      const turns = new Turns<{ readonly source: Source.Source }>(({ source }) => served.push(source))
      for (let count = 0; count < 1_000; count++) {
        turns.add({ source: many })
      }
      turns.add({ source: few })
      const before = served.length
      yield* Effect.repeat(turnOver, { until: () => served.includes(few), times: 1_000 })
      assert.isAtMost(served.indexOf(few), before + 1)
      assert.strictEqual(turns.of(few), 0)
      assert.lengthOf(turns.clear(), 1_000 - served.length + 1)
    }))

  it.live("what is cleared is not served", () =>
    Effect.gen(function*() {
      let served = 0
      const turns = new Turns<{ readonly source: Source.Source }>(() => served++)
      for (let count = 0; count < 100; count++) {
        turns.add({ source: many })
      }
      const before = served
      assert.lengthOf(turns.clear(), 100 - before)
      yield* turnOver
      yield* turnOver
      assert.deepStrictEqual([served, turns.of(many)], [before, 0])
    }))
})
