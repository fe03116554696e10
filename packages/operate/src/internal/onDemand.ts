/** What is made only when somebody asks for it. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/**
 * Runs an effect once, at the first demand, in a fiber of the scope. So it goes on when who has asked goes away: `Effect.cached`
 * keeps such an interruption for all who come later.
 */
export const onDemand = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Effect.Effect<A, E>, never, R | Scope.Scope> =>
  Effect.flatMap(Deferred.make<void>(), (asked) =>
    Effect.map(
      Effect.forkScoped(Effect.zipRight(Deferred.await(asked), effect)),
      (fiber) => Effect.zipRight(Deferred.succeed(asked, undefined), Effect.flatten(Fiber.await(fiber)))
    ))
