/**
 * The digest of a TLS certificate. It names a node in addresses, preambles and logs, and comparing it is the only source of
 * trust. It is a branded string: code compares it, prints it and uses it as a map's key without conversion.
 */
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as base64url32 from "./internal/base64url32.js"

/**
 * The SHA-256 digest of a certificate's DER, as base64url without padding: 43 characters, in the one canonical form
 * that 32 bytes have (protocol, sections 2 and 3; RFC 4648, section 5).
 *
 * @since 0.1.0
 * @category schemas
 */
export const CertDigest = Schema.String.pipe(
  Schema.pattern(base64url32.pattern, {
    identifier: "CertDigest",
    description: "the base64url of a certificate's SHA-256 digest, 43 characters without padding"
  }),
  Schema.brand("@tx3/protocol/CertDigest")
)

/**
 * A canonical base64url text of 32 bytes that names a certificate (protocol, section 3).
 *
 * @since 0.1.0
 * @category models
 */
export type CertDigest = typeof CertDigest.Type

/**
 * The digest whose 32 bytes these are, as they stand in a preamble. Throws a `RangeError` for any other length, which
 * is a bug in the caller: nothing is copied or checked beyond that, because a relay does this for every connection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBytes = (bytes: Uint8Array): CertDigest => base64url32.encode(bytes) as CertDigest

/**
 * The digest of a certificate in DER (protocol, section 3).
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofCertificate = (der: Uint8Array): CertDigest =>
  createHash("sha256").update(der).digest("base64url") as CertDigest

/**
 * The 32 bytes of a digest, as they are sent in a preamble.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toBytes = (digest: CertDigest): Uint8Array => base64url32.decode(digest)

/**
 * The first 8 characters (48 bits): enough to tell nodes apart in a log, not enough to name one.
 *
 * @since 0.1.0
 * @category conversions
 */
export const short = (digest: CertDigest): string => digest.slice(0, 8)
