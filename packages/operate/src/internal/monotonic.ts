import type * as Clock from "effect/Clock"

/** Not the wall clock: set back by an hour, it would make everything last an hour more. */
export const monotonicMillis = (clock: Clock.Clock) => () => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)
