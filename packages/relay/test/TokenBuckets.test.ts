/**
 * How many keys it remembers, and whose tokens are worth forgetting.
 */
import { assert, describe, it } from "@effect/vitest"
import { Source } from "@tx3/protocol"
import { TokenBuckets } from "../src/internal/tokenBuckets.js"

const source = (number: number) => Source.fromAddress(`10.${number >> 16 & 255}.${number >> 8 & 255}.${number & 255}`)

describe("TokenBuckets", () => {
  it("forgets a source whose bucket is full again", () => {
    let now = 0
    const rates = new TokenBuckets(() => now, 10)
    for (let number = 0; number < 1_000; number++) {
      assert.isTrue(rates.take(source(number), 1))
    }
    assert.strictEqual(rates.size, 1_000)
    now = 1_000
    rates.take(source(0), 1)
    assert.strictEqual(rates.size, 1)
  })

  it("remembers 65,536 at most, those that came last", () => {
    const rates = new TokenBuckets(() => 0, 10)
    const drain = (number: number) => {
      for (let token = 0; token < 10; token++) {
        assert.isTrue(rates.take(source(number), 1))
      }
      assert.isFalse(rates.take(source(number), 1))
    }
    drain(0)
    drain(1)
    for (let number = 2; number < 65_537; number++) {
      rates.take(source(number), 1)
    }
    assert.strictEqual(rates.size, 65_536)
    assert.isFalse(rates.take(source(1), 1))
    assert.isTrue(rates.take(source(0), 1))
    assert.isAtMost(rates.size, 65_536)
  })
})
