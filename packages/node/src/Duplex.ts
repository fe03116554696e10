/**
 * Reads and writes a Node stream by pulling: it reads only when asked to, and a write completes when it has left this process.
 * Both remove their listeners when they complete, and neither owns the stream.
 *
 * @since 0.1.0
 */
import * as Handshake from "@tx3/protocol/Handshake"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Duplex } from "node:stream"
import { ConnectionError } from "./NodeError.js"

const lost = (cause: unknown) => new ConnectionError({ reason: "lost", cause })

/**
 * Returns the reason for which a connection ends when its stream fails with this error.
 *
 * @since 0.1.0
 * @category getters
 */
export const failureOf = (error: Error): ConnectionError =>
  error instanceof ConnectionError
    ? error
    : error instanceof Handshake.Truncated
    ? new ConnectionError({ reason: "truncated", cause: error })
    : lost(error)

/** Why a stream that is closed is closed. A write that this end's close cut off is no loss; Node 24 reports it as one. */
const closedBy = ({ errored }: Duplex) => {
  const error = errored === null ? undefined : failureOf(errored)
  return error === undefined || (error.cause as NodeJS.ErrnoException | undefined)?.code === "ECANCELED"
    ? new ConnectionError({ reason: "closed" })
    : error
}

/** Streams that {@link close} has begun to close: nothing more is read or written. */
const closing = new WeakSet<Duplex>()

/** Emitted by a stream when it becomes one of those. */
const closingEvent = Symbol.for("@tx3/node/closing")

/**
 * The next bytes: all that are there, or exactly `size` of them, fewer only at the end. Fails with none after the other
 * end's end. One reader at a time.
 *
 * @since 0.1.0
 * @category reading
 */
export const read = (duplex: Duplex, size?: number): Effect.Effect<Uint8Array, Option.Option<ConnectionError>> =>
  Effect.async((resume) => {
    const attempt = () => {
      if (closing.has(duplex)) {
        return settle(Effect.fail(Option.some(new ConnectionError({ reason: "closed" }))))
      }
      const bytes: Uint8Array | null = duplex.read(size)
      if (bytes !== null) {
        settle(Effect.succeed(bytes))
      } else if (duplex.errored !== null) {
        // Also where all was read: a stream that fails in place of its end counts as ended, too.
        settle(Effect.fail(Option.some(closedBy(duplex))))
      } else if (duplex.readableEnded) {
        settle(Effect.fail(Option.none()))
      } else if (duplex.closed) {
        settle(Effect.fail(Option.some(closedBy(duplex))))
      }
    }
    const release = () =>
      void duplex.off("readable", attempt).off("end", attempt).off("close", attempt).off(closingEvent, attempt)
    const settle = (result: Effect.Effect<Uint8Array, Option.Option<ConnectionError>>) => {
      release()
      resume(result)
    }
    duplex.on("readable", attempt).on("end", attempt).on("close", attempt).on(closingEvent, attempt)
    attempt()
    return Effect.sync(release)
  })

/**
 * Waits until the bytes are the operating system's, which holds the writer back as long as the other end does.
 *
 * @since 0.1.0
 * @category writing
 */
export const write = (duplex: Duplex, bytes: Uint8Array): Effect.Effect<void, ConnectionError> =>
  Effect.async((resume) => {
    if (closing.has(duplex)) {
      return resume(new ConnectionError({ reason: "closed" }))
    }
    if (duplex.writableEnded && !duplex.destroyed) {
      // Not left to the stream, which would close its reading side too.
      return resume(new ConnectionError({ reason: "ended" }))
    }
    duplex.write(bytes, (error) => {
      // Node reports success for the write under way when a socket is destroyed.
      resume(duplex.destroyed ? closedBy(duplex) : error ? failureOf(error) : Effect.void)
    })
  })

/**
 * Ends the writing side and waits until everything written before is the operating system's.
 *
 * @since 0.1.0
 * @category writing
 */
export const end = (duplex: Duplex): Effect.Effect<void, ConnectionError> =>
  Effect.async((resume) => {
    if (duplex.writableFinished && !closing.has(duplex)) {
      return resume(Effect.void)
    }
    if (closing.has(duplex)) {
      return resume(new ConnectionError({ reason: "closed" }))
    }
    if (duplex.destroyed) {
      // Node would not call back.
      return resume(closedBy(duplex))
    }
    duplex.end(() => resume(duplex.writableFinished ? Effect.void : closedBy(duplex)))
  })

/** The time limit of each step of a close: sending a piece of the buffered bytes, or waiting for the other end's end. */
const closingStepMs = 5_000

/**
 * Ends in order: what was written goes out, then the end. Done when the operating system has it all, or when it takes nothing
 * for 5 s. The stream is destroyed when the other end has ended too, and 5 s later at the latest: destroyed earlier, with bytes
 * that were not read, TCP would reset it and take back what is on the way. Bytes that still arrive are dropped.
 *
 * @since 0.1.0
 * @category closing
 */
export const close = (duplex: Duplex, progress: () => number): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (duplex.destroyed || closing.has(duplex)) {
      return resume(Effect.void)
    }
    closing.add(duplex)
    duplex.emit(closingEvent)
    let before = progress()
    const timer = setInterval(() => {
      if (duplex.writableFinished || progress() === before) {
        duplex.destroy()
      }
      before = progress()
    }, closingStepMs)
    const done = () => resume(Effect.void)
    duplex.once("finish", done).once("close", () => {
      clearInterval(timer)
      done()
    })
    if (duplex.writableFinished) {
      done()
    }
    duplex.end()
    duplex.resume()
  })

/**
 * Waits until the stream is closed, in order or by a failure.
 *
 * @since 0.1.0
 * @category closing
 */
export const closed = (duplex: Duplex): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (duplex.closed) {
      return resume(Effect.void)
    }
    const onClose = () => resume(Effect.void)
    duplex.once("close", onClose)
    return Effect.sync(() => duplex.off("close", onClose))
  })
