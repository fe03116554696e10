/**
 * Logs about what strangers do, at a bounded rate: of each message the first few lines in every interval, and the number
 * of those left out with the next one that is written. Plain calls, since most of them write nothing; a line that is written
 * has a fiber, with the loggers and the level of the effect that made the log.
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Source from "@tx3/protocol/Source"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as LogLevel from "effect/LogLevel"
import * as Runtime from "effect/Runtime"
import { RelayConfig } from "../RelayConfig.js"

const intervalMs = 10_000
const linesPerInterval = 20

export interface ThrottledLog {
  /** Has no bound: an operator asks for it. At a higher level it costs only the comparison of the levels. */
  readonly debug: (message: string, annotations: () => Annotations) => void
  readonly info: Write
  readonly warn: Write
}

interface Annotations extends Record<string, unknown> {
  readonly source?: Source.Source
}

/** Messages are constants: one counter is kept for each. */
type Write = (message: string, annotations: Annotations) => void

export const make: Effect.Effect<ThrottledLog, never, RelayConfig> = Effect.gen(function*() {
  const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
  const config = yield* RelayConfig
  const runtime = yield* Effect.runtime()
  const run = Runtime.runFork(runtime)
  const minimum = FiberRefs.getOrDefault(runtime.fiberRefs, FiberRef.currentMinimumLogLevel)
  const intervals = new Map<string, { readonly since: number; written: number; leftOut: number }>()

  const throttled = (write: (message: string) => Effect.Effect<void>): Write => (message, annotations) => {
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
      return
    }
    interval.written++
    run(annotate(write(message), leftOut > 0 ? { ...annotations, leftOut } : annotations))
  }

  const annotate = (log: Effect.Effect<void>, annotations: Annotations) =>
    Effect.annotateLogs(
      log,
      config.logSources === "short" && annotations.source !== undefined
        ? { ...annotations, source: Source.shortened(annotations.source) }
        : annotations
    )

  const debug: ThrottledLog["debug"] = (message, annotations) => {
    if (LogLevel.lessThanEqual(minimum, LogLevel.Debug)) {
      run(annotate(Effect.logDebug(message), annotations()))
    }
  }

  return { debug, info: throttled(Effect.logInfo), warn: throttled(Effect.logWarning) }
})
