/**
 * A monotonic clock to measure intervals by. The wall clock can be set: an hour back would lengthen a running interval by an
 * hour.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"

/**
 * Returns a function that reads a monotonic clock in milliseconds. Only differences are meaningful.
 *
 * @since 0.1.0
 * @category getters
 */
export const millis = (clock: Clock.Clock) => (): number => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)
