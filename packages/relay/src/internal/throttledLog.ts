/**
 * Logs about what strangers do, at a bounded rate: of each message the first few lines in every interval, and the number
 * of those left out with the next one that is written.
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Source from "@tx3/protocol/Source"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import { RelayConfig } from "../RelayConfig.js"

const intervalMs = 10_000
const linesPerInterval = 20

export interface ThrottledLog {
  /** Has no bound: an operator asks for it. At a higher level it costs only the comparison of the levels. */
  readonly debug: (message: string, annotations: () => Annotations) => Effect.Effect<void>
  readonly info: Write
  readonly warn: Write
}

interface Annotations extends Record<string, unknown> {
  readonly source?: Source.Source
}

/** Messages are constants: one counter is kept for each. */
type Write = (message: string, annotations: Annotations) => Effect.Effect<void>

export const make: Effect.Effect<ThrottledLog, never, RelayConfig> = Effect.gen(function*() {
  const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
  const config = yield* RelayConfig
  const intervals = new Map<string, { readonly since: number; written: number; leftOut: number }>()

  const throttled = (write: (message: string) => Effect.Effect<void>): Write => (message, annotations) =>
    Effect.suspend(() => {
      const now = currentTimeMillis()
      let interval = intervals.get(message)
      let leftOut = 0
      if (interval === undefined || now - interval.since >= intervalMs) {
        leftOut = interval?.leftOut ?? 0
        interval = { since: now, written: 0, leftOut: 0 }
        intervals.set(message, interval)
      }
      if (interval.written >= linesPerInterval) {
        interval.leftOut++
        return Effect.void
      }
      interval.written++
      return annotate(write(message), leftOut > 0 ? { ...annotations, leftOut } : annotations)
    })

  const annotate = (log: Effect.Effect<void>, annotations: Annotations) =>
    Effect.annotateLogs(
      log,
      config.logSources === "short" && annotations.source !== undefined
        ? { ...annotations, source: Source.shortened(annotations.source) }
        : annotations
    )

  const debug: ThrottledLog["debug"] = (message, annotations) =>
    Effect.withFiberRuntime((fiber) =>
      LogLevel.greaterThan(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), LogLevel.Debug)
        ? Effect.void
        : annotate(Effect.logDebug(message), annotations())
    )

  return { debug, info: throttled(Effect.logInfo), warn: throttled(Effect.logWarning) }
})
