import { assert, describe, it } from "@effect/vitest"
import * as Messages from "../src/internal/messages.js"

describe("messages between members", () => {
  it("of a later version are ignored, and so are fields that are not known", () => {
    assert.isUndefined(Messages.word.decode(JSON.stringify({ _tag: "Later", from: "a", number: 1 })))
    assert.isUndefined(Messages.question.decode(JSON.stringify({ _tag: "Later" })))
    assert.isUndefined(Messages.answer.decode("not JSON"))
    assert.deepStrictEqual(
      Messages.word.decode(JSON.stringify({ _tag: "Left", from: "a", number: 1, later: true })),
      { _tag: "Left", from: "a", number: 1 }
    )
  })
})
