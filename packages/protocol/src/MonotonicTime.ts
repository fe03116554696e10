/**
 * The time that intervals are measured by. The wall clock is for what people read: a step back of an hour would make
 * whatever is measured by it last an hour more.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"

/**
 * Returns a function that gives the milliseconds of a clock that nobody sets. Only differences of them mean anything.
 *
 * @since 0.1.0
 * @category getters
 */
export const millis = (clock: Clock.Clock) => (): number => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)
