/**
 * Sends files and folders over connections, so that each arrives whole under its name or not at all. Between the two ends of a
 * connection, in this order:
 *
 * 1. The sender offers: a frame `{"tx3-file": 1, "name": NAME, "size": SIZE}`. 1 is the version, NAME the file's base
 *    name ({@link Name}), SIZE its bytes.
 * 2. The receiver answers: a frame `{"ok": true}`, or `{"ok": false, "reason": TEXT}` and the transfer is over.
 * 3. The sender sends SIZE bytes, the 32 bytes of their SHA-256, and the end of its direction.
 * 4. The receiver answers again, when the file is on its disk under its name, or as soon as it will not be.
 *
 * With `"resume": true` in the offer the receiver keeps what came where the transfer is interrupted. Its answer to the
 * same offer then is `{"ok": true, "have": BYTES}`. The sender proves that they are its own with `{"sha256": HEX}` of its first
 * BYTES, the receiver answers `{"ok": true, "from": N}`, N being BYTES or 0, and the sender goes on from there. Of a file that is
 * there with its name and size the receiver says the same: if it is the same, nothing is sent. `"more": COUNT` says how many
 * transfers follow, each on a connection of its own.
 *
 * A folder is offered by `{"tx3-folder": 1, "name": NAME, "files": COUNT, "size": SIZE}`, SIZE being that of all its files. The
 * receiver answers, and the sender sends a list in parts of up to 64 entries, `{"entries": [...], "isLast": BOOLEAN}`: a file has
 * `path` and `size`; a link has `path` and `link`; a folder has `path`. For each part the
 * receiver answers how many bytes it has of each file, and so on as above with lists in place of numbers; then come the bytes and
 * the hash of each file of the part.
 *
 * With `"compress": [METHOD, ...]` in the offer (`zstd`, `gzip`) the receiver may answer it with `"compress": METHOD`. Then the
 * bytes of each file go as blocks: 4 bytes, big-endian, and as many bytes as their lower 31 bits say, at most 262144. With the
 * highest bit these are compressed, one block by itself, and become at most 262144 plain bytes. All sizes and hashes are those of
 * the plain bytes, and so are the places that a transfer goes on from.
 *
 * An offer, and an entry of a file or a folder, may have a `mode`: the sender's permissions, 0 to 511. The receiver makes the
 * file or folder with them, less those that its umask removes, and adds those with which the owner can read and write it. Without
 * `mode` it makes it as any other new file or folder.
 *
 * A frame is a length of 4 bytes, big-endian and at most 4096 (262144 for a part of a list and what belongs to it), and as many
 * bytes of JSON in UTF-8. An end that breaks these rules, that is expected to speak and is silent for a minute, or that sends less
 * than 64 KiB of a file in a minute of waiting, is given up.
 *
 * @since 0.1.0
 */
import { FileError } from "@tx3/files/FileError"
import { publish } from "@tx3/files/Publish"
import { problemOf } from "@tx3/files/SystemProblem"
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import * as Compression from "./internal/compression.js"
import { isFileName } from "./internal/fileName.js"
import * as Folder from "./internal/folder.js"
import * as Partial from "./internal/partial.js"
import * as Transfer from "./internal/transfer.js"
import { nameRule, patienceMs, PrintableText, TransferError } from "./internal/transfer.js"

export {
  /** What a receiver answers. */
  Answer,
  /** A file that did not arrive, for another reason than a disk or the connection. */
  TransferError
} from "./internal/transfer.js"

/**
 * The name of a file in one folder on any system: at most 255 bytes, without slashes, backslashes and control characters. It
 * begins neither with a dot, like files that programs read by themselves, nor with a dash, like options.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Name = PrintableText.pipe(
  Schema.filter((name) => name !== "" && !/^[.-]|[/\\]/.test(name) && Buffer.byteLength(name) <= 255)
)

const isName = Schema.is(Name)

/**
 * What goes with an offer: the permissions, whether the transfer can go on another time, how many follow it, and how it may be
 * compressed.
 */
