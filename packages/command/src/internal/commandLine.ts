/**
 * The arguments of a program, looked at before @effect/cli parses them: it blames a missing command for each flag that it does
 * not know, and has no help, version or suggestions. What is left to it are values, and arguments that are missing.
 */
import * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Usage from "@effect/cli/Usage"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import leven from "leven"
import { stripVTControlCharacters } from "node:util"
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

/** Returns the name that was most likely meant; none where no name is near. */
const nearest = (given: string, names: Iterable<string>): string | undefined => {
  const word = (name: string) => name.replace(/^-+/, "").toLowerCase()
  const isLetter = word(given).length === 1
  const distances = Array.from(names, (name) => {
    const distance = isLetter ? (word(name).startsWith(word(given)) ? 0 : Infinity) : leven(word(given), word(name))
    return [distance, name] as const
  }).filter(([distance, name]) => distance <= Math.max(1, Math.floor(word(name).length / 3)))
  return distances.sort(([one], [other]) => one - other)[0]?.[1]
}

const unknown = (what: string, given: string, names: Iterable<string>) => {
  const name = nearest(given, names)
  return `there is no ${what} ${JSON.stringify(given)};${name === undefined ? "" : ` did you mean ${name}?`}`
}

/** What the arguments are to @effect/cli, and the words that name the command they are for. */
export interface CommandLine {
  readonly args: ReadonlyArray<string>
  readonly words: ReadonlyArray<string>
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

    const helpFor = (word: string | undefined) => ({
      args: word !== undefined && commands.has(word) ? [word, "--help"] : ["--help"],
      words: [program]
    })

    const before = yield* walk(0, flagsOf(command.descriptor), program, true)
    const name = given[before.at]
    if (before.isHelpAsked) {
      return helpFor(given.slice(before.at).find((word) => commands.has(word)))
    }
    if (name === undefined || name === "--") {
      return { args: given, words: [program] }
    }
    if (name === "help") {
      return helpFor(given[before.at + 1])
    }
    if (name === "version") {
      return { args: ["--version"], words: [program] }
    }
    const found = commands.get(name)
    if (found === undefined) {
      return yield* fail(`${unknown("command", name, commands.keys())} ${program} --help lists the commands there are`)
    }
    const words = [program, name]
    const { isHelpAsked } = yield* walk(before.at + 1, flagsOf(found), words.join(" "), false)
    return { args: isHelpAsked ? [name, "--help"] : given, words }
  })

/** How a command is called, for a message about a call that cannot be done. */
export const usageOf = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  words: ReadonlyArray<string>
): string => {
  const [program, name] = words as [string, string?]
  const found = name === undefined ? command.descriptor : HashMap.unsafeGet(Command.getSubcommands(command), name)
  const usage = HelpDoc.toAnsiText(Usage.getHelp(CommandDescriptor.getUsage(found)))
  const line = stripVTControlCharacters(usage).replace(/\s+/g, " ").trim()
  return name === undefined ? line : `${program} ${line}`
}
