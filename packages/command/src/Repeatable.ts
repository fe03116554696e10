/**
 * Options that may be given several times, and how they are written on a command line.
 *
 * @since 0.1.0
 */
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import { UsageError } from "./UsageError.js"

const flags = new Set<string>()

/**
 * Makes an option of text that may be repeated, for `Options.repeated` or `Options.atLeast`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const repeatable = (name: string): Options.Options<string> => {
  flags.add(`--${name}`)
  return Options.text(name)
}

/**
 * Writes `--NAME=VALUE` of repeatable options as `--NAME VALUE`, the only form that @effect/cli (0.77) takes of these. It also
 * passes over one whose value is empty or missing, and `--allow ""` must not allow every peer.
 *
 * @since 0.1.0
 * @category running
 */
export const withSeparateValues = (argv: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, UsageError> =>
  Effect.gen(function*() {
    const separate: Array<string> = []
    const given = argv.values()
    for (const argument of given) {
      if (argument === "--") {
        return [...separate, argument, ...given]
      }
      const equals = argument.indexOf("=")
      const flag = equals === -1 ? argument : argument.slice(0, equals)
      if (!flags.has(flag)) {
        separate.push(argument)
        continue
      }
      const value = equals === -1 ? given.next().value : argument.slice(equals + 1)
      if (value === undefined || value.trim() === "") {
        return yield* new UsageError({ message: `${flag} needs a value` })
      }
      separate.push(flag, value)
    }
    return separate
  })
