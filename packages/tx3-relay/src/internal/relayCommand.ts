/**
 * `tx3-relay` with the flags that stand before a command, and what of them holds for which command. It owns nothing.
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { repeatable } from "@tx3/command/Repeatable"
import { UsageError } from "@tx3/command/UsageError"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const init = Options.boolean("init").pipe(
  Options.withAlias("i"),
  Options.withDescription("Write a new file with a new identity, and exit; a file that exists is left as it is")
)

export const bind = repeatable("bind").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription("An address to listen on, tx3-rst://HOST:PORT, in place of the file's; may be repeated"),
  Options.repeated
)

export const identity = Options.text("identity").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The relay's certificate and key, a PEM file as tx3 keygen makes it, in place of those in its file; without it that " +
      "of TX3_RELAY_IDENTITY; with --init, made anew"
  ),
  Options.optional
)

const port = Options.integer("port").pipe(
  Options.withPseudoName("N"),
  Options.withDescription(
    `With --init: the port to listen on, on all IPv4 addresses; ${RelayFile.defaultPort} without it`
  ),
  Options.optional
)

/** Which relay a command is about. */
export const relayFile = Options.text("config").pipe(
  Options.withAlias("c"),
  Options.withPseudoName("FILE"),
  Options.withDescription("The relay's file; without it that of TX3_RELAY_CONFIG, or ./tx3-relay.yml"),
  Options.optional
)

/** The flags before a command, which its handler gets as `yield* relayCommand`. */
export const relayCommand = Command.make("tx3-relay", { bind, file: relayFile, identity, init, port })

const ofEnvironment = (name: string) => Config.option(Config.string(name)).pipe(Effect.orDie)

/** The file that is named by a flag or by the environment, if it is. */
export const namedFile = (flag: Option.Option<string>) =>
  Option.isSome(flag) ? Effect.succeed(flag) : ofEnvironment("TX3_RELAY_CONFIG")

export const defaultFile = "./tx3-relay.yml"

export interface WhichFlags {
  readonly bind: ReadonlyArray<string>
  readonly file: Option.Option<string>
  readonly identity: Option.Option<string>
}

/** Which relay these flags, and where they do not say it the environment, are about. */
export const whichOf = ({ bind, file, identity }: WhichFlags) =>
  Effect.gen(function*() {
    return {
      bind,
      file: Option.getOrElse(yield* namedFile(file), () => defaultFile),
      identity: Option.isSome(identity) ? identity : yield* ofEnvironment("TX3_RELAY_IDENTITY")
    }
  })

/** The flags before a command, refused but for those that hold for it. */
export const flagsBefore = (command: string, holding: ReadonlyArray<"bind" | "config" | "identity">) =>
  Effect.gen(function*() {
    const flags = yield* relayCommand
    const given = {
      bind: flags.bind.length > 0,
      config: Option.isSome(flags.file),
      identity: Option.isSome(flags.identity),
      init: flags.init,
      port: Option.isSome(flags.port)
    }
    const stray = Object.entries(given).find(([name, isGiven]) => isGiven && !holding.includes(name as "config"))
    if (stray !== undefined) {
      return yield* new UsageError({ message: `--${stray[0]} does not go with the command ${command}; leave it out` })
    }
    return flags
  })
