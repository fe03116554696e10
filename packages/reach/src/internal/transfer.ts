/**
 * What transfers of files and of folders share: their frames, how the bytes of a file go over a connection and into a file, and
 * what is said when that fails. A handle belongs to the scope that opened it.
 */
import { FileError } from "@tx3/files/FileError"
import { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Function from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { createHash, type Hash } from "node:crypto"
import * as fs from "node:fs/promises"
import { put, readExactly, Short, take } from "./bytes.js"
import * as Compression from "./compression.js"

/** How long an end that is to speak may be silent. */
export const patienceMs = 60_000

/** The slowest pace that a receiver accepts. A sender of a byte now and then would hold its place for ever. */
export const slowest: Pace = { bytes: 64 * 1024, inMs: 60_000 }

export interface Pace {
  readonly bytes: number
  readonly inMs: number
}

/** Bytes that an end hashes in a millisecond at least, while the other waits for it. */
const hashedPerMs = 20_000

/** How long an end may take that has to hash so many bytes first. */
export const patienceFor = (bytes: number): number => patienceMs + bytes / hashedPerMs

/** How long a receiver that gave up waits for the sender to notice. */
const farewellMs = 5_000

const maxFrameBytes = 4096

/** A part of a folder's list. */
export const maxListBytes = 256 * 1024

export const hashBytes = 32

/** Large enough to make system calls rare, small enough to be nothing beside the memory of the process. */
const bufferBytes = 256 * 1024

/** Text that cannot command a terminal it is printed on. */
export const PrintableText = Schema.String.pipe(Schema.pattern(/^\P{Cc}*$/u))

export const nameRule =
  "a name has up to 255 bytes, no slash, backslash or control character, and no dot or dash at its begin"

/** Text of a hash. */
export const Sha256 = Schema.String.pipe(Schema.pattern(/^[\da-f]{64}$/))

/**
 * What a receiver answers. To an offer it may say how many bytes it has already (`have`), and how the sender shall compress what
 * it sends (`compress`); and when the sender has proved that those bytes are its own, from where it wants the rest (`from`).
 *
 * @since 0.1.0
 * @category schemas
 */
export const Answer = Schema.Union(
  Schema.Struct({
    ok: Schema.Literal(true),
    have: Schema.optional(Schema.Union(Schema.NonNegativeInt, Schema.Array(Schema.NonNegativeInt))),
    from: Schema.optional(Schema.Union(Schema.NonNegativeInt, Schema.Array(Schema.NonNegativeInt))),
    compress: Schema.optional(Schema.String)
  }),
  Schema.Struct({ ok: Schema.Literal(false), reason: PrintableText.pipe(Schema.maxLength(512)) })
)

/**
 * A file that did not arrive, for another reason than a disk or the connection. `problem` says which, and `message` puts
 * the file before it where that is known. `isInterrupted` says that the sender stopped, and may go on another time.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransferError extends Schema.TaggedError<TransferError>("@tx3/reach/TransferError")("TransferError", {
  path: Schema.optional(Schema.String),
  problem: Schema.String,
  isInterrupted: Schema.optional(Schema.Boolean)
}) {
  override get message(): string {
    return this.path === undefined ? this.problem : `${this.path}: ${this.problem}`
  }
}

/** The permissions of a file or folder, as chmod takes them. */
export const Mode = Schema.Int.pipe(Schema.between(0, 0o777))

/** The permissions that the sender tells; none on Windows, which has no such permissions. */
export const modeOf = ({ mode }: { readonly mode: number }): { readonly mode?: number } =>
  process.platform === "win32" ? {} : { mode: mode & 0o777 }

interface Told {
  readonly mode?: number | undefined
}

/** The mode with which the receiver opens a new file. Its owner can read and write it, so an interrupted transfer can go on. */
export const fileMode = ({ mode = 0o666 }: Told): number => mode | 0o600

/** The mode with which the receiver makes a folder. Its owner can write into it. */
export const folderMode = ({ mode = 0o777 }: Told): number => mode | 0o700

export const opened = <E>(file: string, flags: string | number, fail: (cause: unknown) => E, mode?: number) =>
  Effect.acquireRelease(
    Effect.tryPromise({ try: () => fs.open(file, flags, mode), catch: fail }),
    (handle) => Effect.promise(() => handle.close())
  )

/** Hashes the first bytes of a file. Rejects where it has fewer. */
export const hashPrefix = async (handle: fs.FileHandle, bytes: number): Promise<Hash> => {
  const hash = createHash("sha256")
  const buffer = Buffer.allocUnsafe(bufferBytes)
  for (let position = 0; position < bytes;) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(bufferBytes, bytes - position), position)
    if (bytesRead === 0) {
      throw new Error("the file became shorter")
    }
    hash.update(buffer.subarray(0, bytesRead))
    position += bytesRead
  }
  return hash
}

export const digestSoFar = (hash: Hash): string => hash.copy().digest("hex")

