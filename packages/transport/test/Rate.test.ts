import { it } from "@effect/vitest"
import { Rate } from "@tx3/transport"
import { FastCheck } from "effect"
import { assert, beforeEach, describe } from "vitest"
import { Allowance } from "../src/internal/allowance.js"

const millisecond = 1e6
const second = 1e9

/** What may be taken at once after a pause, in seconds of the rate: 100 ms kept, 100 ms ahead, and what counts as now. */
const burst = 0.204
const leastBytes = 2 * 1024

const realNow = process.hrtime.bigint
let now = 0

/** A direction of a splice: it takes what comes, as far as it may, and comes back when it is told to, or later. */
class Taker {
  taken = 0
  at = now
  readonly turns: Array<number> = []
  private readonly allowance: Allowance
  private count = 0
  private asked: number | undefined

  constructor(
    rates: ReadonlyArray<Rate.Rate>,
    /** Bytes that come every 5 ms. */
    private readonly coming = Infinity,
    private readonly lateMs: ReadonlyArray<number> = [0],
    /** It comes only at multiples of it. */
    private readonly tickMs = 1e-6
  ) {
    this.allowance = new Allowance(rates.map(({ memory }) => memory))
  }

  turn() {
    this.asked ??= now
    for (let left = this.coming; left > 0;) {
      const room = this.allowance.room()
      if (room === 0) {
        const tick = this.tickMs * millisecond
        const at = now + (this.allowance.waitMs() + this.lateMs[this.count++ % this.lateMs.length]!) * millisecond
        this.at = Math.ceil(at / tick) * tick
        return
      }
      const piece = Math.min(room, left, 1024 * 1024)
      this.allowance.take(piece)
      this.taken += piece
      left -= piece
    }
    this.allowance.release()
    this.turns.push(now - this.asked)
    this.asked = undefined
    this.at = now + 5 * millisecond
  }
}

/** Lets time go by, with everybody's turns in it. */
const pass = (seconds: number, takers: ReadonlyArray<Taker>, afterTurn = () => {}) => {
  const until = now + seconds * second
  for (;;) {
    const next = takers.reduce((first, taker) => taker.at < first.at ? taker : first)
    if (next.at >= until) {
      now = until
      return
    }
    now = Math.max(now, next.at)
    next.turn()
    afterTurn()
  }
}

const total = (takers: ReadonlyArray<Taker>) => takers.reduce((sum, { taken }) => sum + taken, 0)

const greedy = (count: number, ...rates: ReadonlyArray<Rate.Rate>) =>
  Array.from({ length: count }, () => new Taker(rates))

beforeEach(() => {
  now = 3_600 * second
  process.hrtime.bigint = () => BigInt(Math.round(now))
  return () => {
    process.hrtime.bigint = realNow
  }
})

describe("Rate", () => {
  it("is what it was made or set to", () => {
    const rate = Rate.make(50_000)
    assert.strictEqual(rate.bytesPerSecond, 50_000)
    rate.set(undefined)
    assert.strictEqual(rate.bytesPerSecond, undefined)
    rate.set(1e9)
    assert.strictEqual(rate.bytesPerSecond, 1e9)
    rate.set(1.5)
    assert.strictEqual(rate.bytesPerSecond, 2)
    assert.strictEqual(Rate.make(undefined).bytesPerSecond, undefined)
  })

  it("is at least a byte per second", () => {
    for (const wrong of [0, -1, 0.4, NaN, Infinity]) {
      assert.throws(() => Rate.make(wrong), RangeError)
      const rate = Rate.make(10)
      assert.throws(() => rate.set(wrong), RangeError)
      assert.strictEqual(rate.bytesPerSecond, 10)
    }
  })
})

