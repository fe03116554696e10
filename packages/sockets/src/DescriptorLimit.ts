/**
 * The descriptor limit of this process. Every socket takes one descriptor.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fs from "node:fs"

/**
 * The soft limit on open descriptors (`ulimit -n`), which Node raises to the hard one when it starts; none where the
 * system does not tell or sets no limit. Source: proc(5), /proc/PID/limits.
 *
 * @since 0.1.0
 * @category getters
 */
export const descriptorLimit: Effect.Effect<Option.Option<number>> = Effect.try(() =>
  Fs.readFileSync("/proc/self/limits", "utf8")
).pipe(
  Effect.map((limits) => /^Max open files\s+(\d+)/m.exec(limits)?.[1]),
  Effect.map((digits) => digits === undefined ? Option.none() : Option.some(Number(digits))),
  Effect.orElseSucceed(() => Option.none())
)
