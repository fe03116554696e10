/**
 * Reads and writes a connection for @effect/platform's `Socket`, which calls a handler for each chunk. It closes the connection
 * only on a `CloseEvent`, and owns nothing.
 */
import * as Socket from "@effect/platform/Socket"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Stream from "effect/Stream"
import type { ConnectionError } from "../NodeError.js"

/**
 * Handlers of one connection that run at a time. As with platform's own sockets the next chunk does not wait for the handler
 * of the one before it: a protocol like @effect/rpc's needs its acknowledgements read while it waits for one. Unlike them it
 * waits for the 64th, so that a reader which does not keep up holds the sender back; 64 chunks are 4 MiB at most.
 */
const maxHandlers = 64

type Handler<Chunk, E, R> = (chunk: Chunk) => Effect.Effect<unknown, E, R> | void

/** Calls the handler for each chunk in order, and ends when the other end has ended and all handlers are done. */
export const read = <E, R>(
  readable: Stream.Stream<Uint8Array, ConnectionError>,
  handler: Handler<Uint8Array, E, R>
): Effect.Effect<void, Socket.SocketError | E, R> =>
  Effect.scoped(Effect.gen(function*() {
    const handlers = yield* FiberSet.make<unknown, E>()
    const run = yield* FiberSet.runtime(handlers)<R>()
    const places = Effect.unsafeMakeSemaphore(maxHandlers)
    const reading = Stream.runForEach(readable, (chunk) =>
      Effect.flatMap(places.take(1), () => {
        const handling = handler(chunk)
        return Effect.isEffect(handling)
          ? Effect.sync(() => void run(Effect.ensuring(handling, places.release(1))))
          : Effect.asVoid(places.release(1))
      }))
    yield* Effect.mapError(reading, readError).pipe(
      Effect.zipRight(FiberSet.awaitEmpty(handlers)),
      // Fails with the first handler that does, and ends with nothing else.
      Effect.raceFirst(FiberSet.join(handlers))
    )
  }))

const encoder = new TextEncoder()

/** Writes a chunk and waits until the operating system has it. */
export const write = (
  connection: {
    readonly write: (bytes: Uint8Array) => Effect.Effect<void, ConnectionError>
    readonly close: Effect.Effect<void>
  },
  chunk: Uint8Array | string | Socket.CloseEvent
): Effect.Effect<void, Socket.SocketError> =>
  Socket.isCloseEvent(chunk)
    ? connection.close
    : Effect.mapError(
      connection.write(typeof chunk === "string" ? encoder.encode(chunk) : chunk),
      (cause) => new Socket.SocketGenericError({ reason: "Write", cause })
    )

const readError = (cause: ConnectionError) =>
  cause.reason === "closed"
    ? new Socket.SocketCloseError({ reason: "Close", code: 1000 })
    : new Socket.SocketGenericError({ reason: "Read", cause })
