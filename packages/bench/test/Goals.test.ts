import { assert, describe, it } from "@effect/vitest"
import { Figure, Goals, Results } from "@tx3/bench"
import { Schema } from "effect"
import { figure, figures, results } from "./utils/results.js"

const verdicts = (judged: Results.Results) =>
  Object.fromEntries(Goals.judge(judged).map(({ verdict, what }) => [what, verdict]))

describe("Goals", () => {
  it("are judged by the median of the rounds' ratios, from the JSON that a run writes", () => {
    const json = Schema.encodeSync(Results.Json)(results({ figures }))
    const judged = Goals.judge(Schema.decodeSync(Results.Json)(json))
    const missed = judged.filter(({ verdict }) => verdict !== "met")
    assert.deepStrictEqual(missed, [{
      what: "kernel: memory per idle splice",
      atMost: 4,
      unit: "KB",
      median: 4.1,
      spread: { min: 3.9, max: 4.2 },
      verdict: "not met"
    }])
    const roundTrip = judged.find(({ what }) => what.startsWith("kernel: 64 B round trip, 1 splice, against HAProxy"))
    assert.strictEqual(roundTrip?.median, 1)
    assert.deepStrictEqual(roundTrip?.spread, { min: 50 / 60, max: 50 / 40 })
  })

  it("are missed just above their bound", () => {
    const slow = figure(Figure.setUpCpu(32), {
      kernel: [0.81, 0.81, 0.81],
      floor: [1, 1, 1],
      portable: [1.6, 1.6, 1.6]
    })
    const judged = verdicts(results({ figures: [slow] }))
    assert.strictEqual(judged["kernel: CPU per splice set up, 32 in flight, against the floor"], "not met")
    assert.strictEqual(judged["portable: CPU per splice set up, 32 in flight, against the floor"], "met")
  })

  it("say why they cannot be judged", () => {
    const withoutHaproxy = results({
      subjects: [
        { name: "kernel", description: "", isInstalled: true },
        { name: "haproxy", description: "", isInstalled: false }
      ],
      failures: [{ subject: "floor", round: 1, what: "set-ups", problem: "it died" }]
    })
    const judged = verdicts(withoutHaproxy)
    assert.strictEqual(judged["kernel: 64 B round trip, 1 splice, against HAProxy"], "not installed")
    assert.strictEqual(judged["kernel: CPU per splice set up, 1 in flight, against the floor"], "failed")
    assert.strictEqual(judged["kernel: memory per idle splice"], "not measured")
  })
})
