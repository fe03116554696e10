/** The flags that say who may connect, of every command that takes connections. */
import * as Options from "@effect/cli/Options"
import { repeatable } from "@tx3/command/Repeatable"
import * as AllowList from "@tx3/reach/AllowList"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { tell } from "./tell.js"

export const known = Options.text("known").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The file of names, a digest and its name on each line; without it that of TX3_KNOWN, or ~/.config/tx3/known"
  ),
  Options.optional
)

export const knownPath = (known: Option.Option<string>) =>
  Option.match(known, { onNone: () => KnownFile.defaultPath, onSome: (path) => Effect.succeed(path) })

export const allow = repeatable("allow").pipe(
  Options.withPseudoName("DIGEST"),
  Options.withDescription("Who may connect: the end of an address, or a name from the file of names; may be repeated"),
  Options.repeated
)

export const allowFile = Options.text("allow-file").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The same from a file, one on each line and comments behind #; it is read again when it changes"
  ),
  Options.optional
)

/** Who may connect. None where nothing was said of it, and then the file of names need not be. */
export const allowsOf = (options: {
  readonly allow: ReadonlyArray<string>
  readonly allowFile: Option.Option<string>
  readonly known: Option.Option<string>
}) =>
  options.allow.length === 0 && Option.isNone(options.allowFile)
    ? Effect.succeed(Option.none<AllowList.Allows>())
    : Effect.flatMap(knownPath(options.known), (known) =>
      AllowList.make({
        entries: options.allow.length === 0 ? undefined : options.allow,
        place: "--allow",
        file: options.allowFile,
        known,
        tell
      }))
