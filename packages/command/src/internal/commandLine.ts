/**
 * Reads the arguments of a program before @effect/cli parses them: that blames a missing command for each flag that it does not
 * know, and has no help, version or suggestions. It still checks values, and finds missing arguments.
 */
import * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import type * as Usage from "@effect/cli/Usage"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import { stripVTControlCharacters } from "node:util"
import * as Help from "../Help.js"
import { nearest } from "../Nearest.js"
import { UsageError } from "../UsageError.js"

/** Flags that @effect/cli takes with every command, and whether each takes a value. */
const everywhere: ReadonlyArray<readonly [flag: string, takesValue: boolean]> = [
  ["--help", false],
  ["-h", false],
  ["--version", false],
  ["--wizard", false],
  ["--completions", true],
  ["--log-level", true]
]

type Flags = ReadonlyMap<string, boolean>

type Descriptor = CommandDescriptor.Command<unknown>

const flagsIn = (usage: Usage.Usage): ReadonlyArray<readonly [flag: string, takesValue: boolean]> => {
  switch (usage._tag) {
    case "Named":
      return usage.names.filter((name) => name.startsWith("-"))
        .map((name) => [name, Option.isSome(usage.acceptedValues)] as const)
    case "Optional":
    case "Repeated":
      return flagsIn(usage.usage)
    case "Alternation":
    case "Concat":
      return [...flagsIn(usage.left), ...flagsIn(usage.right)]
    case "Empty":
    case "Mixed":
      return []
  }
}

const flagsOf = (command: Descriptor): Flags =>
  new Map([...flagsIn(CommandDescriptor.getUsage(command)), ...everywhere])

const unknown = (what: string, given: string, names: Iterable<string>) => {
  const name = nearest(given, names)
  return `there is no ${what} ${JSON.stringify(given)};${name === undefined ? "" : ` did you mean ${name}?`}`
}

/** The arguments for @effect/cli, and the words that name the command that they or the request for help are for. */
export interface CommandLine {
  readonly args: ReadonlyArray<string>
  readonly words: ReadonlyArray<string>
  readonly isHelpAsked: boolean
}

export const read = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  program: string,
  given: ReadonlyArray<string>
): Effect.Effect<CommandLine, UsageError> =>
  Effect.gen(function*() {
    const commands = new Map<string, Descriptor>(HashMap.toEntries(Command.getSubcommands(command)))
    const fail = (message: string) => new UsageError({ message })

    /** Walks over flags and their values; returns where the first other argument is. */
    const walk = (from: number, flags: Flags, words: string, stopAtWord: boolean) => {
      let at = from
      for (; at < given.length && given[at] !== "--"; at++) {
        const [flag] = given[at]!.split("=", 1) as [string]
        if (!flag.startsWith("-") || flag === "-") {
          if (stopAtWord) {
            return Effect.succeed({ at, isHelpAsked: false })
          }
          continue
        }
        if (flag === "--help" || flag === "-h") {
          return Effect.succeed({ at, isHelpAsked: true })
        }
        const takesValue = flags.get(flag)
        if (takesValue === undefined) {
          return fail(unknownFlag(flag, at, flags, words))
        }
        if (takesValue && !given[at]!.includes("=")) {
          at++
          if (at === given.length) {
            return fail(`${flag} needs a value; ${words} --help says which`)
          }
        }
      }
      return Effect.succeed({ at, isHelpAsked: false })
    }

    const unknownFlag = (flag: string, at: number, flags: Flags, words: string) => {
      const behind = given.slice(at + 1).find((word) => commands.has(word))
      if (words === program && behind !== undefined && flagsOf(commands.get(behind)!).has(flag)) {
        return `the flag ${flag} goes behind the command: ${program} ${behind} ${flag}`
      }
      return `${unknown("flag", flag, flags.keys())} ${words} --help lists the flags there are`
    }

    const helpFor = (word: string | undefined) => {
      const name = word !== undefined && commands.has(word) ? [word] : []
      return { args: [...name, "--help"], words: [program, ...name], isHelpAsked: true }
    }

    const before = yield* walk(0, flagsOf(command.descriptor), program, true)
    const name = given[before.at]
    if (before.isHelpAsked) {
      return helpFor(given.slice(before.at).find((word) => commands.has(word)))
    }
    if (name === undefined || name === "--") {
      return { args: given, words: [program], isHelpAsked: false }
    }
    if (name === "help") {
      return helpFor(given[before.at + 1])
    }
    if (name === "version") {
      return { args: ["--version"], words: [program], isHelpAsked: false }
    }
    const found = commands.get(name)
    if (found === undefined) {
      return yield* fail(`${unknown("command", name, commands.keys())} ${program} --help lists the commands there are`)
    }
    const words = [program, name]
    const { isHelpAsked } = yield* walk(before.at + 1, flagsOf(found), words.join(" "), false)
    return isHelpAsked ? helpFor(name) : { args: given, words, isHelpAsked }
  })

/** Describes the command that these words name. */
export const helpOf = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  words: ReadonlyArray<string>
): Help.Help => {
  const [, name] = words
  const found = name === undefined ? command.descriptor : HashMap.unsafeGet(Command.getSubcommands(command), name)
  return Help.of(found, words.join(" "))
}

/** Messages of @effect/cli (0.77) on arguments, and their wording here. */
const problems: ReadonlyArray<readonly [pattern: RegExp, problem: string]> = [
  [/^Missing argument <([^>]+)>.*$/, "$1 is missing"],
  [/^Expected to find option: '([^']+)'.*$/, "$1 is missing"],
  [/^Expected at least 1 value\(s\) for option: '([^']+)'.*$/, "$1 is missing"],
  [/^Expected at least 1 value\(s\) for argument: '<?([^'>]+)>?'.*$/, "$1 is missing"],
  [/^Received unknown argument: '(.*)'$/, "there is one argument too many: $1"],
  [/^Path '(.*)' must exist$/, "$1: there is no such file or folder"],
  [/^Expected path '(.*)' to be a directory$/, "$1 is not a folder"],
  [/^Expected one of the following cases: (.*)$/, "the argument must be one of $1"]
]

/** Returns the problem of some arguments, from the message of @effect/cli. */
export const problemIn = (text: string): string => {
  const said = stripVTControlCharacters(text).replace(/\s+/g, " ").trim()
  return problems.reduce((said, [pattern, problem]) => said.replace(pattern, problem), said)
}
