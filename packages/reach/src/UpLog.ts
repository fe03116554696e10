/**
 * The last messages of `tx3 up`, in memory, for `tx3 logs`: the same however it was started, on every system. It owns at most a
 * thousand lines, and ends with the process; what starts it may keep more.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/**
 * A message, its number in the order of all, and when it was written, in milliseconds since 1970.
 *
 * @since 0.1.0
 * @category models
 */
export interface Line {
  readonly number: number
  readonly at: number
  readonly text: string
}

/**
 * The messages that are kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpLog {
  readonly add: (text: string) => Effect.Effect<void>

  /** Those with a greater number than this, the oldest first. */
  readonly after: (number: number) => ReadonlyArray<Line>
}

const linesMax = 1_000

/**
 * Keeps no message yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): UpLog => {
  const lines: Array<Line> = []
  let last = 0
  return {
    add: (text) =>
      Effect.map(Clock.currentTimeMillis, (at) => {
        lines.push({ number: ++last, at, text })
        if (lines.length > linesMax) {
          lines.shift()
        }
      }),
    after: (number) => lines.filter((line) => line.number > number)
  }
}
