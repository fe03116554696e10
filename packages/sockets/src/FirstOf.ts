/**
 * Races several attempts. Each begins a delay after the one before it, or as soon as that has failed. The first success wins,
 * and the resources of the others are released before it is returned.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Scope from "effect/Scope"

/** A way that is not taken has not succeeded, whatever it came to. */
const givenUp = Exit.interrupt(FiberId.none)

/**
 * Starts the ways `staggerMs` apart and gives the first success. Fails with every error, in the order of the ways, when
 * none is left. The resources of the way that succeeded stay in the caller's scope.
 *
 * @since 0.1.0
 * @category racing
 */
export const firstOf = <A, E, R>(
  ways: Arr.NonEmptyReadonlyArray<Effect.Effect<A, E, R>>,
  staggerMs: number
): Effect.Effect<A, ReadonlyArray<E>, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const scopes = yield* Effect.forEach(ways, () => Scope.fork(scope, ExecutionStrategy.sequential))
      const errors: Array<E> = []

      const from = (index: number): Effect.Effect<{ readonly taken: number; readonly value: A }, void, R> =>
        Effect.gen(function*() {
          const failed = yield* Deferred.make<void>()
          const way = Scope.extend(ways[index]!, scopes[index]!).pipe(
            Effect.mapBoth({
              onFailure: (error) => {
                errors[index] = error
                Deferred.unsafeDone(failed, Effect.void)
              },
              onSuccess: (value) => ({ taken: index, value })
            })
          )
          const later = Deferred.await(failed).pipe(Effect.timeoutOption(staggerMs), Effect.zipRight(from(index + 1)))
          return yield* index + 1 === ways.length ? way : Effect.race(way, later)
        })

      const exit = yield* Effect.exit(restore(from(0)))
      const taken = Exit.isSuccess(exit) ? exit.value.taken : undefined
      yield* Effect.forEach(
        scopes,
        (scope, index) => index === taken ? Effect.void : Scope.close(scope, givenUp),
        { discard: true }
      )
      return yield* Effect.mapBoth(exit, { onFailure: () => errors, onSuccess: ({ value }) => value })
    })
  )
