/**
 * The file that gives digests names: a digest and its name on each line, a comment begins with `#`. tx3 adds
 * an entry only when its user asks for it.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { FileError } from "@tx3/files/FileError"
import { entriesOf, ListError } from "@tx3/files/ListFile"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * Nothing says where the file of names is.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoKnownFile extends Schema.TaggedError<NoKnownFile>("@tx3/reach/NoKnownFile")("NoKnownFile", {}) {
  override get message(): string {
    return "there is no HOME, so no file of names; name one with --known FILE (known: in tx3.yml), or set TX3_KNOWN"
  }
}

/**
 * Digests by their names, and names by their digests.
 *
 * @since 0.1.0
 * @category models
 */
export interface Known {
  readonly path: string
  readonly names: ReadonlyMap<CertDigest.CertDigest, string>
  readonly digests: ReadonlyMap<string, CertDigest.CertDigest>
}

/**
 * Where names are kept unless something else is said: at `$TX3_KNOWN`, else `tx3/known` in `$XDG_CONFIG_HOME` or `~/.config`,
 * where `~` is `$HOME`, else `$USERPROFILE`.
 * Fails where none of these is set.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPath: Effect.Effect<string, NoKnownFile, Path.Path> = Effect.gen(function*() {
  const { join } = yield* Path.Path
  const [known, configHome, homeOfPosix, homeOfWindows] = yield* Effect.all(
    ["TX3_KNOWN", "XDG_CONFIG_HOME", "HOME", "USERPROFILE"].map((name) => Config.option(Config.nonEmptyString(name)))
  ).pipe(Effect.orDie)
  const home = Option.orElse(homeOfPosix!, () => homeOfWindows!)
  const folder = Option.orElse(configHome!, () => Option.map(home, (home) => join(home, ".config")))
  return yield* Option.orElse(known!, () => Option.map(folder, (folder) => join(folder, "tx3", "known"))).pipe(
    // Another user may own the current folder, and the file decides which peers are trusted.
    Effect.mapError(() => new NoKnownFile())
  )
})

const isDigest = Schema.is(CertDigest.CertDigest)

/** A digest is no name, so that either can stand for the other. */
const isName = (text: string) => /^[\w.-]{1,64}$/.test(text) && !text.startsWith("-") && !isDigest(text)

/**
 * Reads a file of names; none is one without names.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (path: string): Effect.Effect<Known, ListError | FileError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const text = yield* fs.readFileString(path).pipe(
      Effect.catchIf(isMissing, () => Effect.succeed("")),
      Effect.mapError((error) => new FileError({ action: "read", path, cause: error.cause }))
    )
    const names = new Map<CertDigest.CertDigest, string>()
    const digests = new Map<string, CertDigest.CertDigest>()
    for (const { content, line } of entriesOf(text)) {
      const fail = (problem: string) => new ListError({ place: path, line, problem })
      const [digest, name, ...rest] = content.split(/\s+/)
      if (!isDigest(digest)) {
        return yield* fail(`${digest} is no digest, the 43 characters at the end of an address`)
      }
      if (name === undefined || !isName(name) || rest.length > 0) {
        return yield* fail("write a digest and its name, of letters, digits, dots, hyphens and underscores")
      }
      const other = names.get(digest) ?? digests.get(name)
      // The same line twice is what two --name at the same time leave.
      if (other !== undefined && other !== name) {
        return yield* fail(
          names.has(digest) ? `${digest} has the name ${other} already` : `${name} is ${other} already`
        )
      }
      names.set(digest, name)
      digests.set(name, digest)
    }
    return { path, names, digests }
  })

const isMissing = (error: PlatformError.PlatformError) => error._tag === "SystemError" && error.reason === "NotFound"

/**
 * Tells whether a digest can have a name: it has that name or none, and no other digest has it. Fails with the reason.
 *
 * @since 0.1.0
 * @category accessors
 */
export const check = (
  known: Known,
  digest: CertDigest.CertDigest,
  name: string
): Effect.Effect<void, ListError> => {
  const fail = (problem: string) => new ListError({ place: known.path, problem })
  const other = known.digests.get(name)
  const present = known.names.get(digest)
  return !isName(name)
    ? fail(`${JSON.stringify(name)} is no name; use up to 64 letters, digits, dots, hyphens and underscores`)
    : other !== undefined && other !== digest
    ? fail(`${name} is ${other}, and not ${digest}; if you trust the new one as much, remove the old line`)
    : present !== undefined && present !== name
    ? fail(`${digest} has the name ${present} already; change it there`)
    : Effect.void
}

/**
 * Gives a digest a name, in a line at the end of the file, which is made if there is none. Does nothing where it has it, and
 * says whether it did something.
 *
 * @since 0.1.0
 * @category constructors
 */
export const add = (
  known: Known,
  digest: CertDigest.CertDigest,
  name: string
): Effect.Effect<boolean, ListError | FileError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    yield* check(known, digest, name)
    if (known.names.has(digest)) {
      return false
    }
    const fs = yield* FileSystem.FileSystem
    const { dirname } = yield* Path.Path
    const { path } = known
    yield* fs.makeDirectory(dirname(path), { recursive: true, mode: 0o700 }).pipe(
      Effect.zipRight(Effect.orElseSucceed(fs.readFileString(path), () => "")),
      Effect.flatMap((text) =>
        fs.writeFileString(path, `${/[^\n]$/.test(text) ? "\n" : ""}${digest} ${name}\n`, { flag: "a", mode: 0o600 })
      ),
      Effect.mapError((error) => new FileError({ action: "write", path, cause: error.cause }))
    )
    return true
  })

/**
 * Formats a peer for people: its name and the first characters of its digest, or the whole digest without a name.
 *
 * @since 0.1.0
 * @category getters
 */
export const called = (digest: CertDigest.CertDigest, name: Option.Option<string>): string =>
  Option.match(name, { onNone: () => digest, onSome: (name) => `${name} (${CertDigest.short(digest)})` })

/**
 * Looks up the name that a digest has now.
 *
 * @since 0.1.0
 * @category models
 */
export type Names = (digest: CertDigest.CertDigest) => Effect.Effect<Option.Option<string>>

/**
 * The names of a file, which is read each time; one that cannot be used has none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const namesIn = (path: string): Effect.Effect<Names, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) => (digest: CertDigest.CertDigest) =>
    read(path).pipe(
      Effect.map(({ names }) => Option.fromNullable(names.get(digest))),
      Effect.orElseSucceed(() => Option.none<string>()),
      Effect.provideService(FileSystem.FileSystem, fs)
    ))
