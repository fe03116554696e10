/**
 * Effects that have been decided when they are made: `Effect.void`, `Effect.succeed`, `Effect.fail` and `Exit` itself. They need
 * no fiber.
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** The outcome of an effect that has been decided, and undefined for any other. */
export const outcomeOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Exit.Exit<A, E> | undefined =>
  Exit.isExit(effect) ? effect as Exit.Exit<A, E> : undefined
