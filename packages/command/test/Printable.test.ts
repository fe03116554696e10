import { assert, describe, it } from "@effect/vitest"
import { printable, printableLines } from "../src/Printable.js"
import { table } from "../src/Table.js"

describe("printable", () => {
  it("escapes what a terminal obeys, hides or shows in another order, and nothing else", () => {
    for (
      const [text, shown] of [
        ["Grüße, 日本語 😀.txt", "Grüße, 日本語 😀.txt"],
        ["\u001b[2J", "\\u{1b}[2J"],
        ["\u009b2J", "\\u{9b}2J"],
        ["a\r\nb\tc", "a\\u{d}\\u{a}b c"],
        ["gpj.\u202eexe", "gpj.\\u{202e}exe"],
        ["a\u200bb\u2066c\ufeff", "a\\u{200b}b\\u{2066}c\\u{feff}"],
        ["a\u2028b", "a\\u{2028}b"],
        ["a\udcffb", "a\\u{dcff}b"],
        ["a\u{e0041}", "a\\u{e0041}"]
      ] as const
    ) {
      assert.strictEqual(printable(text), shown)
    }
  })

  it("keeps lines where there are lines", () => {
    assert.strictEqual(printableLines("a\u0007\nb"), "a\\u{7}\nb")
  })

  it("a table escapes its cells, and is as wide as what it shows", () => {
    assert.deepStrictEqual(table(["name", "n"], [["\u001b", 1], ["long name", 22]]).split("\n"), [
      "name       n",
      "\\u{1b}      1",
      "long name  22"
    ])
  })
})
