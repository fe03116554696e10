/**
 * Folders in transfers. The sender lists what is in one: folders, files and links that stay within it, in the order of their
 * names. The receiver writes all of it into a folder that only this transfer works in, so that no link or file of another can lead
 * it elsewhere, makes the links last, and gives the folder its name when it is whole.
 */
import { FileError } from "@tx3/files/FileError"
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import { constants } from "node:fs"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import type { Method } from "./compression.js"
import { isFileName } from "./fileName.js"
import type { Partial } from "./partial.js"
import * as Transfer from "./transfer.js"
import { TransferError } from "./transfer.js"

/** Names below each other. */
const maxDepth = 64
const maxPathBytes = 4096
const maxEntries = 1_000_000
/** Entries of one part of the list. */
const entriesAtATime = 64

/** Whether a text is a name in a folder of any system. Inside of a new folder it may begin with a dot. */
const isInnerName = (name: string) =>
  name !== "" && name !== "." && name !== ".." && !/[/\\]|\p{Cc}/u.test(name) && Buffer.byteLength(name) <= 255 &&
  isFileName(name)

const InnerPath = Schema.String.pipe(Schema.filter((text) => {
  const names = text.split("/")
  return Buffer.byteLength(text) <= maxPathBytes && names.length <= maxDepth && names.every(isInnerName)
}))

/** Whether a link in a folder leads to something in it, as far as its text says. */
export const staysWithin = (link: string, target: string): boolean => {
  if (target === "" || path.posix.isAbsolute(target) || /[\\\0]/.test(target) || /^[a-z]:/i.test(target)) {
    return false
  }
  const led = path.posix.normalize(path.posix.join(path.posix.dirname(link), target))
  return led !== ".." && !led.startsWith("../")
}

/** An entry: a file, a link, or a folder. */
const Entry = Schema.Union(
  Schema.Struct({ path: InnerPath, size: Schema.NonNegativeInt, mode: Schema.optional(Transfer.Mode) }),
  Schema.Struct({ path: InnerPath, link: Schema.String }).pipe(
    Schema.filter(({ link, path }) => Buffer.byteLength(link) <= maxPathBytes && staysWithin(path, link))
  ),
  Schema.Struct({ path: InnerPath, mode: Schema.optional(Transfer.Mode) })
)

export type Entry = typeof Entry.Type

type FileEntry = Extract<Entry, { readonly size: number }>

const isFile = (entry: Entry): entry is FileEntry => "size" in entry

/** A part of the list. */
const List = Schema.Struct({
  entries: Schema.Array(Entry).pipe(Schema.maxItems(entriesAtATime)),
  isLast: Schema.Boolean
})

const Proof = Schema.Struct({ sha256: Schema.Array(Transfer.Sha256) })

/** A folder to be sent, and what in it cannot be, with the reasons. */
export interface Folder {
  readonly path: string
  readonly name: string
  readonly mode?: number
  readonly entries: ReadonlyArray<Entry>
  readonly size: number
  readonly skipped: ReadonlyArray<string>
}

/** Lists a folder. */
export const scan = (folder: string, name: string): Effect.Effect<Folder, FileError | TransferError> =>
  Effect.tryPromise({
    try: async () => {
      const entries: Array<Entry> = []
      const skipped: Array<string> = []
      const visit = async (inner: string): Promise<void> => {
        const list = await fs.readdir(path.join(folder, inner), { withFileTypes: true })
        for (const { name } of list.sort((a, b) => a.name < b.name ? -1 : 1)) {
          const at = inner === "" ? name : `${inner}/${name}`
          const skip = (why: string) => void skipped.push(`${path.join(folder, at)}: ${why}`)
          if (!Schema.is(InnerPath)(at)) {
            skip("has a name or a depth that cannot be sent")
            continue
          }
          if (entries.length === maxEntries) {
            throw new TransferError({ path: folder, problem: `has more than ${maxEntries} files; pack it first` })
          }
          const whole = path.join(folder, at)
          const stats = await fs.lstat(whole)
          if (stats.isDirectory()) {
            entries.push({ path: at, ...Transfer.modeOf(stats) })
            await visit(at)
          } else if (stats.isFile()) {
            entries.push({ path: at, size: stats.size, ...Transfer.modeOf(stats) })
          } else if (stats.isSymbolicLink()) {
            const link = await fs.readlink(whole)
            if (staysWithin(at, link)) {
              entries.push({ path: at, link })
            } else {
              skip(`is a link out of the folder, to ${link}`)
            }
          } else {
            skip("is no file, folder or link")
          }
        }
      }
      await visit("")
      return { path: folder, name, ...Transfer.modeOf(await fs.stat(folder)), entries, size: totalOf(entries), skipped }
    },
    catch: (cause) =>
      Transfer.isOwn(cause) ? cause as TransferError : new FileError({ action: "read", path: folder, cause })
  })

