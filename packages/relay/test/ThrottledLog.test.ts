import { assert, describe, it } from "@effect/vitest"
import { Source } from "@tx3/protocol"
import { RelayConfig } from "@tx3/relay"
import { Effect, HashMap, Logger, TestClock } from "effect"
import * as ThrottledLog from "../src/internal/throttledLog.js"
import { settableClock } from "./utils/settableClock.js"

/** Runs the body with a throttled log and gives the lines it wrote: level, message, annotations. */
const linesOf = (
  body: (log: ThrottledLog.ThrottledLog) => Effect.Effect<void>,
  logSources: "full" | "short" = "full"
) =>
  Effect.gen(function*() {
    const lines: Array<readonly [string, string, Record<string, unknown>]> = []
    const logger = Logger.make<unknown, void>(({ annotations, logLevel, message }) => {
      lines.push([logLevel.label, String(message), Object.fromEntries(HashMap.toEntries(annotations))])
    })
    yield* Effect.flatMap(ThrottledLog.make, body).pipe(
      Effect.provide([
        Logger.replace(Logger.defaultLogger, logger),
        RelayConfig.layer({ bind: ["tx3-rst://192.0.2.9:1"], logSources })
      ])
    )
    return lines
  })

describe("ThrottledLog", () => {
  for (
    const [logSources, v4, v6] of [
      ["full", "192.0.2.77", "2001:db8:1:2::/64"],
      ["short", "192.0.2.0/24", "2001:db8:1::/48"]
    ] as const
  ) {
    it.effect(`logSources: ${logSources}`, () =>
      Effect.gen(function*() {
        const lines = yield* linesOf(
          (log) =>
            Effect.sync(() => {
              log.warn("one", { source: Source.fromAddress("192.0.2.77") })
              log.info("two", { source: Source.fromAddress("2001:db8:1:2:3::4") })
            }),
          logSources
        )
        assert.deepStrictEqual(lines, [["WARN", "one", { source: v4 }], ["INFO", "two", { source: v6 }]])
      }))
  }

  it.effect("writes 20 lines of a message in 10 s, and then how many it left out", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf((log) =>
        Effect.gen(function*() {
          for (let n = 0; n < 50; n++) {
            log.warn("too many", { n })
          }
          yield* TestClock.adjust("9999 millis")
          log.warn("too many", { n: 50 })
          yield* TestClock.adjust("1 millis")
          log.warn("too many", { n: 51 })
          log.warn("too many", { n: 52 })
        })
      )
      assert.strictEqual(lines.length, 22)
      assert.deepStrictEqual(lines[19], ["WARN", "too many", { n: 19 }])
      assert.deepStrictEqual(lines[20], ["WARN", "too many", { n: 51, leftOut: 31 }])
      assert.deepStrictEqual(lines[21], ["WARN", "too many", { n: 52 }])
    }))

  it.effect("goes on after the wall clock was set back by an hour", () =>
    Effect.gen(function*() {
      const testClock = yield* Effect.clock
      const { clock, setAhead } = yield* settableClock
      const lines = yield* Effect.withClock(
        linesOf((log) =>
          Effect.gen(function*() {
            for (let n = 0; n < 25; n++) {
              log.warn("too many", { n })
            }
            setAhead(-3_600_000)
            yield* TestClock.adjust("10 seconds").pipe(Effect.withClock(testClock))
            log.warn("too many", { n: 25 })
          })
        ),
        clock
      )
      assert.deepStrictEqual(lines.slice(20), [["WARN", "too many", { n: 25, leftOut: 5 }]])
    }))

  it.effect("leaves nothing out where there is little, and counts each message on its own", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf((log) =>
        Effect.gen(function*() {
          for (let n = 0; n < 25; n++) {
            log.info("often", {})
          }
          for (let n = 0; n < 30; n++) {
            log.info("seldom", { n })
            yield* TestClock.adjust("1 second")
          }
        })
      )
      assert.strictEqual(lines.filter(([, message]) => message === "often").length, 20)
      assert.deepStrictEqual(lines[20], ["INFO", "seldom", { n: 0 }])
      assert.deepStrictEqual(
        lines.slice(20),
        Array.from({ length: 30 }, (_, n) => ["INFO", "seldom", { n }] as const)
      )
    }))
})
