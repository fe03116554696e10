/**
 * Delays an effect until its result is first asked for. It owns one fiber in the scope that it is given; the fiber ends with its
 * result or with the scope.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/**
 * Returns an effect whose first run starts `effect` in a fiber of the scope; every run waits for that fiber's result. The fiber
 * continues when the first caller is interrupted. `Effect.cached` would keep the interruption as the result of all later runs.
 */
export const onDemand = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Effect.Effect<A, E>, never, R | Scope.Scope> =>
  Effect.flatMap(Deferred.make<void>(), (asked) =>
    Effect.map(
      Effect.forkScoped(Effect.zipRight(Deferred.await(asked), effect)),
      (fiber) => Effect.zipRight(Deferred.succeed(asked, undefined), Effect.flatten(Fiber.await(fiber)))
    ))
