/**
 * Sends one file over a connection, so that it arrives whole under its name or not at all. Between the two ends of the
 * connection, in this order:
 *
 * 1. The sender offers: a frame `{"tx3-file": 1, "name": NAME, "size": SIZE}`. 1 is the version, NAME the file's base
 *    name ({@link Name}), SIZE its bytes.
 * 2. The receiver answers: a frame `{"ok": true}`, or `{"ok": false, "reason": TEXT}` and the transfer is over.
 * 3. The sender sends SIZE bytes, the 32 bytes of their SHA-256, and the end of its direction.
 * 4. The receiver answers again, when the file is on its disk under its name, or as soon as it will not be.
 *
 * A frame is a length of 4 bytes, big-endian and at most 4096, and as many bytes of JSON in UTF-8. An end that breaks these
 * rules, that is expected to speak and is silent for a minute, or that sends less than 64 KiB of a file in a minute of
 * waiting, is given up.
 *
 * @since 0.1.0
 */
import { FileError } from "@tx3/files/FileError"
import { publish } from "@tx3/files/Publish"
import { problemOf } from "@tx3/files/SystemProblem"
import { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Effect from "effect/Effect"
import * as Function from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash, randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { put, readExactly, Short, take } from "./internal/bytes.js"
import { isFileName } from "./internal/fileName.js"

/** How long an end that is to speak may be silent. */
const patienceMs = 60_000

/** The slowest pace that a receiver accepts. A sender of a byte now and then would hold its place for ever. */
const slowest: Pace = { bytes: 64 * 1024, inMs: 60_000 }

interface Pace {
  readonly bytes: number
  readonly inMs: number
}

/** How long a receiver that gave up waits for the sender to notice. */
const farewellMs = 5_000

const maxFrameBytes = 4096

const hashBytes = 32

/** Large enough to make system calls rare, small enough to be nothing beside the memory of the process. */
const bufferBytes = 256 * 1024

/** Text that cannot command a terminal it is printed on. */
const PrintableText = Schema.String.pipe(Schema.pattern(/^\P{Cc}*$/u))

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

const nameRule = "a name has up to 255 bytes, no slash, backslash or control character, and no dot or dash at its begin"

/**
 * The offer of a sender.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Offer = Schema.Struct({
  "tx3-file": Schema.Literal(1),
  name: Name,
  size: Schema.NonNegativeInt
})

/**
 * The answer of a receiver, to the offer and at the end.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Answer = Schema.Union(
  Schema.Struct({ ok: Schema.Literal(true) }),
  Schema.Struct({ ok: Schema.Literal(false), reason: PrintableText.pipe(Schema.maxLength(512)) })
)

/**
 * A file that did not arrive, for another reason than a disk or the connection. `problem` says which, and `message` puts
 * the file before it where that is known.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransferError extends Schema.TaggedError<TransferError>("@tx3/reach/TransferError")("TransferError", {
  path: Schema.optional(Schema.String),
  problem: Schema.String
}) {
  override get message(): string {
    return this.path === undefined ? this.problem : `${this.path}: ${this.problem}`
  }
}

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
export interface Source {
  readonly path: string
  readonly name: string
  readonly size: number
  readonly handle: fs.FileHandle
}

/**
 * Opens a file to be sent, until the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = (file: string): Effect.Effect<Source, FileError | TransferError, Scope.Scope> =>
  Effect.gen(function*() {
    const handle = yield* opened(file, "r", (cause) => new FileError({ action: "read", path: file, cause }))
    const stats = yield* Effect.tryPromise({
      try: () => handle.stat(),
      catch: (cause) => new FileError({ action: "read", path: file, cause })
    })
    const name = path.basename(file)
    if (!stats.isFile()) {
      return yield* new TransferError({ path: file, problem: "is not a file; to send a folder, pack it first" })
    }
    if (!isName(name)) {
      return yield* new TransferError({ path: file, problem: `cannot be sent under its name: ${nameRule}` })
    }
    return { path: file, name, size: stats.size, handle }
  })

const opened = <E>(file: string, flags: string, fail: (cause: unknown) => E) =>
  Effect.acquireRelease(
    Effect.tryPromise({ try: () => fs.open(file, flags), catch: fail }),
    (handle) => Effect.promise(() => handle.close())
  )

/**
 * Sends a file. Done when the receiver has it on its disk and has compared the hashes.
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
  progress: Progress
): Effect.Effect<Transferred, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const { name, path, size } = source
    const confirmed = (patienceMs?: number) =>
      Effect.flatMap(
        readFrame(connection, "answer", Answer, patienceMs),
        (answer) =>
          answer.ok ? Effect.void : new TransferError({ path, problem: `the receiver says: ${answer.reason}` })
      )
    yield* writeFrame(connection, { "tx3-file": 1, name, size })
    yield* confirmed(patienceMs)
    const advance = yield* progress(name, size)
    const [sha256] = yield* Effect.all([transmit(connection, source, advance), confirmed()], {
      concurrency: "unbounded"
    })
    return { name, size, sha256: sha256.toString("hex") }
  }).pipe(Effect.scoped)

const transmit = (connection: Tx3Connection, { handle, path, size }: Source, advance: (bytes: number) => void) =>
  Effect.gen(function*() {
    const hash = createHash("sha256")
    const changed = () =>
      new TransferError({ path, problem: "changed its size while it was being sent; send it again" })
    yield* Effect.tryPromise({
      try: async (signal) => {
        let left = size
        // One byte more than there should be, to see whether there is one.
        const options = { start: 0, end: size, highWaterMark: bufferBytes, signal }
        for await (const chunk of handle.createReadStream(options) as AsyncIterable<Buffer>) {
          left -= chunk.length
          if (left < 0) {
            throw changed()
          }
          hash.update(chunk)
          await put(connection.duplex, chunk)
          advance(chunk.length)
        }
        if (left > 0) {
          throw changed()
        }
      },
      catch: (cause) => isOwn(cause) ? cause : new FileError({ action: "read", path, cause })
    })
    const sha256 = hash.digest()
    yield* connection.write(sha256)
    yield* connection.end
    return sha256
  })

/**
 * The options of receiving a file.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReceiveOptions {
  /** The bytes of the largest file; any size without it. */
  readonly maxSize?: number | undefined
  /** Called when a file has been offered, whether it is taken or not. */
  readonly onOffer?: (() => void) | undefined
  /** The least that a sender has to bring in so much time: 64 KiB in a minute. */
  readonly slowest?: Pace | undefined
}

