import { assert, describe, it } from "@effect/vitest"
import { firstOf } from "@tx3/sockets/FirstOf"
import { Deferred, Effect } from "effect"

describe("firstOf", () => {
  it.scopedLive(
    "gives back what every other way has taken, before it gives the one that succeeded",
    () =>
      Effect.gen(function*() {
        const open = new Set<number>()
        const taken = (way: number) =>
          Effect.acquireRelease(Effect.sync(() => open.add(way)), () => Effect.sync(() => open.delete(way)))
        const begun = yield* Deferred.make<void>()
        const way = yield* firstOf([
          taken(0).pipe(Effect.zipRight(Deferred.succeed(begun, undefined)), Effect.zipRight(Effect.never)),
          taken(1).pipe(Effect.zipRight(Effect.fail("no"))),
          taken(2).pipe(Effect.zipRight(Deferred.await(begun)), Effect.as(2))
        ], 0)
        assert.strictEqual(way, 2)
        assert.deepStrictEqual(Array.from(open), [2])
      })
  )

  it.scopedLive("fails with every error in the order of the ways, and has given all back", () =>
    Effect.gen(function*() {
      let open = 0
      const failing = (error: string) =>
        Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--)).pipe(
          Effect.zipRight(Effect.fail(error))
        )
      const errors = yield* Effect.flip(firstOf([failing("one"), failing("two"), failing("three")], 60_000))
      assert.deepStrictEqual(errors, ["one", "two", "three"])
      assert.strictEqual(open, 0)
    }))
})
