import { assert, describe, it } from "@effect/vitest"
import { Statistics } from "../src/index.js"

describe("Statistics", () => {
  it("takes the value in the middle, or the mean of two, without the rounds that have none", () => {
    assert.strictEqual(Statistics.median([30, 1, 2]), 2)
    assert.strictEqual(Statistics.median([10, 2, 1, 4]), 3)
    assert.strictEqual(Statistics.median([null, 5, null]), 5)
    assert.isUndefined(Statistics.median([null]))
    assert.isUndefined(Statistics.median([]))
  })

  it("tells the least and the greatest value", () => {
    assert.deepStrictEqual(Statistics.spread([3, null, 10, 2]), { min: 2, max: 10 })
    assert.isUndefined(Statistics.spread([null]))
  })

  it("divides within each round, where both have a value", () => {
    assert.deepStrictEqual(Statistics.ratios([2, 3, null, 5, 6], [1, null, 2, 10]), [2, null, null, 0.5, null])
    assert.deepStrictEqual(Statistics.ratios([1], [0]), [null])
  })
})