const circumstances = {
  mode: Schema.optional(Transfer.Mode),
  resume: Schema.optional(Schema.Boolean),
  more: Schema.optional(Schema.NonNegativeInt),
  compress: Schema.optional(Schema.Array(Schema.String))
}

/**
 * The offer of a file.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Offer = Schema.Struct({
  "tx3-file": Schema.Literal(1),
  name: Name,
  size: Schema.NonNegativeInt,
  ...circumstances
})

/**
 * The offer of a folder.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FolderOffer = Schema.Struct({
  "tx3-folder": Schema.Literal(1),
  name: Name,
  files: Schema.NonNegativeInt,
  size: Schema.NonNegativeInt,
  ...circumstances
})

const Proof = Schema.Struct({ sha256: Transfer.Sha256 })

/**
 * A file that arrived: its name or path, its size, and its SHA-256 in hexadecimal.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transferred {
  readonly name: string
  readonly size: number
  readonly sha256: string
}

/**
 * Shows how a transfer comes along, until the scope closes: it is given the file's name and size, and the function it
 * makes every number of bytes that went by.
 *
 * @since 0.1.0
 * @category models
 */
export type Progress = (name: string, size: number) => Effect.Effect<(bytes: number) => void, never, Scope.Scope>

/**
 * A file to be sent, open.
 *
 * @since 0.1.0
 * @category models
 */
export interface SourceFile {
  readonly kind: "file"
  readonly path: string
  readonly name: string
  readonly size: number
  /** Its permissions; absent on Windows. */
  readonly mode?: number
  readonly handle: fs.FileHandle
}

/**
 * A folder to be sent: what is in it, in the order in which it is sent, and what of it is left out, with the reasons.
 *
 * @since 0.1.0
 * @category models
 */
export interface SourceFolder extends Folder.Folder {
  readonly kind: "folder"
}

/**
 * A file or a folder to be sent.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = SourceFile | SourceFolder

/**
 * Opens a file or lists a folder that is to be sent. A file is closed when the scope closes. `name` is what it is
 * called there, the last part of its path without it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = (file: string, name?: string): Effect.Effect<Source, FileError | TransferError, Scope.Scope> =>
  Effect.gen(function*() {
    const called = name ?? path.basename(path.resolve(file))
    const failed = (cause: unknown) => new FileError({ action: "read", path: file, cause })
    const checked = isName(called)
      ? Effect.void
      : new TransferError({ path: file, problem: `cannot be sent under its name: ${nameRule}` })
    const kind = yield* Effect.tryPromise({ try: () => fs.stat(file), catch: failed })
    if (kind.isDirectory()) {
      yield* checked
      return { kind: "folder" as const, ...yield* Folder.scan(file, called) }
    }
    // Opening a pipe would wait for its writer.
    if (!kind.isFile()) {
      return yield* new TransferError({ path: file, problem: "is neither a file nor a folder" })
    }
    yield* checked
    const handle = yield* Transfer.opened(file, "r", failed)
    const stats = yield* Effect.tryPromise({ try: () => handle.stat(), catch: failed })
    return { kind: "file" as const, path: file, name: called, size: stats.size, ...Transfer.modeOf(stats), handle }
  })

/**
 * The options of sending a file or folder.
 *
 * @since 0.1.0
 * @category models
 */
export interface SendOptions {
  /** How many transfers follow this one; the receiver waits for them. */
  readonly more?: number | undefined
  /** Whether to compress what becomes smaller by it, where the receiver can take that. Default false. */
  readonly compress?: boolean | undefined
  /** Called when the receiver has accepted the offer. */
  readonly onAccepted?: (() => void) | undefined
}

