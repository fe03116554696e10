/**
 * A clock whose wall time a test sets, as an operator or NTP does, while the time that it measures by goes on.
 */
import { Clock, Effect } from "effect"

export const settableClock: Effect.Effect<{
  readonly clock: Clock.Clock
  /** From now on the wall clock is this far ahead. */
  readonly setAhead: (milliseconds: number) => void
}> = Effect.map(Effect.clock, (clock) => {
  let ahead = 0
  const unsafeCurrentTimeMillis = () => clock.unsafeCurrentTimeMillis() + ahead
  return {
    clock: {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      currentTimeMillis: Effect.sync(unsafeCurrentTimeMillis),
      currentTimeNanos: clock.currentTimeNanos,
      unsafeCurrentTimeMillis,
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
      sleep: (duration) => clock.sleep(duration)
    },
    setAhead: (milliseconds) => {
      ahead = milliseconds
    }
  }
})
