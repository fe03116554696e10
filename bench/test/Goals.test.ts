import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Figure, Goals, Markdown, Results } from "../src/index.js"
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

  it("take a rate's error to both sides alike", () => {
    const rate = Figure.rates[0]!
    const judged = (rounds: ReadonlyArray<number | null>) =>
      Goals.judge(results({ figures: [figure(Figure.rateError(rate), { kernel: rounds })] }))
        .find(({ what }) => what === `kernel: error of a rate, ${rate.what}`)!
    assert.strictEqual(judged([-5, 5, null]).verdict, "met")
    // Errors to both sides do not make up for each other.
    const missed = judged([-6, 6, 1])
    assert.strictEqual(missed.verdict, "not met")
    assert.strictEqual(missed.median, 6)
    assert.deepStrictEqual(missed.spread, { min: 1, max: 6 })
  })

  it("judge a rate that is not reached against none within each round", () => {
    const what = "portable: CPU per GB, 4 splices, under a rate that is not reached, against none"
    const judged = verdicts(results({
      figures: [
        figure(Figure.unreachedCpu(true), { portable: [1.1, 2.2, 9] }),
        figure(Figure.unreachedCpu(false), { portable: [1, 2, 1] })
      ]
    }))
    assert.strictEqual(judged[what], "met")
  })

  it("hold a start and a peak of memory against the empty program of the same round", () => {
    const judged = Goals.judge(results({
      figures: [
        figure(Figure.startTime("node"), { node: [40, 80, null] }),
        figure(Figure.startTime("help"), { tx3: [100, 208, 90] }),
        figure(Figure.peakMemory("node"), { node: [40, 44, 42] }),
        figure(Figure.peakMemory("help"), { tx3: [65, 70, 66] }),
        figure(Figure.restMemory("relay"), { "tx3-relay": [94, 96, 97] })
      ]
    }))
    const of = (what: string) => {
      const { median, spread, verdict } = judged.find((goal) => goal.what.startsWith(what))!
      return { median, spread, verdict }
    }
    assert.deepStrictEqual(of("`tx3 connect --help`: wall time, against `node -e 0`"), {
      median: 2.55,
      spread: { min: 2.5, max: 2.6 },
      verdict: "not met"
    })
    assert.deepStrictEqual(of("`tx3 connect --help`: peak memory, above that of `node -e 0`"), {
      median: 25,
      spread: { min: 24, max: 26 },
      verdict: "met"
    })
    assert.strictEqual(of("`tx3-relay` with its admin server: memory at rest").verdict, "not met")
    assert.strictEqual(of("`tx3 expose`: memory at rest").verdict, "not measured")
  })

  it("hold each hop of a cluster against what it cannot do without, in the same round", () => {
    const cluster = (of: Figure.Figure, ...rounds: ReadonlyArray<number | null>) => figure(of, { cluster: rounds })
    const judged = Goals.judge(results({
      figures: [
        cluster(Figure.clusterSetUpTime(1, "p50", "none"), 1, 2, 1),
        cluster(Figure.clusterSetUpTime(1, "p50", "both"), 4, 8, null),
        cluster(Figure.engineRoundTrip, 0.75, 1, 1),
        cluster(Figure.bareConnect, 0.25, 1, 1),
        cluster(Figure.missCpu("member"), 0.36, 0.06, 0.21),
        cluster(Figure.missCpu("alone"), 0.1, 0.1, 0.1)
      ]
    }))
    const of = (what: string) => {
      const { median, verdict } = judged.find((goal) => goal.what.startsWith(`cluster: ${what}`))!
      return { median: median === undefined ? undefined : Number(median.toFixed(2)), verdict }
    }
    assert.deepStrictEqual(of("two hops"), { median: 1.5, verdict: "met" })
    assert.deepStrictEqual(of("CPU of a member per look-up"), { median: 1.5, verdict: "met" })
    assert.strictEqual(of("one hop, the peer's").verdict, "not measured")
  })

  describe("beside the worst attack", () => {
    const of = (attack: Figure.Attack, ...beside: ReadonlyArray<number | null>) => [
      figure(Figure.honestTime("registration", "p99", attack, false), { kernel: [2, 2, 2] }),
      figure(Figure.honestTime("registration", "p99", attack, true), { kernel: beside })
    ]
    const judge = (...figures: ReadonlyArray<Results.FigureResults>) =>
      Goals.judge(results({ figures })).find(({ what }) =>
        what.startsWith("kernel: registration, p99, beside the worst attack")
      )!

    it("judge each attack by the median of its own rounds, and name the worst", () => {
      // The worst of each round would be 11, 12 and 4: no attack has that median.
      const judged = judge(...of("silent", 2, 24, 2), ...of("hello", 22, 6, 8))
      assert.strictEqual(
        judged.what,
        "kernel: registration, p99, beside the worst attack from one address " +
          "(the relay's digest and a ClientHello, then silence), against before"
      )
      assert.strictEqual(judged.median, 4)
      assert.deepStrictEqual(judged.spread, { min: 3, max: 11 })
      assert.strictEqual(judged.verdict, "met")
      assert.strictEqual(judge(...of("silent", 2, 24, 12), ...of("hello", 22, 6, 8)).verdict, "not met")
    })

    it("do not judge while an attack has no value", () => {
      for (const lacking of [[], of("hello", null, null, null)]) {
        assert.strictEqual(judge(...of("silent", 2, 2, 2), ...lacking).verdict, "not measured")
      }
      // A round that lacks one leaves the other rounds to judge.
      assert.strictEqual(judge(...of("silent", 2, 2, 2), ...of("hello", 8, 12, null)).median, 5)
    })
  })

  it("can be judged of results from before there were rates, starts and attacks", () => {
    const {
      attackRounds: _,
      attackSeconds: __,
      attacks: ___,
      clusterRounds: _________,
      rateRounds: ____,
      rateSeconds: _____,
      rateTurns: ______,
      restSeconds: _______,
      startRounds: ________,
      ...before
    } = results({})
    const read = Schema.decodeSync(Results.Json)(JSON.stringify(before))
    assert.strictEqual(read.rateRounds, 0)
    assert.strictEqual(verdicts(read)[`kernel: error of a rate, ${Figure.rates[0]!.what}`], "not measured")
    assert.notInclude(Markdown.page(read, []), "(f)")
    assert.notInclude(Markdown.page(read, []), "(g) One NATS server")
    assert.notInclude(Markdown.page(read, []), "(h) Each program")
    assert.notInclude(Markdown.page(read, []), "(j) Our relay")
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
