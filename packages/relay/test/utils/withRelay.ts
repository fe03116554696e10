/**
 * Runs a test's body against a relay of its own and looks at what the body leaves behind: no connection, no count, no
 * entry in any map, no defect in the log. Whatever the body opens is closed before that.
 */
import { assert } from "@effect/vitest"
import type { Address } from "@tx3/protocol"
import type { Accepted, RelayError } from "@tx3/relay"
import { Relay, RelayTest } from "@tx3/relay"
import type { Scope } from "effect"
import { Cause, Effect, Logger, LogLevel, TestServices } from "effect"

export interface TestRelay {
  readonly relay: typeof Relay.Relay.Service
  /** The first of its addresses. */
  readonly address: Address.Address
  /** Waits until it has exactly so many connections in these stages. */
  readonly has: (stages: Partial<Record<Accepted.Stage, number>>) => Effect.Effect<void>
  /** Waits until it has turned away so many connections for this reason. */
  readonly rejected: (reason: RelayError.RejectionReason, count: number) => Effect.Effect<void>
  /** `RelayTest.splice`, and waits until the relay has joined the two. */
  readonly splice: (...args: Parameters<typeof RelayTest.splice>) => ReturnType<typeof RelayTest.splice>
}

export type Settings = NonNullable<Parameters<typeof RelayTest.layer>[0]>

/** Everybody here is one source, and may have all of a node. The whole suite is run on each transport: vitest.workspace.ts. */
export const transport = process.env["TX3_TEST_TRANSPORT"] as "kernel" | "portable"

export const withRelay = <A, E>(
  settings: Settings,
  body: (relay: TestRelay) => Effect.Effect<A, E, Scope.Scope>,
  policies = Relay.openPolicies
) =>
  Effect.gen(function*() {
    const result = yield* Effect.scoped(Effect.flatMap(testRelay, body))
    yield* empty
    return result
  }).pipe(Effect.provide(RelayTest.layer({ transport, maxShareOfNode: 1, ...settings }, policies)), withoutDefects)

/** What every test's body must leave behind. */
export const empty = Effect.suspend(() => untilTrue("the relay is empty", RelayTest.empty))

export const testRelay: Effect.Effect<TestRelay, never, Relay.Relay> = Effect.map(Relay.Relay, (relay) => {
  const until = (what: string, holds: (snapshot: Relay.Snapshot) => boolean) =>
    untilTrue(what, RelayTest.eventually(Effect.map(relay.snapshot, holds))).pipe(
      Effect.catchAllDefect((defect) =>
        Effect.flatMap(relay.snapshot, (snapshot) => Effect.dieMessage(`${defect}; it is ${JSON.stringify(snapshot)}`))
      )
    )
  return {
    relay,
    address: relay.addresses[0]!,
    has: (stages) =>
      until(
        `the relay has ${JSON.stringify(stages)}`,
        ({ connections }) =>
          Object.entries(stages).every(([stage, count]) => connections[stage as Accepted.Stage] === count)
      ),
    rejected: (reason, count) => until(`${count} times ${reason}`, ({ totals }) => totals.rejections[reason] === count),
    splice: (node) =>
      Effect.gen(function*() {
        const { totals: before } = yield* relay.snapshot
        const ends = yield* RelayTest.splice(node)
        yield* until("the splice is there", ({ totals }) => totals.splices > before.splices)
        return ends
      })
  }
})

/**
 * Waits on the real clock, which a test with a TestClock goes on having, and says what it waited for in vain instead of
 * vitest's bare time-out. The time decides nothing: 15 s are for ever here.
 */
const untilTrue = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.timeoutFailCause({ duration: "60 seconds", onTimeout: () => Cause.die(`waited in vain until ${what}`) }),
    TestServices.provideLive
  )

/** Swallows the log and fails if something was logged as an error, which a relay does for defects alone. */
export const withoutDefects = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const errors: Array<string> = []
    const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
      if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error)) {
        errors.push(`${String(message)} ${Cause.pretty(cause)}`)
      }
    })
    return effect.pipe(
      Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
      Logger.withMinimumLogLevel(LogLevel.Debug),
      Effect.tap(() => assert.deepStrictEqual(errors, []))
    )
  })
