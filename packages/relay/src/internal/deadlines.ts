/**
 * Deadlines that are all equally far ahead, kept by one fiber for any number of them: they expire in the order in which they
 * were started, so a queue in that order is enough. Effect.timeout races two more fibers each time, which costs more
 * than all the rest of a connection's set-up; here a start and a cancel are one operation on a Map each. The time they
 * have may change, which is felt within a second.
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** It looks again at least so often, for the time may have been made shorter. */
const noticeWithinMs = 1_000

export interface Deadlines<A> {
  /** Starts the time of an item that has none running. */
  readonly start: (item: A) => void
  /** The item's time does not matter any more. */
  readonly cancel: (item: A) => void
  /** How many are running. */
  readonly size: () => number
}

/** Runs until the scope closes; what is running then never expires. Each item whose time is up is passed on, once. */
export const make = <A>(
  timeoutMs: () => number,
  onExpired: (item: A) => void
): Effect.Effect<Deadlines<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const startedAt = new Map<A, number>()
    const someRunning = Effect.unsafeMakeLatch(false)
    const currentTimeMillis = MonotonicTime.millis(clock)

    const expireDue = () => {
      const now = currentTimeMillis()
      const timeout = timeoutMs()
      for (const [item, started] of startedAt) {
        const left = started + timeout - now
        if (left > 0) {
          return left
        }
        startedAt.delete(item)
        onExpired(item)
      }
      someRunning.unsafeClose()
      return 0
    }

    yield* someRunning.await.pipe(
      Effect.zipRight(Effect.suspend(() => Effect.sleep(Math.min(expireDue(), noticeWithinMs)))),
      Effect.forever,
      Effect.forkScoped
    )

    return {
      start: (item) => {
        startedAt.set(item, currentTimeMillis())
        someRunning.unsafeOpen()
      },
      cancel: (item) => startedAt.delete(item),
      size: () => startedAt.size
    }
  })
