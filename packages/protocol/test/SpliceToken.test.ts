import { assert, describe, it } from "@effect/vitest"
import { SpliceToken } from "@tx3/protocol"
import { Schema } from "effect"

describe("SpliceToken", () => {
  it.prop("is the only text for its bytes", [SpliceToken.SpliceToken], ([token]) => {
    assert.strictEqual(SpliceToken.fromBytes(SpliceToken.toBytes(token)), token)
  })

  it("is 32 random bytes, other ones each time", () => {
    const tokens = Array.from({ length: 100 }, SpliceToken.random)
    assert.isTrue(tokens.every(Schema.is(SpliceToken.SpliceToken)))
    assert.strictEqual(new Set(tokens).size, 100)
  })

  it("throws for any other number of bytes", () => {
    assert.throws(() => SpliceToken.fromBytes(new Uint8Array(31)), RangeError)
  })
})
