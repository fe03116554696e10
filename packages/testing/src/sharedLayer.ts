/**
 * One layer for the tests of a block: it is built before the first test that needs it and released after the last test of
 * the block.
 */
import { it } from "@effect/vitest"
import type { Layer, Scope } from "effect"
import { Effect, ManagedRuntime } from "effect"
import { afterAll } from "vitest"

/**
 * Shares a layer between the tests of the enclosing `describe`, and returns what defines such a test, with real time.
 * `layer` of `@effect/vitest` does the same, but it replaces `it.effect` and `it.scoped` for the rest of the process, and
 * other test files run in that process.
 */
export const sharedLayer = <R, E>(layer: Layer.Layer<R, E>) => {
  const runtime = ManagedRuntime.make(layer)
  afterAll(() => runtime.dispose())
  return <E2>(name: string, test: () => Effect.Effect<unknown, E2, R | Scope.Scope>) =>
    it.scopedLive(name, () => Effect.provide(test(), runtime))
}
