/**
 * How an exposing end tells a peer, through the connection itself, that it gets nothing here: one line of text in place of
 * the service's bytes, and the end. The protocol has no other place for it. A peer of ours recognises the line, which has the
 * peer's own digest in it; any other passes it to its program. It owns nothing.
 */
import * as duplex from "@tx3/node/Duplex"
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/**
 * Why a peer is refused: `not-allowed`, it is none of those who may connect; `unavailable`, the service behind the address
 * does not answer. `datagrams` refuses those only that connect as to a TCP service: the service takes datagrams (`Datagrams`).
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = "not-allowed" | "unavailable" | "datagrams"

/**
 * The other end has refused this one.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>("@tx3/reach/Refused")("Refused", {
  /** The digest of this end, which is refused. */
  digest: Schema.String,
  reason: Schema.Literal("not-allowed", "unavailable", "datagrams")
}) {
  override get message(): string {
    switch (this.reason) {
      case "not-allowed":
        return `the other end does not allow ${this.digest}, which is you, to connect; ask its owner to allow that digest`
      case "unavailable":
        return "the other end is there, but the service behind it does not answer; ask its owner to start it"
      case "datagrams":
        return "the other end exposes a UDP service; reach it with tx3 forward ADDRESS --listen udp:127.0.0.1:PORT"
    }
  }
}

/** The line that a refused peer is sent, in ASCII. */
const lineOf = (digest: CertDigest, reason: Exclude<Reason, "datagrams">) =>
  `tx3: refused ${digest}: ${
    reason === "not-allowed" ? "it is not allowed to connect here" : "the service does not answer"
  }\n`

/**
 * The line that begins an exchange of datagrams, with the digest of the end that it is sent to. The exposing end sends it first,
 * and a peer that expects a stream of bytes takes it for a refusal.
 *
 * @since 0.1.0
 * @category refusing
 */
export const datagramsLine = (digest: CertDigest): string => `tx3: datagrams 1 ${digest}\n`

/** How long the peer's bytes are read after its refusal is sent. TCP would not deliver the line if they stayed unread. */
const lingerMs = 5_000
/** How many of them are read: more than can be on the way. */
const lingerBytes = 16 * 1024 * 1024

/**
 * Refuses the peer: sends it the line, ends, and waits until it has ended too, for 5 s at most. Closing is the caller's.
 *
 * @since 0.1.0
 * @category refusing
 */
export const send = (connection: Tx3Connection, reason: Exclude<Reason, "datagrams">): Effect.Effect<void> =>
  Effect.zipRight(
    Effect.ignore(connection.write(Buffer.from(lineOf(connection.remoteDigest, reason)))),
    linger(connection)
  )

/**
 * Ends, and waits until the peer has ended too, for 5 s at most, so that it gets what was written.
 *
 * @since 0.1.0
 * @category refusing
 */
export const linger = (connection: Tx3Connection): Effect.Effect<void> =>
  Effect.suspend(() => {
    let left = lingerBytes
    return connection.end.pipe(
      Effect.zipRight(Stream.runDrain(Stream.takeUntil(connection.readable, ({ length }) => (left -= length) <= 0))),
      Effect.timeoutOption(lingerMs),
      Effect.ignore
    )
  })

/**
 * How long a lone byte of 0 is held back, for what comes behind it. A relay that took this end for a node sends that byte, and
 * ends the connection when it gets data: a program like ssh would complain of the byte, and nobody of the address.
 */
const loneByteMs = 500

/**
 * All the bytes that a relay sends to an end that it takes for a node: a lone 0. With these as the first bytes of a connection, it is
 * not known yet whether a node has answered.
 */
const isLoneZero = (bytes: Uint8Array): boolean => bytes.length === 1 && bytes[0] === 0

/**
 * Reads the first bytes of a connection, until they cannot be a refusal any more, and returns them. The reader of the
 * connection must begin with them. Fails with {@link Refused} where they are one, from the line's first to its last byte and
 * with nothing behind it; behind the one for `datagrams` the connection stays open. A lone byte of 0 is returned when it has been
 * the only one for half a second.
 *
 * @since 0.1.0
 * @category recognising
 */
export const pass = (
  connection: Tx3Connection,
  ownDigest: CertDigest
): Effect.Effect<Uint8Array, Refused | ConnectionError> =>
  Effect.gen(function*() {
    const greeting = datagramsLine(ownDigest)
    const lines: ReadonlyArray<{ readonly reason: Reason; readonly line: string }> = [
      { reason: "not-allowed", line: lineOf(ownDigest, "not-allowed") },
      { reason: "unavailable", line: lineOf(ownDigest, "unavailable") },
      { reason: "datagrams", line: greeting }
    ]
    let bytes = Buffer.alloc(0)
    while (isLoneZero(bytes) || lines.some(({ line }) => line.startsWith(bytes.toString("latin1")))) {
      const read = duplex.read(connection.duplex)
      const more = yield* Effect.either(
        isLoneZero(bytes)
          ? Effect.timeoutTo(read, {
            duration: loneByteMs,
            onSuccess: (more) => more,
            onTimeout: () => new Uint8Array()
          })
          : read
      )
      if (isLoneZero(bytes) && Either.isRight(more) && more.right.length === 0) {
        return bytes
      }
      if (Either.isRight(more)) {
        bytes = Buffer.concat([bytes, more.right])
        if (bytes.toString("latin1") === greeting) {
          return yield* new Refused({ digest: ownDigest, reason: "datagrams" })
        }
      } else if (Option.isSome(more.left)) {
        return yield* more.left.value
      } else {
        const refusal = lines.find(({ line }) => line === bytes.toString("latin1"))
        return refusal === undefined ? bytes : yield* new Refused({ digest: ownDigest, reason: refusal.reason })
      }
    }
    return bytes
  })

/**
 * Passes the first bytes of a connection on, as {@link pass} returns them, and then runs `onAnswer` to its end, unless they may be a
 * relay's. The bytes come first: they may be all there is, and where the connection fails meanwhile, what waits is given up.
 *
 * @since 0.1.0
 * @category recognising
 */
export const passOn = <E>(
  connection: Tx3Connection,
  options: {
    readonly onAnswer: Effect.Effect<void>
    readonly ownDigest: CertDigest
    readonly write: (bytes: Uint8Array) => Effect.Effect<void, E>
  }
): Effect.Effect<void, Refused | ConnectionError | E> =>
  pass(connection, options.ownDigest).pipe(
    Effect.tap(options.write),
    Effect.flatMap((bytes) => isLoneZero(bytes) ? Effect.void : Effect.uninterruptible(options.onAnswer))
  )
