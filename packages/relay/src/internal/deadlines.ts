/**
 * Deadlines that are all equally far ahead, kept by one fiber for any number of them: they expire in the order in which they
 * were started, so a queue in that order is enough. Effect.timeout races two more fibers each time, which costs more
 * than all the rest of a connection's set-up; here a start and a cancel are one operation on a Set each.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Deadlines {
  /** Calls `onExpired` once when the time is up, unless what it returns is called before. */
  readonly start: (onExpired: () => void) => () => void
  /** How many are running. */
  readonly size: () => number
}

interface Entry {
  readonly at: number
  readonly onExpired: () => void
}

/** Runs until the scope closes; what is running then never expires. */
export const make = (timeoutMs: number): Effect.Effect<Deadlines, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const running = new Set<Entry>()
    const someRunning = Effect.unsafeMakeLatch(false)
    // Not the wall clock: set back by an hour, it would give everybody an hour more.
    const currentTimeMillis = () => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)

    const expireDue = () => {
      const now = currentTimeMillis()
      for (const entry of running) {
        if (entry.at > now) {
          return entry.at - now
        }
        running.delete(entry)
        entry.onExpired()
      }
      someRunning.unsafeClose()
      return 0
    }

    yield* someRunning.await.pipe(
      Effect.zipRight(Effect.suspend(() => Effect.sleep(expireDue()))),
      Effect.forever,
      Effect.forkScoped
    )

    return {
      start: (onExpired) => {
        const entry = { at: currentTimeMillis() + timeoutMs, onExpired }
        running.add(entry)
        someRunning.unsafeOpen()
        return () => running.delete(entry)
      },
      size: () => running.size
    }
  })
