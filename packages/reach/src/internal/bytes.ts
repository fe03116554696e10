/**
 * Reads and writes a stream by chunks: a known number of bytes and not one more, so that what follows stays in the stream for
 * the next reader, and no faster than the stream takes them. Nothing stays attached to it between two calls.
 */
import { ConnectionError } from "@tx3/node/NodeError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Duplex } from "node:stream"

/** There were fewer bytes: the other end ended before, or sent nothing for too long. */
export class Short extends Data.TaggedError("Short")<{ readonly reason: "ended" | "silent" }> {}

/** Yields exactly `size` bytes as they come. Rejects with {@link Short} or a `ConnectionError`. */
export async function* take(duplex: Duplex, size: number, patienceMs?: number): AsyncGenerator<Buffer, void> {
  let left = size
  while (left > 0) {
    const bytes: Buffer | null = duplex.read(left < duplex.readableLength ? left : undefined)
    if (bytes === null) {
      await more(duplex, patienceMs)
    } else {
      left -= bytes.length
      yield bytes
    }
  }
}

/** Reads exactly `size` bytes into one buffer. */
export const readExactly = (duplex: Duplex, size: number, patienceMs?: number) =>
  Effect.tryPromise({
    try: async () => {
      const chunks: Array<Buffer> = []
      for await (const chunk of take(duplex, size, patienceMs)) {
        chunks.push(chunk)
      }
      return Buffer.concat(chunks)
    },
    catch: (error) => error as Short | ConnectionError
  })

/** Writes a chunk, and waits where the stream has enough for now. Rejects with a `ConnectionError`. */
export const put = async (duplex: Duplex, chunk: Uint8Array) => {
  if (duplex.write(chunk)) {
    return
  }
  await new Promise<void>((resolve, reject) => {
    if (duplex.closed) {
      return reject(lost(duplex))
    }
    const settle = (act: () => void) => () => {
      duplex.off("drain", onDrain).off("close", onClose)
      act()
    }
    const onDrain = settle(resolve)
    const onClose = settle(() => reject(lost(duplex)))
    duplex.on("drain", onDrain).on("close", onClose)
  })
}

/** Waits until there may be bytes to read. */
const more = (duplex: Duplex, patienceMs: number | undefined) =>
  new Promise<void>((resolve, reject) => {
    if (duplex.readableEnded || duplex.closed) {
      return reject(noMore(duplex))
    }
    const settle = (act: () => void) => () => {
      clearTimeout(timer)
      duplex.off("readable", onReadable).off("end", onEnd).off("close", onEnd)
      act()
    }
    const onReadable = settle(resolve)
    const onEnd = settle(() => reject(noMore(duplex)))
    const timer = patienceMs === undefined
      ? undefined
      : setTimeout(settle(() => reject(new Short({ reason: "silent" }))), patienceMs)
    duplex.on("readable", onReadable).on("end", onEnd).on("close", onEnd)
  })

const noMore = (duplex: Duplex) =>
  duplex.readableEnded && duplex.errored === null ? new Short({ reason: "ended" }) : lost(duplex)

const lost = ({ errored }: Duplex) =>
  errored instanceof ConnectionError
    ? errored
    : new ConnectionError({ reason: "lost", cause: errored ?? new Error("the other end closed it") })
