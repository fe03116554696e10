import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import * as packaging from "@tx3/testing/packaging"
import { Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const docstring = (...lines: ReadonlyArray<string>) => ["/**", ...lines.map((line) => ` * ${line}`), " */", ""]

describe("scripts/examples.mjs", { timeout: 120_000 }, () => {
  it.scopedLive("names the place of each example that is wrong, and passes the others", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      mkdirSync(join(folder, "src"))
      writeFileSync(join(folder, "package.json"), "{ \"type\": \"module\" }")
      writeFileSync(
        join(folder, "src/It.ts"),
        [
          ...docstring("@example", "```ts", "export const one: number = 1", "```"),
          ...docstring("@example", "```ts", "", "export const two: number = \"2\"", "```"),
          ...docstring("@example three()")
        ].join("\n")
      )
      const { code, said } = packaging.judge(process.execPath, packaging.pathOf("scripts/examples.mjs"), folder)
      const lines = said.trimEnd().split("\n").map((line) => line.replace(/^.*(?=src\/)/, ""))
      assert.deepStrictEqual(lines.sort(), [
        "2 examples of docstrings compiled, 2 errors",
        "src/It.ts(12): Type 'string' is not assignable to type 'number'.",
        "src/It.ts(17): @example is not followed by a block of ts"
      ])
      assert.strictEqual(code, 1)
    }))
})