/**
 * Sends a file or a folder, of which the receiver may have a part from another time. Done when the receiver has it on its disk
 * and has compared the hashes.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { FileTransfer } from "@tx3/reach"
 * import { Effect } from "effect"
 *
 * // Sends a file to a node that calls `FileTransfer.receive`, as `tx3 receive` does.
 * export const program = (address: string, path: string) =>
 *   Effect.gen(function*() {
 *     const { connect } = yield* Tx3Node.make({})
 *     const source = yield* FileTransfer.open(path)
 *     return yield* FileTransfer.send(yield* connect(address), source, () => Effect.succeed(() => {}))
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const send = (
  connection: Tx3Connection,
  source: Source,
  progress: Progress,
  { compress = false, more = 0, onAccepted }: SendOptions = {}
): Effect.Effect<ReadonlyArray<Transferred>, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const { mode, name, path, size } = source
    const circumstances = {
      ...mode === undefined ? {} : { mode },
      resume: true,
      ...more === 0 ? {} : { more },
      ...compress ? { compress: Compression.methods } : {}
    }
    yield* Transfer.writeFrame(
      connection,
      source.kind === "file"
        ? { "tx3-file": 1, name, size, ...circumstances }
        : {
          "tx3-folder": 1,
          name,
          files: source.entries.filter((entry) => "size" in entry).length,
          size,
          ...circumstances
        }
    )
    const { compress: wanted, have } = yield* Transfer.confirmed(connection, path, patienceMs)
    const method = wanted === undefined ? undefined : Compression.chosen([wanted])
    if (wanted !== undefined && (method === undefined || !compress)) {
      return yield* Transfer.notUnderstood("answer")
    }
    onAccepted?.()
    const transmit = (advance: (bytes: number) => void) =>
      (source.kind === "file"
        ? sendFile(connection, source, { have: Number(have ?? 0), method }, advance)
        : Folder.send(connection, source, method, advance))
        .pipe(Effect.zipLeft(connection.end))
    const sent = yield* Effect.flatMap(progress(name, size), transmit)
    yield* Transfer.confirmed(connection, path)
    return sent
  }).pipe(Effect.scoped)

const sendFile = (
  connection: Tx3Connection,
  source: SourceFile,
  { have, method }: { readonly have: number; readonly method: Compression.Method | undefined },
  advance: (bytes: number) => void
) =>
  Effect.gen(function*() {
    const { handle, name, path, size } = source
    const prove = Effect.gen(function*() {
      const hash = yield* Effect.tryPromise({
        try: () => Transfer.hashPrefix(handle, have),
        catch: (cause) => new FileError({ action: "read", path, cause })
      })
      yield* Transfer.writeFrame(connection, { sha256: Transfer.digestSoFar(hash) })
      const { from } = yield* Transfer.confirmed(connection, path, Transfer.patienceFor(have))
      return from === have ? { from: have, hash } : { from: 0, hash: createHash("sha256") }
    })
    const start = have > 0 && have <= size ? yield* prove : { from: 0, hash: createHash("sha256") }
    advance(start.from)
    const sha256 = yield* Transfer.sendBytes(connection, { handle, path, size, method, ...start }, advance)
    return [{ name, size, sha256: sha256.toString("hex") }]
  })

/**
 * The options of receiving a file or folder.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReceiveOptions {
  /** The bytes of the largest file or folder; any size without it. */
  readonly maxSize?: number | undefined
  /** Called when something has been offered, whether it is taken or not. */
  readonly onOffer?: ((offer: { readonly more: number; readonly mayResume: boolean }) => void) | undefined
  /** The least that a sender has to bring in so much time: 64 KiB in a minute. */
  readonly slowest?: Transfer.Pace | undefined
}

/**
 * Tells a sender in place of an answer to its offer that it may not send, and waits until it has heard, for 5 s at most.
 *
 * @since 0.1.0
 * @category running
 */
export const refuse = (connection: Tx3Connection, reason: string): Effect.Effect<void> =>
  Transfer.farewell(connection, { ok: false, reason })

