/**
 * A whole relay on the kernel transport, with its workers, on a simulated kernel under seeds: utils/simulation. `npm run simulate`
 * runs more of them.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { simulate } from "./utils/simulation/main.js"
import { planOf } from "./utils/simulation/plan.js"
import { run } from "./utils/simulation/run.js"

const script = fileURLToPath(new URL("../../../scripts/simulate.mjs", import.meta.url))

describe("a simulated relay", () => {
  it("keeps every byte, count, deadline and descriptor in order, whatever happens when", async () => {
    const { failed, outcomes } = await simulate(1, 80)
    assert.isUndefined(failed?.failure, `npm run simulate -- --seeds 1 --from ${failed?.plan.seed}`)
    for (const outcome of ["completed", "reset", "lingered", "closed"]) {
      assert.isAbove(outcomes[outcome] ?? 0, 0, `splices that ${outcome}`)
    }
  })

  it("does the same under the same seed", async () => {
    for (const seed of [7, 8, 9]) {
      const [first, second, other] = [await run(planOf(seed)), await run(planOf(seed)), await run(planOf(seed + 100))]
      assert.isAbove(first.trace.length, 100)
      assert.strictEqual(second.hash, first.hash, `seed ${seed}`)
      assert.notStrictEqual(other.hash, first.hash)
    }
  })

  it("finds faults that are put into the sources", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      script,
      "--faults",
      "--first",
      "3",
      "--seeds",
      "200"
    ])
    assert.lengthOf(stdout.match(/^found in /gm) ?? [], 3, stdout)
  })
})
