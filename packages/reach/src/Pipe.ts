/**
 * Joins a connection to stdin and stdout, or any streams like them: bytes both ways, each only as fast as it is taken, and
 * the end of either direction passed on while the other goes on. Nothing is opened or closed here but the connection's
 * writing side.
 *
 * @since 0.1.0
 */
import { FileError } from "@tx3/files/FileError"
import { OutputError } from "@tx3/files/OutputError"
import { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Effect from "effect/Effect"
import type { Duplex, Readable, Writable } from "node:stream"
import { finished } from "node:stream/promises"
import * as Refusal from "./Refusal.js"

/**
 * Sends all of `stdin` and writes all that comes to `stdout`. Done when both have ended, or failed when one of the three
 * fails. `stdout` stays open, unless `endStdout` ends it when all is written, and so does `stdin` where it has not ended. With
 * `ownDigest` the other end may refuse this one in place of sending anything, and `onAnswer` runs, to its end, as soon as it has
 * sent something that a relay does not send.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  connection: Tx3Connection,
  { stdin, stdout }: { readonly stdin: Readable; readonly stdout: Writable },
  options: {
    readonly endStdout?: Effect.Effect<void>
    readonly onAnswer?: Effect.Effect<void>
    readonly ownDigest?: CertDigest
  } = {}
): Effect.Effect<void, ConnectionError | FileError | OutputError | Refusal.Refused> =>
  Effect.all([
    Effect.raceFirst(
      send(stdin, connection.duplex),
      failureOf(stdin, (cause) => new FileError({ action: "read", path: "stdin", cause }))
    ),
    Effect.raceFirst(
      begin(connection, stdout, options).pipe(
        Effect.zipRight(receive(connection, stdout)),
        Effect.zipRight(options.endStdout ?? Effect.void)
      ),
      failureOf(stdout, (cause) => new OutputError({ cause }))
    )
  ], { concurrency: "unbounded", discard: true })

/**
 * Sends back all that comes, until the other end has ended.
 *
 * @since 0.1.0
 * @category running
 */
export const echo = ({ duplex }: Tx3Connection): Effect.Effect<void, ConnectionError> => send(duplex, duplex)

const send = (input: Readable, duplex: Duplex) =>
  Effect.suspend(() => {
    const end = () => void duplex.end()
    if (input.readableEnded) {
      end()
    } else {
      input.once("end", end).pipe(duplex, { end: false })
    }
    return ended(duplex, { readable: false }).pipe(
      Effect.ensuring(Effect.sync(() => input.off("end", end).unpipe(duplex)))
    )
  })

/** Passes the first bytes on, unless they are a refusal. */
const begin = (
  connection: Tx3Connection,
  output: Writable,
  { onAnswer = Effect.void, ownDigest }: NonNullable<Parameters<typeof run>[2]>
) =>
  ownDigest === undefined
    ? Effect.void
    : Refusal.passOn(connection, {
      onAnswer,
      ownDigest,
      write: (bytes) => Effect.sync(() => output.write(bytes))
    })

const receive = (connection: Tx3Connection, output: Writable) =>
  Effect.sync(() => connection.duplex.pipe(output, { end: false })).pipe(
    Effect.zipRight(ended(connection.duplex, { writable: false })),
    Effect.ensuring(Effect.sync(() => connection.duplex.unpipe(output))),
    Effect.zipRight(written(output))
  )

/** Waits for the end of one of a connection's directions. */
const ended = (duplex: Duplex, direction: { readonly readable?: false; readonly writable?: false }) =>
  Effect.tryPromise({
    try: (signal) => finished(duplex, { ...direction, signal, cleanup: true }),
    catch: () =>
      duplex.errored instanceof ConnectionError
        ? duplex.errored
        : new ConnectionError({
          reason: "lost",
          cause: duplex.errored ?? new Error("the other end closed the connection")
        })
  })

/** Waits until all that was written to a stream is the operating system's. A failure is left to `failureOf`. */
const written = (output: Writable) =>
  Effect.async<void>((resume) => {
    output.write("", (error) => error ? undefined : resume(Effect.void))
  })

const failureOf = <E>(stream: Readable | Writable, fail: (cause: Error) => E) =>
  Effect.async<never, E>((resume) => {
    const onError = (cause: Error) => resume(Effect.fail(fail(cause)))
    stream.on("error", onError)
    return Effect.sync(() => stream.off("error", onError))
  })
