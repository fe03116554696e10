/**
 * The file that gives nodes names: a digest and its name on each line, and behind them the node's addresses where it has any; a
 * comment begins with `#`. tx3 changes an entry only when its user asks for it.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { FileError } from "@tx3/files/FileError"
import { entriesOf, ListError } from "@tx3/files/ListFile"
import * as TextFile from "@tx3/files/TextFile"
import * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { configFolder } from "./internal/configFolder.js"

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
  /** By name; a name may have none. */
  readonly addresses: ReadonlyMap<string, ReadonlyArray<string>>
}

/**
 * A name that stands for no address.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownName extends Schema.TaggedError<UnknownName>("@tx3/reach/UnknownName")("UnknownName", {
  name: Schema.String,
  path: Schema.String,
  /** What was looked for: an address, and then whether it is a name of a digest without one; or a name alone. */
  wanted: Schema.Literal("address", "address of a digest", "name")
}) {
  override get message(): string {
    return this.wanted === "name"
      ? `there is no name ${JSON.stringify(this.name)} in ${this.path}; tx3 name list shows those there are`
      : this.wanted === "address of a digest"
      ? `${this.name} has no address in ${this.path}; give it one: tx3 name add ${this.name} ADDRESS`
      : `${
        JSON.stringify(this.name)
      } is no address and no name in ${this.path}; write tx3-rst://HOST:PORT/DIGEST, or make it a ` +
        `name: tx3 name add ${/^[\w.-]+$/.test(this.name) ? this.name : "NAME"} ADDRESS`
  }
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
  const known = yield* Effect.orDie(Config.option(Config.nonEmptyString("TX3_KNOWN")))
  const folder = yield* configFolder
  return yield* Option.orElse(known, () => Option.map(folder, (folder) => join(folder, "known"))).pipe(
    // Another user may own the current folder, and the file decides which peers are trusted.
    Effect.mapError(() => new NoKnownFile())
  )
})

const isDigest = Schema.is(CertDigest.CertDigest)

/**
 * Tells whether a text can be a name. A digest is none, so that either can stand for the other.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isName = (text: string): boolean => /^[\w.-]{1,64}$/.test(text) && !text.startsWith("-") && !isDigest(text)

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
    const addresses = new Map<string, ReadonlyArray<string>>()
    for (const { content, line } of entriesOf(text)) {
      const fail = (problem: string) => new ListError({ place: path, line, problem })
      const [digest, name, ...places] = content.split(/\s+/)
      if (!isDigest(digest)) {
        return yield* fail(`${digest} is no digest, the 43 characters at the end of an address`)
      }
      if (name === undefined || !isName(name)) {
        return yield* fail("write a digest and its name, of letters, digits, dots, hyphens and underscores")
      }
      const stray = places.find((place) => digestIn(place) !== digest)
      if (stray !== undefined) {
        return yield* fail(
          `${stray} is no address that ends in ${digest}; behind a name are the addresses of its digest`
        )
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
      addresses.set(name, places.length > 0 ? places : addresses.get(name) ?? [])
    }
    return { path, names, digests, addresses }
  })

const digestIn = (address: string) =>
  Either.match(Address.parseWithDigest(address), { onLeft: () => undefined, onRight: ({ digest }) => digest.value })

/**
 * Returns the addresses that a text stands for: itself if it is one, or those of a name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const addressesOf = (
  known: Known,
  text: string
): Effect.Effect<ReadonlyArray<string>, Address.AddressError | UnknownName> => {
  if (text.includes(":")) {
    return Effect.as(Address.parseWithDigest(text), [text])
  }
  const addresses = known.addresses.get(text) ?? []
  return addresses.length > 0
    ? Effect.succeed(addresses)
    : new UnknownName({
      name: text,
      path: known.path,
      wanted: known.digests.has(text) ? "address of a digest" : "address"
    })
}

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
    ? fail(`${name} is ${other}, and not ${digest}; if you trust the new one as much: tx3 name remove ${name}`)
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
    yield* append(known, `${digest} ${name}`)
    return true
  })

/**
 * Gives a node a name and its addresses. A name that the digest has already stays, and its addresses are replaced.
 *
 * @since 0.1.0
 * @category constructors
 */
export const set = (
  known: Known,
  name: string,
  [first, ...others]: readonly [Address.AddressWithDigest, ...ReadonlyArray<Address.AddressWithDigest>]
): Effect.Effect<void, ListError | FileError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const digest = first.digest.value
    yield* check(known, digest, name)
    const line = [digest, name, first, ...others].join(" ")
    yield* known.names.has(digest)
      ? rewrite(known, name, (_, comment) => `${line}${comment}`)
      : append(known, line)
  })

/**
 * Takes a name away.
 *
 * @since 0.1.0
 * @category constructors
 */
export const remove = (
  known: Known,
  name: string
): Effect.Effect<void, UnknownName | FileError, FileSystem.FileSystem> =>
  Effect.zipRight(mustHave(known, name), rewrite(known, name, () => undefined))

/**
 * Gives a node another name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rename = (
  known: Known,
  from: string,
  to: string
): Effect.Effect<void, ListError | UnknownName | FileError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const digest = yield* mustHave(known, from)
    yield* check({ ...known, names: new Map() }, digest, to)
    yield* rewrite(known, from, ([digest, , ...places], comment) => [digest, to, ...places].join(" ") + comment)
  })

const mustHave = (known: Known, name: string) => {
  const digest = known.digests.get(name)
  return digest === undefined
    ? Effect.fail(new UnknownName({ name, path: known.path, wanted: "name" }))
    : Effect.succeed(digest)
}

/** Writes the lines of a name anew, or leaves them out, and keeps all others. */
const rewrite = (
  { path }: Known,
  name: string,
  change: (words: ReadonlyArray<string>, comment: string) => string | undefined
) =>
  Effect.gen(function*() {
    const lines = (yield* TextFile.read(path)).split("\n").flatMap((line) => {
      const [, content, comment] = /^([^#]*?)(\s*(?:#.*)?)$/.exec(line)!
      const words = content!.trim().split(/\s+/)
      const changed = words[1] === name ? change(words, comment!.trimEnd()) : line
      return changed === undefined ? [] : [changed]
    })
    yield* TextFile.replace(path, lines.join("\n"))
  })

const append = ({ path }: Known, line: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { dirname } = yield* Path.Path
    yield* fs.makeDirectory(dirname(path), { recursive: true, mode: 0o700 })
    const text = yield* Effect.orElseSucceed(fs.readFileString(path), () => "")
    yield* fs.writeFileString(path, `${/[^\n]$/.test(text) ? "\n" : ""}${line}\n`, { flag: "a", mode: 0o600 })
  }).pipe(Effect.mapError((error) => new FileError({ action: "write", path, cause: error.cause })))

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
