/** The work of `tx3 logs`. */
import { printable } from "@tx3/command/Printable"
import { UsageError } from "@tx3/command/UsageError"
import * as UpFile from "@tx3/reach/UpFile"
import type * as UpLog from "@tx3/reach/UpLog"
import * as UpStatus from "@tx3/reach/UpStatus"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { notUp } from "../notUp.js"

/** How often new lines are asked for. */
const followEveryMs = 500

export const run = ({ config, follow, lines, since }: {
  readonly config: string
  readonly follow: boolean
  readonly lines: Option.Option<number>
  readonly since: Option.Option<string>
}) =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const from = yield* Option.match(since, {
      onNone: () => Effect.succeed(-Infinity),
      onSome: (text) => beginOf(text, now)
    })
    const { status: path } = yield* UpFile.read(config)
    const after = (number: number) => Effect.mapError(UpStatus.log(path, number), notUp(config, path))
    const before = yield* after(0)
    let last = before.at(-1)?.number ?? 0
    const chosen = before.filter(({ at }) => at >= from)
    yield* print(
      Option.match(lines, { onNone: () => chosen, onSome: (count) => count === 0 ? [] : chosen.slice(-count) })
    )
    if (follow) {
      const next = Effect.flatMap(Effect.suspend(() => after(last)), (lines) => {
        last = lines.at(-1)?.number ?? last
        return print(lines)
      })
      yield* Effect.repeat(next, Schedule.spaced(followEveryMs))
    }
  })

const print = (lines: ReadonlyArray<UpLog.Line>) =>
  Effect.forEach(
    lines,
    ({ at, text }) => Console.log(`${new Date(at).toISOString().replace(/\.\d+/, "")} ${printable(text)}`),
    { discard: true }
  )

const units = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** The moment that `--since` says: an age, as 10m, or a time, as 2026-01-31T12:00:00Z. */
const beginOf = (text: string, now: number) => {
  const [, number, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const at = unit === undefined ? Date.parse(text) : now - Number(number) * units[unit as keyof typeof units]
  return Number.isNaN(at)
    ? new UsageError({
      message: `--since ${
        JSON.stringify(text)
      }: write an age, as 90s, 10m, 2h or 1d, or a time, as 2026-01-31T12:00:00Z`
    })
    : Effect.succeed(at)
}
