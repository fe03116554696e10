/**
 * Measures how long a connection takes there and back: small messages, one at a time, each to come back unchanged, as
 * `tx3 listen --echo` sends them.
 *
 * @since 0.1.0
 */
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import { readExactly } from "./internal/bytes.js"

/** As small as a key press in a shell with all that is put around it. */
const payloadBytes = 64

/** More than any way there and back takes. */
const patienceMs = 10_000

/**
 * The other end does not echo: `silent` (no reply in time), `ended` (the end of the connection in place of a reply),
 * `different` (other bytes came back).
 *
 * @since 0.1.0
 * @category errors
 */
export class PingError extends Schema.TaggedError<PingError>("@tx3/reach/PingError")("PingError", {
  reason: Schema.Literal("silent", "ended", "different")
}) {
  override get message(): string {
    const problem = {
      silent: `no reply within ${patienceMs} ms`,
      ended: "the other end ended the connection in place of a reply",
      different: "the other end did not send back what it got"
    }[this.reason]
    return `${problem}; is it running tx3 listen --echo?`
  }
}

/**
 * Sends one message and waits for it to come back: how many milliseconds that took.
 *
 * @since 0.1.0
 * @category running
 */
export const once = (connection: Tx3Connection): Effect.Effect<number, PingError | ConnectionError> =>
  Effect.gen(function*() {
    const payload = randomBytes(payloadBytes)
    const start = performance.now()
    yield* connection.write(payload)
    const reply = yield* readExactly(connection.duplex, payloadBytes, patienceMs)
    const milliseconds = performance.now() - start
    return reply.equals(payload) ? milliseconds : yield* new PingError({ reason: "different" })
  }).pipe(
    Effect.catchTag("Short", ({ reason }) => new PingError({ reason }))
  )

/**
 * The summary of some round trips, in milliseconds. 99 of 100 take `p99` or less.
 *
 * @since 0.1.0
 * @category models
 */
export interface Summary {
  readonly min: number
  readonly mean: number
  readonly p99: number
}

/**
 * Sums up at least one round trip.
 *
 * @since 0.1.0
 * @category constructors
 */
export const summarize = (milliseconds: ReadonlyArray<number>): Summary => {
  const sorted = milliseconds.toSorted((a, b) => a - b)
  return {
    min: sorted[0]!,
    mean: sorted.reduce((sum, each) => sum + each, 0) / sorted.length,
    p99: sorted[Math.ceil(sorted.length * 0.99) - 1]!
  }
}
