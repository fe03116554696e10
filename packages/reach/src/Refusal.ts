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
 * does not answer.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = "not-allowed" | "unavailable"

/**
 * The other end has refused this one.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>("@tx3/reach/Refused")("Refused", {
  /** The digest of this end, which is refused. */
  digest: Schema.String,
  reason: Schema.Literal("not-allowed", "unavailable")
}) {
  override get message(): string {
    return this.reason === "not-allowed"
      ? `the other end does not allow ${this.digest}, which is you, to connect; ask its owner to allow that digest`
      : "the other end is there, but the service behind it does not answer; ask its owner to start it"
  }
}

/** The line that a refused peer is sent, in ASCII. */
const lineOf = (digest: CertDigest, reason: Reason) =>
  `tx3: refused ${digest}: ${
    reason === "not-allowed" ? "it is not allowed to connect here" : "the service does not answer"
  }\n`

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
export const send = (connection: Tx3Connection, reason: Reason): Effect.Effect<void> =>
  Effect.suspend(() => {
    let left = lingerBytes
    return connection.write(Buffer.from(lineOf(connection.remoteDigest, reason))).pipe(
      Effect.zipRight(connection.end),
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
 * Tells whether these are all the bytes that a relay sends to an end that it takes for a node: a lone 0. With these as the first
 * bytes of a connection, nobody knows yet whether a node has answered.
 *
 * @since 0.1.0
 * @category recognising
 */
export const isLoneZero = (bytes: Uint8Array): boolean => bytes.length === 1 && bytes[0] === 0

/**
 * Reads the first bytes of a connection, until they cannot be a refusal any more, and returns them. The reader of the
 * connection must begin with them. Fails with {@link Refused} where they are one, from the line's first to its last byte and
 * with nothing behind it. A lone byte of 0 is returned when it has been the only one for half a second.
 *
 * @since 0.1.0
 * @category recognising
 */
export const pass = (
  connection: Tx3Connection,
  ownDigest: CertDigest
): Effect.Effect<Uint8Array, Refused | ConnectionError> =>
  Effect.gen(function*() {
    const lines = (["not-allowed", "unavailable"] as const).map((reason) => ({
      reason,
      line: lineOf(ownDigest, reason)
    }))
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
      } else if (Option.isSome(more.left)) {
        return yield* more.left.value
      } else {
        const refusal = lines.find(({ line }) => line === bytes.toString("latin1"))
        return refusal === undefined ? bytes : yield* new Refused({ digest: ownDigest, reason: refusal.reason })
      }
    }
    return bytes
  })
