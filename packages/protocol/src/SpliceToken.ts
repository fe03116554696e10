/**
 * A splice token names one waiting peer. The relay sends it to the node, and the node's second connection presents it to be
 * spliced with that peer. A token entitles its holder to the peer, so it must not be guessable.
 */
import * as Schema from "effect/Schema"
import { randomFillSync } from "node:crypto"
import * as base64url32 from "./internal/base64url32.js"

/**
 * A splice token's 32 bytes as base64url without padding: 43 characters, in the one canonical form that 32 bytes have
 * (protocol, section 4; RFC 4648, section 5).
 *
 * @since 0.1.0
 * @category schemas
 */
export const SpliceToken = Schema.String.pipe(
  Schema.pattern(base64url32.pattern, {
    identifier: "SpliceToken",
    description: "the base64url of a 32-byte splice token, 43 characters without padding"
  }),
  Schema.brand("@tx3/protocol/SpliceToken")
)

/**
 * A canonical base64url text of 32 bytes that names a waiting peer (protocol, section 4).
 *
 * @since 0.1.0
 * @category models
 */
export type SpliceToken = typeof SpliceToken.Type

/**
 * The token whose 32 bytes these are, as they stand in a preamble and in a control stream. Throws a `RangeError` for
 * any other length, which is a bug in the caller: nothing is copied or checked beyond that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBytes = (bytes: Uint8Array): SpliceToken => base64url32.encode(bytes) as SpliceToken

/**
 * A new token from the operating system's cryptographic random number generator. It begins with `prefix`, if there is one: a
 * relay of a cluster puts its name there, and the bytes behind it are still too many to guess.
 *
 * @since 0.1.0
 * @category constructors
 */
export const random = (prefix?: Uint8Array): SpliceToken => {
  if (unusedAt === pool.length) {
    randomFillSync(pool)
    unusedAt = 0
  }
  if (prefix !== undefined) {
    pool.set(prefix, unusedAt)
  }
  return fromBytes(pool.subarray(unusedAt, unusedAt += 32))
}

/** Random bytes for the next tokens: asking for one at a time costs more than all the rest of making it. */
const pool = new Uint8Array(32 * 128)
let unusedAt = pool.length

/**
 * The 32 bytes of a token, as they are sent.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toBytes = (token: SpliceToken): Uint8Array => base64url32.decode(token)
