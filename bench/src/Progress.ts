/**
 * The progress line: what is being measured, and how long it will still take. On a terminal one line that is written
 * over, elsewhere a line now and then.
 */
import * as Effect from "effect/Effect"

export interface Progress {
  /** Says that a step begins, which was thought to take so long. */
  readonly begin: (what: string, seconds: number) => Effect.Effect<void>
  /** Says something that stays. */
  readonly note: (text: string) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
}

const everySeconds = 10

/** Seconds as people say them. */
export const duration = (seconds: number) => {
  const whole = Math.ceil(seconds)
  return whole < 90 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}

/** Says nothing. */
export const silent: Progress = { begin: () => Effect.void, note: () => Effect.void, end: Effect.void }

/** `totalSeconds` is what all the steps together were thought to take. */
export const make = (totalSeconds: number): Progress => {
  const { isTTY = false } = process.stderr
  const startedAt = performance.now()
  const elapsed = () => (performance.now() - startedAt) / 1000
  let planned = 0
  let current = 0
  let lastLineAt = -everySeconds
  const clear = isTTY ? "\r\u001b[K" : ""
  return {
    begin: (what, seconds) =>
      Effect.sync(() => {
        planned += current
        current = seconds
        // How wrong the plan has been so far is how wrong it will be.
        const pace = planned > 20 ? elapsed() / planned : 1
        const line = `${Math.floor(100 * planned / totalSeconds)} %, ${
          duration((totalSeconds - planned) * pace)
        } left: ${what}`
        if (isTTY) {
          process.stderr.write(`${clear}${line.slice(0, (process.stderr.columns ?? 80) - 1)}`)
        } else if (elapsed() - lastLineAt >= everySeconds) {
          lastLineAt = elapsed()
          process.stderr.write(`${line}\n`)
        }
      }),
    note: (text) => Effect.sync(() => process.stderr.write(`${clear}${text}\n`)),
    end: Effect.sync(() => process.stderr.write(clear))
  }
}
