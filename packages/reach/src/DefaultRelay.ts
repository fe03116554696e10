/**
 * The relays that commands use where nothing else says: those of `TX3_RELAY`, with blanks or commas between them, else those of
 * the file `relay` in the user's folder, one on each line. The file changes only when its user asks for it.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { FileError } from "@tx3/files/FileError"
import { entriesOf, ListError } from "@tx3/files/ListFile"
import * as Address from "@tx3/protocol/Address"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { configFolder } from "./internal/configFolder.js"

/**
 * Where the file is; none without a home.
 *
 * @since 0.1.0
 * @category constants
 */
export const path: Effect.Effect<Option.Option<string>, never, Path.Path> = Effect.gen(function*() {
  const { join } = yield* Path.Path
  return Option.map(yield* configFolder, (folder) => join(folder, "relay"))
})

/** A relay's address, which is not one of this machine. */
const relayIn = (text: string, place: string, line?: number) => {
  const fail = (problem: string) => new ListError({ place, problem, ...line === undefined ? {} : { line } })
  return Either.mapBoth(Address.parseWithDigest(text), {
    onLeft: ({ message }) => fail(message),
    onRight: (address) => address
  }).pipe(
    Either.filterOrLeft(
      ({ scheme }) => scheme === "tx3-rst",
      () => fail(`${text} is no relay's address; write the one that tx3-relay prints, tx3-rst://HOST:PORT/DIGEST`)
    )
  )
}

/**
 * Returns the relays to use; an empty list where nothing says.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read: Effect.Effect<
  ReadonlyArray<string>,
  ListError | FileError,
  FileSystem.FileSystem | Path.Path
> = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const named = yield* Effect.orDie(Config.option(Config.nonEmptyString("TX3_RELAY")))
  if (Option.isSome(named)) {
    return yield* Effect.forEach(
      named.value.split(/[\s,]+/).filter(Boolean),
      (text) => Effect.as(relayIn(text, "TX3_RELAY"), text)
    )
  }
  const file = yield* path
  if (Option.isNone(file)) {
    return []
  }
  const text = yield* fs.readFileString(file.value).pipe(
    Effect.catchIf(
      (error) => error._tag === "SystemError" && error.reason === "NotFound",
      () => Effect.succeed("")
    ),
    Effect.mapError((error) => new FileError({ action: "read", path: file.value, cause: error.cause }))
  )
  return yield* Effect.forEach(
    entriesOf(text),
    ({ content, line }) => Effect.as(relayIn(content, file.value, line), content)
  )
})

/**
 * Makes these the relays to use; none removes the file.
 *
 * @since 0.1.0
 * @category constructors
 */
export const use = (
  file: string,
  relays: ReadonlyArray<string>
): Effect.Effect<void, ListError | FileError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { dirname } = yield* Path.Path
    yield* Effect.forEach(relays, (text) => relayIn(text, "tx3 relay use"))
    const write = Effect.gen(function*() {
      if (relays.length === 0) {
        return yield* fs.remove(file, { force: true })
      }
      yield* fs.makeDirectory(dirname(file), { recursive: true, mode: 0o700 })
      yield* fs.writeFileString(file, `${relays.join("\n")}\n`, { mode: 0o600 })
    })
    yield* Effect.mapError(write, (error) => new FileError({ action: "write", path: file, cause: error.cause }))
  })