/**
 * Tells a sender in place of an answer to its offer that it may not send, and waits until it has heard, for 5 s at most.
 *
 * @since 0.1.0
 * @category running
 */
export const refuse = (connection: Tx3Connection, reason: string): Effect.Effect<void> =>
  farewell(connection, { ok: false, reason })

/**
 * Receives a file into a folder. Done when it is there and on the disk; when it fails or is interrupted, nothing is left
 * of it, but for a whole file that the system gives no name: that stays, and the error says where. An existing file is never
 * touched.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { FileTransfer } from "@tx3/reach"
 * import { Effect, Stream } from "effect"
 *
 * // Receives one file after the other into a folder.
 * export const program = (relay: string, folder: string) =>
 *   Effect.gen(function*() {
 *     const node = yield* Tx3Node.make({ bind: [relay] })
 *     yield* Stream.runForEach(node.connections, (connection) =>
 *       FileTransfer.receive(connection, folder, () => Effect.succeed(() => {}), { maxSize: 1_000_000 }).pipe(
 *         Effect.flatMap(({ name, sha256 }) => Effect.log(name, sha256)),
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
): Effect.Effect<Transferred, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const { name, size } = yield* readFrame(connection, "offer", Offer, patienceMs)
    options.onOffer?.()
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
    const unwritable = (cause: unknown) => new FileError({ action: "write", path: target, cause })
    const there = () => new TransferError({ path: target, problem: "exists already and is left as it is" })
    yield* Effect.tryPromise({ try: () => fs.lstat(target), catch: unwritable }).pipe(
      Effect.matchEffect({
        onFailure: (error) => codeOf(error.cause) === "ENOENT" ? Effect.void : Effect.fail(error),
        onSuccess: () => Effect.fail(there())
      })
    )

    const unfinished = path.join(folder, `.tx3-${randomUUID()}`)
    let isKept = false
    yield* Effect.addFinalizer(() =>
      isKept ? Effect.void : Effect.ignore(Effect.tryPromise(() => fs.unlink(unfinished)))
    )
    const handle = yield* opened(unfinished, "wx", unwritable)
    yield* writeFrame(connection, { ok: true })
    const advance = yield* progress(name, size)
    const sha256 = yield* save(connection, handle, { size, advance, unwritable, slowest: options.slowest ?? slowest })
    const sent = yield* Effect.mapError(
      Effect.timeoutFail(readExactly(connection.duplex, hashBytes, patienceMs), {
        duration: patienceMs,
        onTimeout: () => new Short({ reason: "silent" })
      }),
      (error) => error._tag === "Short" ? stopped(size, size) : error
    )
    if (!sha256.equals(sent)) {
      return yield* new TransferError({
        path: target,
        problem: `arrived damaged: its SHA-256 is ${sha256.toString("hex")}, but the sender's is ${
          sent.toString("hex")
        }`
      })
    }
    yield* Effect.tryPromise({ try: () => handle.sync(), catch: unwritable })
    yield* Effect.tryPromise({
      try: () => publish(unfinished, target),
      catch: (cause) => {
        if (codeOf(cause) === "EEXIST") {
          return there()
        }
        isKept = true
        const problem = `is whole, but cannot have its name: ${problemOf(cause)}; it is kept as ${unfinished}`
        return new TransferError({ path: target, problem })
      }
    })
    return { name, size, sha256: sha256.toString("hex") }
  }).pipe(
    Effect.scoped,
    Effect.tap(() => farewell(connection, { ok: true })),
    Effect.tapError((error) => error._tag === "ConnectionError"
      ? Effect.void
      : farewell(connection, { ok: false, reason: error.problem.replace(/\p{Cc}/gu, " ").slice(0, 512) })
    )
  )

const save = (
  { duplex }: Tx3Connection,
  handle: fs.FileHandle,
  { advance, size, slowest, unwritable }: {
    readonly size: number
    readonly slowest: Pace
    readonly advance: (bytes: number) => void
    readonly unwritable: (cause: unknown) => FileError
  }
) =>
  Effect.gen(function*() {
    const hash = createHash("sha256")
    let received = 0
    yield* Effect.tryPromise({
      try: async () => {
        let batch: Array<Buffer> = []
        let batchBytes = 0
        let written: Promise<void> = Promise.resolve()
        // While one batch is being written the next is read. `appendFile` continues where the last one ended.
        const write = async () => {
          await written
          written = handle.appendFile(Buffer.concat(batch))
          written.catch(() => {})
          batch = []
          batchBytes = 0
        }
        for await (const chunk of paced(take(duplex, size, patienceMs), slowest)) {
          hash.update(chunk)
          received += chunk.length
          advance(chunk.length)
          batch.push(chunk)
          batchBytes += chunk.length
          if (batchBytes >= bufferBytes) {
            await write()
          }
        }
        await write()
        await written
      },
      catch: (cause) =>
        cause instanceof Short
          ? stopped(received, size)
          : cause instanceof Slow
          ? new TransferError({
            problem:
              `the sender is slower than ${slowest.bytes} bytes in ${slowest.inMs} ms, after ${received} of ${size}`
          })
          : isOwn(cause)
          ? cause
          : unwritable(cause)
    })
    return hash.digest()
  })

/** A sender that keeps a receiver waiting. */
class Slow extends Error {}