/** A file whose bytes go over from `from` on; `hash` is that of the bytes before. */
interface Remainder {
  readonly handle: fs.FileHandle
  readonly path: string
  readonly size: number
  readonly from: number
  readonly hash: Hash
  /** How its bytes go over; as they are without it. */
  readonly method: Compression.Method | undefined
}

/** Sends a file's bytes from `from` on, and then the hash of all of it. */
export const sendBytes = (
  connection: Tx3Connection,
  file: Remainder,
  advance: (bytes: number) => void
): Effect.Effect<Buffer, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const { from, handle, hash, method, path, size } = file
    const pack = method === undefined ? undefined : Compression.packer(method)
    const changed = () =>
      new TransferError({ path, problem: "changed its size while it was being sent; send it again" })
    yield* Effect.tryPromise({
      try: async (signal) => {
        let left = size - from
        // While one block is sent the next is compressed.
        let packed: Promise<Buffer> | undefined
        const sendWaiting = async (next?: Promise<Buffer>) => {
          const waiting = packed
          packed = next
          next?.catch(() => {})
          if (waiting !== undefined) {
            await put(connection.duplex, await waiting)
          }
        }
        // One byte more than there should be, to see whether there is one.
        for await (const chunk of pieces(handle, from, size + 1, signal)) {
          left -= chunk.length
          if (left < 0) {
            throw changed()
          }
          // A receiver speaks before the end only to say why it gives up.
          connection.duplex.read(0)
          if (connection.duplex.readableLength > 0) {
            throw new Spoke()
          }
          hash.update(chunk)
          await (pack === undefined ? put(connection.duplex, chunk) : sendWaiting(pack(chunk)))
          advance(chunk.length)
        }
        await sendWaiting()
        if (left > 0) {
          throw changed()
        }
      },
      catch: (cause) => cause instanceof Spoke || isOwn(cause) ? cause : new FileError({ action: "read", path, cause })
    }).pipe(
      Effect.catchTag("Spoke", () => Effect.zipRight(confirmed(connection, path, patienceMs), notUnderstood("answer")))
    )
    const sha256 = hash.digest()
    yield* connection.write(sha256)
    return sha256
  })

/** A file's bytes between two places. A stream of Node would close the file when its reader stops, and it may be sent again. */
async function* pieces(handle: fs.FileHandle, from: number, to: number, signal: AbortSignal) {
  for (let position = from; position < to;) {
    signal.throwIfAborted()
    const most = Math.min(bufferBytes, to - position)
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(most), 0, most, position)
    if (bytesRead === 0) {
      return
    }
    position += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

/** The receiver said something while it was sent to. */
class Spoke extends Data.TaggedError("Spoke") {}

const writeAll = async (handle: fs.FileHandle, bytes: Buffer, position: number) => {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written)
    written += bytesWritten
  }
}

/** Writes a file's bytes from `from` on, compares the hash that comes behind them, and returns it. */
export const saveBytes = (
  connection: Tx3Connection,
  file: Remainder & {
    readonly slowest: Pace
    readonly unwritable: (cause: unknown) => FileError
  },
  advance: (bytes: number) => void
): Effect.Effect<string, ConnectionError | FileError | TransferError> =>
  Effect.gen(function*() {
    const { from, handle, hash, method, path, size, slowest, unwritable } = file
    let received = from
    yield* Effect.tryPromise({
      try: async () => {
        let batch: Array<Buffer> = []
        let batchBytes = 0
        let position = from
        let written: Promise<void> = Promise.resolve()
        // While one batch is being written the next is read.
        const write = async () => {
          await written
          const bytes = Buffer.concat(batch)
          written = writeAll(handle, bytes, position)
          written.catch(() => {})
          position += bytes.length
          batch = []
          batchBytes = 0
        }
        try {
          for await (const { bytes: chunk } of paced(incoming(connection, size - from, method), slowest)) {
            hash.update(chunk)
            received += chunk.length
            advance(chunk.length)
            batch.push(chunk)
            batchBytes += chunk.length
            if (batchBytes >= bufferBytes) {
              await write()
            }
          }
        } finally {
          // Also what came before the connection was lost is worth keeping.
          await write()
          await written
        }
      },
      catch: (cause) =>
        cause instanceof Short
          ? stopped(received, size)
          : cause instanceof Slow
          ? new TransferError({
            problem:
              `the sender is slower than ${slowest.bytes} bytes in ${slowest.inMs} ms, after ${received} of ${size}`
          })
          : cause instanceof Compression.BadBlock
          ? new TransferError({ path, problem: "arrived damaged: a compressed block cannot be read" })
          : isOwn(cause)
          ? cause
          : unwritable(cause)
    })
    const sent = yield* Effect.mapError(
      Effect.timeoutFail(readExactly(connection.duplex, hashBytes, patienceMs), {
        duration: patienceMs,
        onTimeout: () => new Short({ reason: "silent" })
      }),
      (error) => error._tag === "Short" ? stopped(size, size) : error
    )
    const sha256 = hash.digest()
    if (!sha256.equals(sent)) {
      return yield* new TransferError({
        path,
        problem: `arrived damaged: its SHA-256 is ${sha256.toString("hex")}, but the sender's is ${
          sent.toString("hex")
        }`
      })
    }
    yield* Effect.tryPromise({ try: () => handle.sync(), catch: unwritable })
    return sha256.toString("hex")
  })