const totalOf = (entries: ReadonlyArray<Entry>) =>
  entries.reduce((sum, entry) => sum + (isFile(entry) ? entry.size : 0), 0)

/** What has gone over: each file with its hash. */
export interface Sent {
  readonly name: string
  readonly size: number
  readonly sha256: string
}

/** Sends what is in a folder that has been offered and accepted. */
export const send = (
  connection: Tx3Connection,
  folder: Folder,
  method: Method | undefined,
  advance: (bytes: number) => void
): Effect.Effect<ReadonlyArray<Sent>, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const all: Array<Sent> = []
    for (let at = 0; at === 0 || at < folder.entries.length; at += entriesAtATime) {
      const entries = folder.entries.slice(at, at + entriesAtATime)
      const files = entries.filter(isFile)
      yield* Transfer.writeFrame(connection, { entries, isLast: at + entriesAtATime >= folder.entries.length })
      const { have } = yield* Transfer.confirmed(connection, folder.path, Transfer.patienceMs)
      const there = Array.isArray(have) && have.length === files.length
        ? have as ReadonlyArray<number>
        : files.map(() => 0)
      const wholes = files.map((file) => path.join(folder.path, file.path))
      const hashes = yield* Effect.forEach(files, (file, index) =>
        there[index] === 0 || there[index]! > file.size
          ? Effect.succeed(createHash("sha256"))
          : Effect.scoped(
            Effect.flatMap(openToRead(wholes[index]!), (handle) => hashed(handle, there[index]!, wholes[index]!))
          ))
      let from: ReadonlyArray<number> = there.map(() => 0)
      if (there.some((bytes) => bytes > 0)) {
        yield* Transfer.writeFrame(connection, { sha256: hashes.map(Transfer.digestSoFar) })
        const answer = yield* Transfer.confirmed(connection, folder.path, Transfer.patienceFor(sum(there)))
        from = Array.isArray(answer.from) && answer.from.length === files.length
          ? answer.from as ReadonlyArray<number>
          : from
      }
      for (const [index, file] of files.entries()) {
        const start = from[index] === there[index] ? there[index]! : 0
        advance(start)
        const sha256 = yield* Effect.scoped(Effect.flatMap(openToRead(wholes[index]!), (handle) =>
          Transfer.sendBytes(connection, {
            handle,
            path: wholes[index]!,
            size: file.size,
            from: start,
            method,
            hash: start === 0 ? createHash("sha256") : hashes[index]!
          }, advance)))
        all.push({ name: `${folder.name}/${file.path}`, size: file.size, sha256: sha256.toString("hex") })
      }
    }
    return all
  })

const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((sum, number) => sum + number, 0)

const openToRead = (file: string) =>
  Transfer.opened(
    file,
    constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0),
    (cause) => new FileError({ action: "read", path: file, cause })
  )

const hashed = (handle: fs.FileHandle, bytes: number, file: string) =>
  Effect.tryPromise({
    try: () => Transfer.hashPrefix(handle, bytes),
    catch: (cause) => new FileError({ action: "read", path: file, cause })
  })