/** Passes chunks on. Rejects if the sender brings less than `bytes` in `inMs`; the time of the consumer does not count. */
async function* paced(chunks: AsyncGenerator<Buffer, void>, { bytes, inMs }: Pace): AsyncGenerator<Buffer, void> {
  let [waitedMs, brought] = [0, 0]
  while (true) {
    const began = performance.now()
    const next = await chunks.next()
    if (next.done) {
      return
    }
    waitedMs += performance.now() - began
    brought += next.value.length
    if (waitedMs >= inMs) {
      if (brought < bytes) {
        throw new Slow()
      }
      waitedMs = 0
      brought = 0
    }
    yield next.value
  }
}

const stopped = (received: number, size: number) =>
  new TransferError({ problem: `the sender stopped after ${received} of ${size} bytes` })

/**
 * The last answer, as far as it can still be given. Closing a connection on what was not read would reset it, and could take
 * the answer back.
 */
const farewell = (connection: Tx3Connection, answer: typeof Answer.Type) =>
  writeFrame(connection, answer).pipe(
    Effect.zipRight(connection.end),
    Effect.zipRight(Stream.runDrain(connection.readable)),
    Effect.timeoutOption(farewellMs),
    Effect.ignore
  )

const writeFrame = (connection: Tx3Connection, value: typeof Offer.Encoded | typeof Answer.Encoded) => {
  const json = Buffer.from(JSON.stringify(value))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(json.length)
  return connection.write(Buffer.concat([length, json]))
}

const readFrame = <A, I>(
  { duplex }: Tx3Connection,
  kind: "offer" | "answer",
  schema: Schema.Schema<A, I>,
  patienceMs?: number
) =>
  Effect.gen(function*() {
    const length = (yield* readExactly(duplex, 4, patienceMs)).readUInt32BE()
    if (length > maxFrameBytes) {
      return yield* notUnderstood(kind)
    }
    const json = (yield* readExactly(duplex, length, patienceMs)).toString()
    return yield* Effect.mapError(Schema.decode(Schema.parseJson(schema))(json), (error) =>
      ParseResult.ArrayFormatter.formatErrorSync(error)[0]?.path[0] === "name"
        ? new TransferError({ problem: `the file cannot have this name: ${nameRule}` })
        : notUnderstood(kind))
  }).pipe(
    // Silence is judged for each piece, and bytes may come one by one.
    patienceMs === undefined ? Function.identity : Effect.timeoutFail({
      duration: patienceMs,
      onTimeout: () =>
        new Short({ reason: "silent" })
    }),
    Effect.catchTag("Short", ({ reason }) => {
      const problem = reason === "ended"
        ? `the other end ended the connection in place of an ${kind}`
        : `no ${kind} came within ${patienceMs} ms`
      return new TransferError({ problem: `${problem}; ${peerQuestion[kind]}` })
    })
  )

const notUnderstood = (kind: "offer" | "answer") =>
  new TransferError({ problem: `what came is no ${kind} of this version of tx3; ${peerQuestion[kind]}` })

const peerQuestion = {
  offer: "does the other end run tx3 send?",
  answer: "does the other end run tx3 receive, and is it not busy with another file?"
}

const isOwn = (error: unknown): error is ConnectionError | TransferError =>
  error instanceof ConnectionError || error instanceof TransferError

const codeOf = (cause: unknown) => (cause as NodeJS.ErrnoException).code
