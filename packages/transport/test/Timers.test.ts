import { assert, beforeEach, describe, it } from "vitest"
import { Timers } from "../src/internal/timers.js"

describe("Timers", () => {
  let now = 0
  let timers: Timers<string>

  beforeEach(() => {
    now = 1_000
    timers = new Timers({ nowMs: () => now })
  })

  const expired = () => {
    const items: Array<string> = []
    timers.expire((item) => items.push(item))
    return items
  }

  it("pass on what is due, once, in the order of starting", () => {
    timers.start("one", 10)
    timers.start("two", 10)
    now += 5
    timers.start("three", 10)
    now += 4.9
    assert.deepStrictEqual(expired(), [])
    now += 0.1
    assert.deepStrictEqual(expired(), ["one", "two"])
    assert.deepStrictEqual(expired(), [])
    now += 5
    assert.deepStrictEqual(expired(), ["three"])
    assert.strictEqual(timers.nextMs(), Infinity)
  })

  it("of different lengths do not wait for each other", () => {
    timers.start("long", 100)
    timers.start("short", 10)
    timers.start("longer", 1_000)
    now += 10
    assert.deepStrictEqual(expired(), ["short"])
    now += 90
    assert.deepStrictEqual(expired(), ["long"])
    now += 899
    assert.deepStrictEqual(expired(), [])
    now += 1
    assert.deepStrictEqual(expired(), ["longer"])
  })

  it("pass on so many at a time, the others at once the next time", () => {
    for (const item of ["one", "two", "three"]) {
      timers.start(item, 10)
    }
    assert.isTrue(timers.has("three", 10))
    assert.isFalse(timers.has("three", 20))
    now += 10
    const items: Array<string> = []
    timers.expire((item) => items.push(item), 2)
    assert.deepStrictEqual(items, ["one", "two"])
    assert.strictEqual(timers.nextMs(), 0)
    assert.deepStrictEqual(expired(), ["three"])
    assert.isFalse(timers.has("three", 10))
  })

  it("start again from now, with another length too", () => {
    timers.start("same", 10)
    timers.start("other", 10)
    timers.start("changed", 10)
    now += 9
    timers.start("same", 10)
    timers.start("changed", 20)
    now += 1
    assert.deepStrictEqual(expired(), ["other"])
    now += 8
    assert.deepStrictEqual(expired(), [])
    now += 1
    assert.deepStrictEqual(expired(), ["same"])
    now += 10
    assert.deepStrictEqual(expired(), ["changed"])
  })

  it("that are cancelled do not come, and cancel says whether there was one", () => {
    timers.start("one", 10)
    timers.start("two", 10)
    assert.isTrue(timers.cancel("one"))
    assert.isFalse(timers.cancel("one"))
    assert.isFalse(timers.cancel("never started"))
    now += 10
    assert.deepStrictEqual(expired(), ["two"])
    assert.isFalse(timers.cancel("two"))
  })

  it("may be started and cancelled while they expire", () => {
    timers.start("again", 10)
    timers.start("last", 10)
    timers.start("later", 20)
    now += 10
    const items: Array<string> = []
    timers.expire((item) => {
      assert.isFalse(timers.cancel(item))
      items.push(item)
      if (item === "again") {
        timers.start("again", 10)
        timers.cancel("later")
      }
    })
    assert.deepStrictEqual(items, ["again", "last"])
    now += 10
    assert.deepStrictEqual(expired(), ["again"])
  })

  it("that one which is due cancels, or starts again, while they expire, do not come with it", () => {
    timers.start("first", 10)
    timers.start("cancelled", 10)
    timers.start("restarted", 10)
    now += 10
    const items: Array<string> = []
    timers.expire((item) => {
      items.push(item)
      timers.cancel("cancelled")
      timers.start("restarted", 10)
    })
    assert.deepStrictEqual(items, ["first"])
    now += 10
    assert.deepStrictEqual(expired(), ["restarted"])
  })

  it("tell how long it is to the next of them", () => {
    assert.strictEqual(timers.nextMs(), Infinity)
    timers.start("long", 100)
    assert.strictEqual(timers.nextMs(), 100)
    timers.start("short", 10)
    assert.strictEqual(timers.nextMs(), 10)
    now += 4
    assert.strictEqual(timers.nextMs(), 6)
    now += 10
    assert.strictEqual(timers.nextMs(), 0)
    timers.cancel("short")
    assert.strictEqual(timers.nextMs(), 86)
    timers.cancel("long")
    assert.strictEqual(timers.nextMs(), Infinity)
  })
})
