import { assert, describe, it } from "@effect/vitest"
import { isFileName } from "../src/internal/fileName.js"

describe("isFileName", () => {
  for (const name of ["file:stream", "C:file", "nul", "CON.txt", "com1", "LPT9.log", "end.", "end ", "a*b", "what?"]) {
    it(`${name} is one, but not on Windows`, () => {
      assert.isFalse(isFileName(name, "win32"))
      assert.isTrue(isFileName(name, "linux"))
    })
  }

  for (const name of ["report.pdf", "console", "null.txt", "com10", "a b", "ä"]) {
    it(`${name} is one`, () => assert.isTrue(isFileName(name, "win32")))
  }
})