/** Writes what is in a folder into `partial`, which is this transfer's own. */
export const receive = (
  connection: Tx3Connection,
  offer: { readonly name: string; readonly mode?: number | undefined; readonly files: number; readonly size: number },
  partial: Partial,
  options: {
    readonly method: Method | undefined
    readonly slowest: Transfer.Pace
    readonly target: string
    readonly advance: (bytes: number) => void
  }
): Effect.Effect<ReadonlyArray<Sent>, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const { advance, method, slowest, target } = options
    const unwritable = (cause: unknown) => new FileError({ action: "write", path: target, cause })
    const write = <A>(act: () => Promise<A>) => Effect.tryPromise({ try: act, catch: unwritable })
    const links: Array<{ readonly path: string; readonly link: string }> = []
    const all: Array<Sent> = []
    let [files, bytes, entries] = [0, 0, 0]
    if (!partial.isContinued) {
      yield* write(() => fs.mkdir(partial.path, Transfer.folderMode(offer)))
    }
    for (let isLast = false; !isLast;) {
      const list = yield* Transfer.readFrame(connection, "offer", List, {
        maxBytes: Transfer.maxListBytes,
        patienceMs: Transfer.patienceMs
      })
      isLast = list.isLast
      entries += list.entries.length
      const ofFiles = list.entries.filter(isFile)
      files += ofFiles.length
      bytes += totalOf(ofFiles)
      if (files > offer.files || bytes > offer.size || entries > maxEntries) {
        return yield* new TransferError({ path: target, problem: "more comes than was offered" })
      }
      const have: Array<number> = []
      for (const entry of list.entries) {
        yield* write(() =>
          isFile(entry) || "link" in entry
            ? makeFolders(partial.path, path.posix.dirname(entry.path))
            : makeFolders(partial.path, entry.path, Transfer.folderMode(entry))
        )
        if ("link" in entry) {
          links.push(entry)
        } else if (isFile(entry)) {
          have.push(yield* write(() => bytesOf(path.join(partial.path, entry.path), entry.size)))
        }
      }
      yield* Transfer.writeFrame(connection, { ok: true, have })
      const proof = have.some((bytes) => bytes > 0)
        ? yield* Transfer.readFrame(connection, "offer", Proof, {
          maxBytes: Transfer.maxListBytes,
          patienceMs: Transfer.patienceFor(sum(have))
        })
        : undefined
      const starts: Array<{ readonly from: number; readonly hash: ReturnType<typeof createHash> }> = []
      for (const [index, file] of ofFiles.entries()) {
        const there = have[index]!
        const whole = path.join(partial.path, file.path)
        const hash = there === 0 ? createHash("sha256") : yield* Effect.scoped(
          Effect.flatMap(openToRead(whole), (handle) => hashed(handle, there, whole))
        )
        const isOfSender = there > 0 && proof?.sha256[index] === Transfer.digestSoFar(hash)
        starts.push(isOfSender ? { from: there, hash } : { from: 0, hash: createHash("sha256") })
      }
      if (proof !== undefined) {
        yield* Transfer.writeFrame(connection, { ok: true, from: starts.map(({ from }) => from) })
      }
      for (const [index, file] of ofFiles.entries()) {
        const { from, hash } = starts[index]!
        advance(from)
        const sha256 = yield* Effect.scoped(
          Effect.flatMap(openToWrite(path.join(partial.path, file.path), file, unwritable), (handle) =>
            Effect.zipRight(
              write(() => handle.truncate(from)),
              Transfer.saveBytes(
                connection,
                { handle, path: `${target}/${file.path}`, size: file.size, from, hash, method, slowest, unwritable },
                advance
              )
            ))
        )
        all.push({ name: `${offer.name}/${file.path}`, size: file.size, sha256 })
      }
    }
    for (const { link, path: at } of links) {
      yield* write(() => makeLink(path.join(partial.path, at), link))
    }
    return all
  })

/** Makes the folders of a path one by one, the last with this mode. None of them may be a link. */
const makeFolders = async (root: string, inner: string, mode = 0o777) => {
  let at = root
  for (const name of inner === "." ? [] : inner.split("/")) {
    at = path.join(at, name)
    const stats = await fs.lstat(at).catch(() => undefined)
    if (stats === undefined) {
      await fs.mkdir(at, at === path.join(root, inner) ? mode : 0o777)
    } else if (!stats.isDirectory()) {
      throw new Error(`${name} is a folder and something else in one list`)
    }
  }
}

/** How many bytes of a file are there from another time. */
const bytesOf = async (file: string, size: number) => {
  const stats = await fs.lstat(file).catch(() => undefined)
  return stats?.isFile() === true && stats.size <= size ? stats.size : 0
}

const openToWrite = (
  file: string,
  entry: FileEntry,
  unwritable: (cause: unknown) => FileError
): Effect.Effect<fs.FileHandle, FileError, Scope.Scope> =>
  Transfer.opened(
    file,
    constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0),
    unwritable,
    Transfer.fileMode(entry)
  )

const makeLink = async (at: string, link: string) => {
  const stats = await fs.lstat(at).catch(() => undefined)
  if (stats?.isSymbolicLink() === true) {
    await fs.unlink(at)
  }
  await fs.symlink(link, at)
}