/**
 * Receives a file or a folder into a folder. Done when it is there and on the disk. When it fails, nothing is left of it, with two
 * exceptions: what came of an interrupted transfer that its sender may resume stays as `.tx3-KEY.part` ({@link removeOldParts}), and a whole file that the
 * system gives no name stays too, and the error says where. An existing file or folder is never touched.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { FileTransfer } from "@tx3/reach"
 * import { Effect, Stream } from "effect"
 *
 * // Receives one file or folder after the other into a folder.
 * export const program = (relay: string, folder: string) =>
 *   Effect.gen(function*() {
 *     const node = yield* Tx3Node.make({ bind: [relay] })
 *     yield* Stream.runForEach(node.connections, (connection) =>
 *       FileTransfer.receive(connection, folder, () => Effect.succeed(() => {}), { maxSize: 1_000_000 }).pipe(
 *         Effect.flatMap((files) => Effect.log(files)),
 *         Effect.catchAll(({ message }) => Effect.logWarning(message))
 *       ))
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const receive = (
  connection: Tx3Connection,
  folder: string,
  progress: Progress,
  options: ReceiveOptions = {}
): Effect.Effect<ReadonlyArray<Transferred>, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const offer = yield* Transfer.readFrame(connection, "offer", Schema.Union(Offer, FolderOffer), { patienceMs })
    const { more = 0, name, resume = false, size } = offer
    options.onOffer?.({ more, mayResume: resume })
    const target = path.join(folder, name)
    if (options.maxSize !== undefined && size > options.maxSize) {
      return yield* new TransferError({
        path: target,
        problem: `has ${size} bytes, and at most ${options.maxSize} are taken`
      })
    }
    if (!isFileName(name)) {
      return yield* new TransferError({ path: target, problem: "is no name of a file on Windows" })
    }
    const pace = options.slowest ?? Transfer.slowest
    const there = yield* statsOf(target)
    if (there !== undefined) {
      return resume && "tx3-file" in offer && there.isFile() && there.size === size
        ? yield* compare(connection, { name, size, target })
        : yield* exists(target)
    }
    const kind = "tx3-file" in offer ? "file" : "folder"
    const method = Compression.chosen(offer.compress ?? [])
    const partial = yield* Partial.claim(folder, { kind, name, size }, resume)
    return yield* ("tx3-file" in offer
      ? receiveFile(connection, offer, partial, { method, pace, progress, target })
      : receiveFolder(connection, offer, partial, { method, pace, progress, target })).pipe(
        // What is wrong with what came, or with the disk, does not get better by going on.
        Effect.tapError((error) =>
          Effect.sync(() => {
            if (partial.end === "kept" && !isInterruption(error)) {
              partial.end = "removed"
            }
          })
        )
      )
  }).pipe(
    Effect.scoped,
    Effect.tap(() => Transfer.farewell(connection, { ok: true })),
    Effect.tapError((error) =>
      error._tag === "ConnectionError"
        ? Effect.void
        : Transfer.farewell(connection, { ok: false, reason: error.problem.replace(/\p{Cc}/gu, " ").slice(0, 512) })
    )
  )

/**
 * Removes what interrupted transfers have left in a folder, where nobody has gone on with it for a week, and returns the names.
 *
 * @since 0.1.0
 * @category running
 */
export const removeOldParts: (folder: string) => Effect.Effect<ReadonlyArray<string>> = Partial.removeOld

/**
 * Tells whether a transfer failed because it was interrupted, so that it may go on.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isInterruption = (error: ConnectionError | FileError | TransferError): boolean =>
  error._tag === "ConnectionError" || error._tag === "TransferError" && error.isInterrupted === true

const exists = (target: string) => new TransferError({ path: target, problem: "exists already and is left as it is" })

const statsOf = (target: string) =>
  Effect.tryPromise({
    try: () => fs.lstat(target),
    catch: (cause) => new FileError({ action: "write", path: target, cause })
  })
    .pipe(Effect.catchIf(({ cause }) => Transfer.codeOf(cause) === "ENOENT", () => Effect.succeed(undefined)))

/** A file that is there already: nothing is written, and it is the offered one if the sender can prove it. */
const compare = (
  connection: Tx3Connection,
  { name, size, target }: { readonly name: string; readonly size: number; readonly target: string }
) =>
  Effect.gen(function*() {
    if (size === 0) {
      return yield* exists(target)
    }
    yield* Transfer.writeFrame(connection, { ok: true, have: size })
    const { sha256 } = yield* Transfer.readFrame(connection, "offer", Proof, { patienceMs: Transfer.patienceFor(size) })
    const handle = yield* Transfer.opened(
      target,
      "r",
      (cause) => new FileError({ action: "read", path: target, cause })
    )
    const hash = yield* Effect.tryPromise({
      try: () => Transfer.hashPrefix(handle, size),
      catch: (cause) => new FileError({ action: "read", path: target, cause })
    })
    if (Transfer.digestSoFar(hash) !== sha256) {
      return yield* exists(target)
    }
    yield* Transfer.writeFrame(connection, { ok: true, from: size })
    return [{ name, size, sha256 }]
  })

