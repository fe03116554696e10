/**
 * The list of peers that may connect to an exposed service: digests, or names of the file of names. Each connection checks
 * whether the list's file has changed, and reads it again if so. A file that has become unusable is reported once, and the
 * list stays as it was.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type { FileError } from "@tx3/files/FileError"
import { entriesOf, ListError } from "@tx3/files/ListFile"
import * as TextFile from "@tx3/files/TextFile"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as KnownFile from "./KnownFile.js"

/**
 * The allowlist: the digests of `entries` and of `file`. Without either every peer may connect, with an empty list none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Digests and names. */
  readonly entries: ReadonlyArray<string> | undefined

  /** Where they stand, to be told in errors. */
  readonly place: string

  readonly file: Option.Option<string>

  /** The file of names. */
  readonly known: string

  /** Told when the file has changed: that it is used as it is now, or why it is not. */
  readonly tell: (text: string) => Effect.Effect<void>
}

/**
 * Tells whether a peer may connect.
 *
 * @since 0.1.0
 * @category models
 */
export type Allows = (peer: CertDigest.CertDigest) => Effect.Effect<boolean>

/**
 * The lists as they are in effect.
 *
 * @since 0.1.0
 * @category models
 */
export interface AllowList {
  readonly allows: Allows

  /** The peers that may connect, and whether each stands in the list's file or among the entries that were given. */
  readonly peers: Effect.Effect<ReadonlyMap<CertDigest.CertDigest, "file" | "entries">>

  readonly file: Option.Option<string>
}

/**
 * Reads the lists. None where neither is set.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  Option.Option<AllowList>,
  ListError | FileError,
  FileSystem.FileSystem
> =>
  Effect.gen(function*() {
    const { entries, file, known, place, tell } = options
    if (entries === undefined && Option.isNone(file)) {
      return Option.none()
    }
    const fs = yield* FileSystem.FileSystem
    const digests = new Set<CertDigest.CertDigest>()
    const names = yield* KnownFile.read(known)
    for (const entry of entries ?? []) {
      digests.add(yield* digestOf(names, entry, { place }))
    }
    const made = (ofFile: Effect.Effect<ReadonlySet<CertDigest.CertDigest>>): AllowList => ({
      allows: (peer) => Effect.map(ofFile, (ofFile) => digests.has(peer) || ofFile.has(peer)),
      peers: Effect.map(ofFile, (ofFile) =>
        new Map<CertDigest.CertDigest, "file" | "entries">([
          ...Array.from(ofFile, (peer) => [peer, "file"] as const),
          ...Array.from(digests, (peer) => [peer, "entries"] as const)
        ])),
      file
    })
    if (Option.isNone(file)) {
      return Option.some(made(Effect.succeed(new Set<CertDigest.CertDigest>())))
    }

    const path = file.value
    const readFile = (path: string) => Effect.orElseSucceed(fs.readFileString(path), () => undefined)
    // The lists are small, and comparing them finds every change, which times and sizes do not.
    const texts = Effect.map(Effect.all([readFile(path), readFile(known)]), (texts) => JSON.stringify(texts))
    const readAll = Effect.gen(function*() {
      const names = yield* KnownFile.read(known)
      const ofFile = yield* Effect.forEach(
        entriesOf(yield* TextFile.read(path)),
        ({ content, line }) => digestOf(names, content, { line, place: path })
      )
      return new Set(ofFile)
    })

    let seen = yield* texts
    let ofFile = yield* readAll
    const readAgain = readAll.pipe(
      Effect.flatMap((allowed) => {
        ofFile = allowed
        return tell(`${path} has changed, and allows ${ofFile.size} now`)
      }),
      Effect.catchAll((error) => tell(`${error.message}; those stay allowed that were before`))
    )
    const oneAtATime = (yield* Effect.makeSemaphore(1)).withPermits(1)
    const upToDate = oneAtATime(Effect.flatMap(texts, (now) => {
      const hasChanged = now !== seen
      seen = now
      return hasChanged ? readAgain : Effect.void
    }))
    return Option.some(made(
      upToDate.pipe(
        Effect.provideService(FileSystem.FileSystem, fs),
        Effect.map(() => ofFile)
      )
    ))
  })

const isDigest = Schema.is(CertDigest.CertDigest)

const digestOf = (
  { digests, path }: KnownFile.Known,
  entry: string,
  where: { readonly place: string; readonly line?: number }
) => {
  const digest = isDigest(entry) ? entry : digests.get(entry)
  return digest === undefined
    ? new ListError({
      ...where,
      problem: `${entry} is no digest, the 43 characters at the end of an address, and no name in ${path}`
    })
    : Effect.succeed(digest)
}
