/** The allowlist that the flags of a command describe. */
import * as AllowList from "@tx3/reach/AllowList"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { tell } from "./tell.js"

export const knownPath = (known: Option.Option<string>) =>
  Option.match(known, { onNone: () => KnownFile.defaultPath, onSome: (path) => Effect.succeed(path) })

/** Returns the allowlist of these flags; none without flags, and then the file of names need not exist. */
export const allowsOf = (options: {
  readonly allow: ReadonlyArray<string>
  readonly allowFile: Option.Option<string>
  readonly known: Option.Option<string>
}) =>
  options.allow.length === 0 && Option.isNone(options.allowFile)
    ? Effect.succeed(Option.none<AllowList.Allows>())
    : knownPath(options.known).pipe(
      Effect.flatMap((known) =>
        AllowList.make({
          entries: options.allow.length === 0 ? undefined : options.allow,
          place: "--allow",
          file: options.allowFile,
          known,
          tell
        })
      ),
      Effect.map(Option.map(({ allows }) => allows))
    )