describe("Allowance", () => {
  const anyRate = FastCheck.integer({ min: 50_000, max: 1_000_000_000 })
  const anyLateness = FastCheck.array(FastCheck.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 7 })

  it.prop(
    "all that share a rate never take more than it, and what they may at once",
    [
      anyRate,
      FastCheck.array(FastCheck.option(FastCheck.integer({ min: 1, max: 1_000_000 })), { minLength: 1, maxLength: 20 }),
      anyLateness
    ],
    ([bytesPerSecond, coming, lateMs]) => {
      const began = now
      const rate = Rate.make(bytesPerSecond)
      const takers = coming.map((bytes) => new Taker([rate], bytes ?? Infinity, lateMs))
      pass(
        1,
        takers,
        () => assert.isAtMost(total(takers), ((now - began) / second + burst) * bytesPerSecond + leastBytes)
      )
    }
  )

  it.prop(
    "over ten seconds, those who want more take what the rate is, to 5 %",
    [anyRate, FastCheck.integer({ min: 1, max: 20 }), anyLateness],
    ([bytesPerSecond, count, lateMs]) => {
      const rate = Rate.make(bytesPerSecond)
      const takers = Array.from({ length: count }, () => new Taker([rate], Infinity, lateMs))
      pass(10, takers)
      assert.approximately(total(takers) / bytesPerSecond / 10, 1, 0.05)
    },
    { fastCheck: { numRuns: 20 } }
  )

  it("comers that never stay are held to the rate together", () => {
    const rate = Rate.make(100_000)
    let taken = 0
    let waiting: Array<Taker> = []
    for (let ms = 0; ms < 10_000; ms++) {
      waiting.push(new Taker([rate], 1_000))
      for (const taker of waiting.filter(({ at }) => at <= now)) {
        taker.turn()
        taken += taker.taken
      }
      waiting = waiting.filter((taker) => taker.taken === 0)
      now += millisecond
    }
    assert.isAtMost(taken, (10 + burst) * 100_000 + leastBytes)
    // What they reserve and give back when their turn is over comes too late for those who wait already.
    assert.isAtLeast(taken, 500_000)
  })

  for (const bytesPerSecond of [50_000, 1e6, 20e6, 300e6]) {
    it(`shares ${bytesPerSecond} bytes per second out equally`, () => {
      for (const count of [2, 3, 8]) {
        for (const tickMs of [1e-6, 8]) {
          const rate = Rate.make(bytesPerSecond)
          const takers = Array.from({ length: count }, () => new Taker([rate], Infinity, [0], tickMs))
          pass(10, takers)
          for (const { taken } of takers) {
            assert.approximately(taken / total(takers) * count, 1, 0.08)
          }
        }
      }
    })

    it(`of ${bytesPerSecond} bytes per second that others want more of, who wants little gets it soon`, () => {
      const rate = Rate.make(bytesPerSecond)
      const quiet = new Taker([rate], bytesPerSecond / 1_000)
      pass(10, [...greedy(2, rate), quiet])
      assert.isAtLeast(quiet.turns.length, 50)
      assert.isBelow(Math.max(...quiet.turns), 200 * millisecond)
    })
  }

  it("takes of each of its rates, and not more than the least of them", () => {
    const [shared, own] = [Rate.make(1_000_000), Rate.make(200_000)]
    const [both, one] = [new Taker([own, shared]), new Taker([shared])]
    pass(10, [both, one])
    assert.approximately(both.taken, 2_000_000, 100_000)
    assert.approximately(one.taken, 8_000_000, 400_000)
  })

  it("gives back what did not come", () => {
    const rate = Rate.make(1_000_000)
    const reserving = Array.from({ length: 20 }, () => new Taker([rate], 1))
    const takers = greedy(1, rate)
    pass(10, [...reserving, ...takers])
    assert.approximately(total(takers), 10_000_000, 500_000)
  })

  it("is not used up by those who wait and want little", () => {
    const rate = Rate.make(1_000_000)
    const takers = [...greedy(60, rate), ...Array.from({ length: 300 }, () => new Taker([rate], 10))]
    pass(10, takers)
    assert.approximately(total(takers), 10_000_000, 500_000)
  })

  it("keeps nothing of a long pause but a tenth of a second", () => {
    const rate = Rate.make(1_000_000)
    now += 3_600 * second
    const takers = greedy(4, rate)
    pass(1, takers)
    assert.isAtMost(total(takers), (1 + burst) * 1_000_000 + leastBytes)
  })

  for (
    const [from, to] of [
      [50_000, 1e9],
      [1e9, 50_000],
      [1, 1e6],
      [1e6, 900_000],
      [undefined, 1e6],
      [1e6, undefined]
    ] as const
  ) {
    it(`a change from ${from ?? "no limit"} to ${to ?? "none"} is felt soon, and owes nothing to what was`, () => {
      const rate = Rate.make(from)
      const takers = Array.from({ length: 4 }, () => new Taker([rate], 10_000_000))
      pass(1, takers)
      const before = total(takers)
      rate.set(to)
      pass(1, takers)
      // 64 ms is the longest wait.
      const [least, most] = to === undefined ? [100e6, Infinity] : [0.93 * to, (1 + burst) * to + leastBytes]
      assert.isAtLeast(total(takers) - before, least)
      assert.isAtMost(total(takers) - before, most)
    })
  }

  it("changed often, loses nothing of what those have reserved who wait", () => {
    const rate = Rate.make(1_000_000)
    const takers = greedy(200, rate)
    for (let change = 0; change < 50; change++) {
      rate.set(change % 2 === 0 ? 1_010_000 : 1_000_000)
      pass(0.2, takers)
    }
    assert.approximately(total(takers), 10_000_000, 500_000)
  })

  it("waits 4 to 64 ms at a time, by powers of two", () => {
    const rate = Rate.make(1_000)
    const allowance = new Allowance([rate.memory])
    for (let room; (room = allowance.room()) > 0;) {
      allowance.take(room)
    }
    const waits: Array<number> = []
    for (let ms = allowance.waitMs(); allowance.room() === 0; ms = allowance.waitMs()) {
      waits.push(ms)
      now += ms * millisecond
    }
    assert.includeMembers([4, 8, 16, 32, 64], waits)
    assert.include(waits, 64)
  })
})
