/**
 * Parts of whole numbers, compared with rational arithmetic: binary fractions err in both directions.
 */
import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { portionOf } from "../src/internal/portion.js"

/** The part as people write it, `0.7`, as 7 of 10, without looking at the number's binary form. */
const exact = (written: string, whole: number) => {
  const fraction = written.split(".")[1]!
  const denominator = 10n ** BigInt(fraction.length)
  const numerator = BigInt(fraction) * BigInt(whole)
  const rest = numerator % denominator
  return Number(rest === 0n ? numerator / denominator : (numerator - rest) / denominator + 1n)
}

describe("portionOf", () => {
  it("0.7 of 90 is 63, which as a binary fraction is less; 0.07 of 100 is 7, which is more", () => {
    assert.isBelow(0.7 * 90, 63)
    assert.isAbove(0.07 * 100, 7)
    assert.strictEqual(portionOf(0.7, 90), 63)
    assert.strictEqual(portionOf(0.07, 100), 7)
    assert.strictEqual(portionOf(0.1, 30), 3)
  })

  it("0.875 leaves eight of 64, and none of what is less than eight", () => {
    assert.strictEqual(portionOf(0.875, 64), 56)
    for (let whole = 1; whole < 8; whole++) {
      assert.strictEqual(portionOf(0.875, whole), whole)
    }
  })

  it("is at least 1, and at most the whole", () => {
    for (const whole of [1, 64, 20_480, 0x7fff_ffff]) {
      assert.strictEqual(portionOf(1, whole), whole)
      assert.strictEqual(portionOf(Number.MIN_VALUE, whole), 1)
    }
  })

  it("is what rational arithmetic gives: all parts of three digits, of 1 to 200", () => {
    const errs = { tooFew: 0, tooMany: 0 }
    for (let thousandths = 1; thousandths < 1_000; thousandths++) {
      const written = `0.${String(thousandths).padStart(3, "0")}`
      const part = Number(written)
      for (let whole = 1; whole <= 200; whole++) {
        const wanted = exact(written, whole)
        // 200,000 assertions would take longer than what they are about.
        if (portionOf(part, whole) !== wanted) {
          assert.fail(`${written} of ${whole} is ${wanted}, not ${portionOf(part, whole)}`)
        }
        errs.tooMany += Math.ceil(part * whole) > wanted ? 1 : 0
        errs.tooFew += Math.floor(part * whole) < Math.floor((thousandths * whole) / 1_000) ? 1 : 0
      }
    }
    assert.isAbove(errs.tooMany, 0)
    assert.isAbove(errs.tooFew, 0)
  })

  it("is what rational arithmetic gives: parts of any length, of any number", () => {
    const digits = FastCheck.integer({ min: 1, max: 15 }).chain((length) =>
      FastCheck.integer({ min: 1, max: 10 ** length - 1 }).map((number) => String(number).padStart(length, "0"))
    )
    const whole = FastCheck.integer({ min: 1, max: 0x7fff_ffff })
    FastCheck.assert(
      FastCheck.property(digits, whole, (digits, whole) => {
        assert.strictEqual(portionOf(Number(`0.${digits}`), whole), exact(`0.${digits}`, whole))
      }),
      { numRuns: 5_000 }
    )
  })
})
