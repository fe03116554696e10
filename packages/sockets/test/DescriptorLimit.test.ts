import { assert, describe, it } from "@effect/vitest"
import { DescriptorLimit } from "@tx3/sockets"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"

withPrograms(["bash"], () => {
  describe("DescriptorLimit", () => {
    it.effect("is what ulimit -n shows", () =>
      Effect.gen(function*() {
        const limit = yield* Effect.flatten(DescriptorLimit.descriptorLimit)
        // Node raises its own soft limit, which a child inherits.
        assert.strictEqual(limit, Number(execFileSync("bash", ["-c", "ulimit -n"]).toString()))
      }))
  })
})