interface Way {
  readonly method: Compression.Method | undefined
  readonly pace: Transfer.Pace
  readonly progress: Progress
  readonly target: string
}

const answerOf = (method: Compression.Method | undefined) => method === undefined ? {} : { compress: method }

const receiveFile = (
  connection: Tx3Connection,
  offer: typeof Offer.Type,
  partial: Partial.Partial,
  { method, pace, progress, target }: Way
) =>
  Effect.gen(function*() {
    const { name, size } = offer
    const unwritable = (cause: unknown) => new FileError({ action: "write", path: target, cause })
    const handle = yield* Transfer.opened(
      partial.path,
      partial.isContinued ? "r+" : "wx+",
      unwritable,
      Transfer.fileMode(offer)
    )
    const there = yield* Effect.tryPromise({ try: () => handle.stat(), catch: unwritable })
    const have = there.size <= size ? there.size : 0
    yield* Transfer.writeFrame(connection, {
      ok: true,
      ...have === 0 ? {} : { have },
      ...answerOf(method)
    })
    let start = { from: 0, hash: createHash("sha256") }
    if (have > 0) {
      const { sha256 } = yield* Transfer.readFrame(connection, "offer", Proof, {
        patienceMs: Transfer.patienceFor(have)
      })
      const hash = yield* Effect.tryPromise({ try: () => Transfer.hashPrefix(handle, have), catch: unwritable })
      if (Transfer.digestSoFar(hash) === sha256) {
        start = { from: have, hash }
      }
      yield* Transfer.writeFrame(connection, { ok: true, from: start.from })
    }
    yield* Effect.tryPromise({ try: () => handle.truncate(start.from), catch: unwritable })
    const advance = yield* progress(name, size)
    advance(start.from)
    const sha256 = yield* Transfer.saveBytes(
      connection,
      { handle, path: target, size, method, ...start, slowest: pace, unwritable },
      advance
    )
    yield* named(partial, target, () => publish(partial.path, target))
    return [{ name, size, sha256 }]
  })

const receiveFolder = (
  connection: Tx3Connection,
  offer: typeof FolderOffer.Type,
  partial: Partial.Partial,
  { method, pace, progress, target }: Way
) =>
  Effect.gen(function*() {
    yield* Transfer.writeFrame(connection, { ok: true, ...answerOf(method) })
    const advance = yield* progress(offer.name, offer.size)
    const files = yield* Folder.receive(connection, offer, partial, { method, slowest: pace, target, advance })
    if ((yield* statsOf(target)) !== undefined) {
      return yield* exists(target)
    }
    yield* named(partial, target, () => fs.rename(partial.path, target))
    return files
  })

/** Gives what is whole its name. */
const named = (partial: Partial.Partial, target: string, act: () => Promise<void>) =>
  Effect.tryPromise({
    try: async () => {
      await act()
      partial.end = "named"
    },
    catch: (cause) => {
      if (["EEXIST", "ENOTEMPTY"].includes(Transfer.codeOf(cause) ?? "")) {
        return exists(target)
      }
      partial.end = "named"
      const problem = `is whole, but cannot have its name: ${problemOf(cause)}; it is kept as ${partial.path}`
      return new TransferError({ path: target, problem })
    }
  })
