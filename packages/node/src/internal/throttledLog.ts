/**
 * Warnings that strangers cause, at a bounded rate: one line per message and interval, with the number of lines omitted since
 * the last one.
 */
import * as Effect from "effect/Effect"

const intervalMs = 10_000

export class ThrottledLog {
  private readonly written = new Map<string, { readonly at: number; leftOut: number }>()

  /** `now` is in milliseconds, of a clock that is never set. */
  constructor(
    private readonly now: () => number,
    private readonly run: (effect: Effect.Effect<void>) => void
  ) {}

  /** Messages are constants: one counter is kept for each. */
  warn(message: string, annotations: Record<string, unknown> = {}) {
    const now = this.now()
    const last = this.written.get(message)
    if (last !== undefined && now - last.at < intervalMs) {
      last.leftOut++
      return
    }
    this.written.set(message, { at: now, leftOut: 0 })
    const leftOut = last === undefined || last.leftOut === 0 ? {} : { leftOut: last.leftOut }
    this.run(Effect.annotateLogs(Effect.logWarning(message), { ...annotations, ...leftOut }))
  }
}
