import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Cores, Figure, Measure, Plan, Start, Subject } from "../src/index.js"
import * as Utils from "./utils/results.js"

const settings: Plan.Settings = {
  ...Utils.results({}),
  programs: Start.measured,
  cluster: undefined,
  figures: ["f"],
  rateRounds: 2,
  rateTurns: 2,
  warmUpSeconds: 1
}

const plan = (rounds: number) =>
  Effect.map(
    Subject.discover,
    ({ found }) => Array.from({ length: rounds }, (_, number) => Plan.round(settings, found, number))
  )

describe("the plan of (f)", () => {
  it.effect("takes our relays alone, in the first rounds", () =>
    Effect.gen(function*() {
      const [first, second, third] = yield* plan(3)
      for (const steps of [first!, second!]) {
        assert.sameMembers(Array.from(new Set(steps.map(({ subject }) => subject.name))), ["kernel", "portable"])
        assert.lengthOf(steps.filter(({ fresh }) => fresh), 2 * Figure.rates.length)
        assert.lengthOf(steps.filter(({ fresh }) => !fresh), 2 * 2 * settings.rateTurns)
      }
      assert.deepStrictEqual(third, [])
    }))

  it.effect("compares the same two processes of a relay in all rounds, each as often first as second", () =>
    Effect.gen(function*() {
      const steps = (yield* plan(2)).flat().filter(({ fresh, subject }) => !fresh && subject.name === "kernel")
      const [limited, unlimited] = [steps[0]!.subject, steps[1]!.subject]
      assert.notStrictEqual(limited, unlimited)
      assert.deepStrictEqual(
        steps.map(({ subject }) => subject === limited ? "limited" : subject === unlimited ? "unlimited" : "other"),
        [
          ...["limited", "unlimited", "unlimited", "limited"],
          ...["unlimited", "limited", "limited", "unlimited"]
        ]
      )
    }))
})

describe("the error of a rate", () => {
  it("is above 0 where too much was carried, and below where too little", () => {
    assert.closeTo(Measure.errorPercent(21e6, 20e6), 5, 1e-9)
    assert.closeTo(Measure.errorPercent(19e6, 20e6), -5, 1e-9)
    assert.strictEqual(Measure.errorPercent(5e6, 5e6), 0)
  })
})

describe("the plan of (j)", () => {
  it.effect("takes our relays with their defaults, a fresh process for each attack, in the first rounds", () =>
    Effect.gen(function*() {
      const { found } = yield* Subject.discover
      const of = (number: number) =>
        Plan.round({ ...settings, figures: ["j"], attackRounds: 1, attacks: ["silent", "peers"] }, found, number)
      const steps = of(0)
      assert.sameMembers(steps.map(({ subject }) => subject), [
        ...["kernel", "portable"].flatMap((name) => {
          const { withDefaults } = found.find((subject) => subject.name === name)!
          return [withDefaults!, withDefaults!]
        })
      ])
      assert.isTrue(steps.every(({ fresh }) => fresh))
      assert.deepStrictEqual(of(1), [])
    }))
})

describe("the plan of (h)", () => {
  it.effect("has an empty program right before each program, and may take more rounds than the others", () =>
    Effect.gen(function*() {
      const { found } = yield* Subject.discover
      const wanted: Plan.Settings = { ...settings, figures: ["c", "h"], inFlight: [1], rounds: 1, startRounds: 2 }
      const names = (number: number, changed: Partial<Plan.Settings> = {}) =>
        Plan.round({ ...wanted, ...changed }, found, number).map(({ subject }) => subject.name)
      assert.strictEqual(Plan.rounds(wanted), 2)
      assert.strictEqual(Plan.rounds({ ...wanted, rounds: 3 }), 3)
      assert.strictEqual(Plan.rounds({ ...wanted, figures: ["c"] }), 1)
      const programs = ["node", "tx3-relay", "node", "tx3", "node", "tx3"]
      assert.deepStrictEqual(names(0), [...programs, ...found.map(({ name }) => name)])
      assert.deepStrictEqual(names(1), programs)
      assert.deepStrictEqual(names(2, { rounds: 3 }), names(2, { figures: ["c"], rounds: 3 }))
      assert.deepStrictEqual(names(1, { programs: ["tx3-relay"] }), ["node", "tx3-relay"])
    }))
})

describe("a list of cores", () => {
  it("is read as Linux writes it", () => {
    assert.deepStrictEqual(Cores.parse("0-2,5"), [0, 1, 2, 5])
    assert.deepStrictEqual(Cores.parse("3\n"), [3])
  })
})