/** A sender that keeps a receiver waiting. */
class Slow extends Error {}

/** The plain bytes of a file as they come. */
async function* incoming(
  { duplex }: Tx3Connection,
  size: number,
  method: Compression.Method | undefined
): AsyncGenerator<Compression.Unpacked, void> {
  if (method !== undefined) {
    return yield* Compression.unpack(duplex, size, { method, patienceMs })
  }
  for await (const bytes of take(duplex, size, patienceMs)) {
    yield { bytes, came: bytes.length }
  }
}

/**
 * What plain bytes count for the pace beside the bytes that came for them. Zeros compress so well that a disk may be too slow to fill a
 * connection, and a sender must not hold its place with next to nothing.
 */
const plainShare = 1 / 4096

/** Passes chunks on. Rejects if the sender brings less than `bytes` in `inMs`; the time of the consumer does not count. */
async function* paced(
  chunks: AsyncGenerator<Compression.Unpacked, void>,
  { bytes, inMs }: Pace
): AsyncGenerator<Compression.Unpacked, void> {
  let [waitedMs, brought] = [0, 0]
  while (true) {
    const began = performance.now()
    const next = await chunks.next()
    if (next.done) {
      return
    }
    waitedMs += performance.now() - began
    brought += next.value.came + next.value.bytes.length * plainShare
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

export const stopped = (received: number, size: number): TransferError =>
  new TransferError({ problem: `the sender stopped after ${received} of ${size} bytes`, isInterrupted: true })

/**
 * The last answer, as far as it can still be given. Closing a connection on what was not read would reset it, and could take
 * the answer back.
 */
export const farewell = (connection: Tx3Connection, answer: typeof Answer.Type) =>
  writeFrame(connection, answer).pipe(
    Effect.zipRight(connection.end),
    Effect.zipRight(Stream.runDrain(connection.readable)),
    Effect.timeoutOption(farewellMs),
    Effect.ignore
  )

export const writeFrame = (connection: Tx3Connection, value: unknown): Effect.Effect<void, ConnectionError> => {
  const json = Buffer.from(JSON.stringify(value))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(json.length)
  return connection.write(Buffer.concat([length, json]))
}

/** The answer to something; fails with the reason where it is a refusal. */
export const confirmed = (connection: Tx3Connection, path: string, patienceMs?: number) =>
  Effect.flatMap(
    readFrame(connection, "answer", Answer, {
      maxBytes: maxListBytes,
      ...patienceMs === undefined ? {} : { patienceMs }
    }),
    (answer) =>
      answer.ok
        ? Effect.succeed(answer)
        : new TransferError({ path, problem: `the receiver says: ${answer.reason}` })
  )

export const readFrame = <A, I>(
  { duplex }: Tx3Connection,
  kind: "offer" | "answer",
  schema: Schema.Schema<A, I>,
  { maxBytes = maxFrameBytes, patienceMs }: { readonly maxBytes?: number; readonly patienceMs?: number }
) =>
  Effect.gen(function*() {
    const length = (yield* readExactly(duplex, 4, patienceMs)).readUInt32BE()
    if (length > maxBytes) {
      return yield* notUnderstood(kind)
    }
    const json = (yield* readExactly(duplex, length, patienceMs)).toString()
    return yield* Effect.mapError(Schema.decode(Schema.parseJson(schema))(json), (error) =>
      ParseResult.ArrayFormatter.formatErrorSync(error).some(({ path }) =>
          path[0] === "name"
        )
        ? new TransferError({ problem: `the file cannot have this name: ${nameRule}` })
        : notUnderstood(kind))
  }).pipe(
    // Silence is judged for each piece, and bytes may come one by one.
    patienceMs === undefined ? Function.identity : Effect.timeoutFail({
      duration: patienceMs,
      onTimeout: () => new Short({ reason: "silent" })
    }),
    Effect.catchTag("Short", ({ reason }) => {
      const problem = reason === "ended"
        ? `the other end ended the connection in place of an ${kind}`
        : `no ${kind} came within ${patienceMs} ms`
      return new TransferError({ problem: `${problem}; ${peerQuestion[kind]}` })
    })
  )

export const notUnderstood = (kind: "offer" | "answer") =>
  new TransferError({ problem: `what came is no ${kind} of this version of tx3; ${peerQuestion[kind]}` })

const peerQuestion = {
  offer: "does the other end run tx3 send?",
  answer: "does the other end run tx3 receive, and is it not busy with another file?"
}

export const isOwn = (error: unknown): error is ConnectionError | TransferError =>
  error instanceof ConnectionError || error instanceof TransferError

export const codeOf = (cause: unknown) => (cause as NodeJS.ErrnoException).code
