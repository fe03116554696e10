import { assert, describe, it } from "@effect/vitest"
import { UpLog } from "@tx3/reach"
import { Effect, TestClock } from "effect"

describe("UpLog", () => {
  it.effect("keeps the last thousand messages, with their numbers and times", () =>
    Effect.gen(function*() {
      const log = UpLog.make()
      yield* log.add("first")
      yield* TestClock.adjust("1 second")
      yield* Effect.forEach(Array.from({ length: 1_000 }, (_, i) => i), (i) => log.add(`message ${i}`))
      const all = log.after(0)
      assert.strictEqual(all.length, 1_000)
      assert.deepStrictEqual(all[0], { number: 2, at: 1_000, text: "message 0" })
      assert.deepStrictEqual(log.after(1_000).map(({ text }) => text), ["message 999"])
      assert.deepStrictEqual(log.after(1_001), [])
    }))
})
