/**
 * The identity of a node or relay: a certificate, its private key, and the certificate's digest. The module makes new
 * identities, reads them from DER and PEM, and refuses those that other tx3 implementations would not accept. The key is a
 * `Redacted`, so logs, JSON and errors do not show it.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createPrivateKey, createPublicKey, generateKeyPair, randomBytes, X509Certificate } from "node:crypto"
import { promisify } from "node:util"
import * as CertDigest from "./CertDigest.js"
import * as pem from "./internal/pem.js"
import * as PeerCertificate from "./PeerCertificate.js"

/**
 * A certificate with its private key (protocol, section 3).
 *
 * @since 0.1.0
 * @category models
 */
export interface Identity {
  /** The certificate: DER, issued by the well-known CA. */
  readonly certificate: Uint8Array
  /** The key of that certificate: PKCS#8 DER (RFC 5958), not encrypted. */
  readonly privateKey: Redacted.Redacted<Uint8Array>
  /** The SHA-256 digest of `certificate`. */
  readonly digest: CertDigest.CertDigest
}

const Reason = Schema.Literal(
  "CertificateMissing",
  "CertificateMalformed",
  "PrivateKeyMissing",
  "PrivateKeyMalformed",
  "ForeignIssuer",
  "CertificateRefused",
  "KeyMismatch"
)

const messages: Record<typeof Reason.Type, string> = {
  CertificateMissing: "there is no CERTIFICATE block; give a PEM text with a CERTIFICATE and a PRIVATE KEY block",
  CertificateMalformed: "the certificate is not readable; it must be one X.509 certificate in DER",
  PrivateKeyMissing: "there is no PRIVATE KEY block; give a PEM text with a CERTIFICATE and a PRIVATE KEY block",
  PrivateKeyMalformed: "the private key is not readable; it must be a PKCS#8 key in DER, not encrypted",
  ForeignIssuer: "the certificate is not issued by the well-known CA; use one that a tx3 program made",
  CertificateRefused: "other tx3 programs refuse the certificate; use one that a tx3 program made",
  KeyMismatch: "the private key does not belong to the certificate; use the key that was made with it"
}

/**
 * Bytes or a text that are no identity. `reason` is for programs; `message` says what is wrong and what to do, and
 * never contains any of the input.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityError extends Schema.TaggedError<IdentityError>("@tx3/protocol/IdentityError")("IdentityError", {
  reason: Reason,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message(): string {
    return messages[this.reason] + (this.cause instanceof Error ? ` (${this.cause.message})` : "")
  }
}

const refusedBy = (cause: PeerCertificate.Refused) => {
  switch (cause.reason) {
    case "Malformed":
      return new IdentityError({ reason: "CertificateMalformed" })
    case "Issuer":
    case "Signature":
      return new IdentityError({ reason: "ForeignIssuer" })
    default:
      return new IdentityError({ reason: "CertificateRefused", cause })
  }
}

const fail = (reason: IdentityError["reason"]) => () => new IdentityError({ reason })

const make = (certificate: Uint8Array, privateKey: Uint8Array): Identity => ({
  certificate,
  privateKey: Redacted.make(privateKey),
  digest: CertDigest.ofCertificate(certificate)
})

/**
 * Makes a new identity: an EC P-256 key pair, and a certificate for it of the shape that section 3 of the protocol
 * gives, signed by the well-known CA. It asks for nothing but randomness and does not fail.
 *
 * @example
 * ```ts
 * import { Identity } from "@tx3/protocol"
 * import { Effect, Redacted } from "effect"
 * import { writeFileSync } from "node:fs"
 *
 * // Keeps a new identity, which `tx3 --identity FILE` and `Identity.fromPem` read.
 * export const keep = (file: string) =>
 *   Effect.map(Identity.generate, (identity) => {
 *     writeFileSync(file, Redacted.value(Identity.toPem(identity)), { mode: 0o600, flag: "wx" })
 *     return identity.digest
 *   })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const generate: Effect.Effect<Identity> = Effect.promise(async () => {
  const { make: makeCertificate, ownBytes } = await import("./internal/newCertificate.js")
  const { privateKey, publicKey } = await generateKeys("ec", {
    namedCurve: "P-256",
    privateKeyEncoding: { format: "der", type: "pkcs8" },
    publicKeyEncoding: { format: "der", type: "spki" }
  })
  return make(makeCertificate(publicKey, randomBytes(ownBytes)), new Uint8Array(privateKey))
})

const generateKeys = promisify(generateKeyPair)

/**
 * Makes the identity that belongs to a text: the same key and the same certificate wherever it is called. Who knows the text
 * has the private key, so a peer that has this digest has proved nothing but that. It serves to meet under a text that both
 * sides know, at the address that ends in the digest.
 *
 * @since 0.1.0
 * @category constructors
 */
export const derived = (text: string): Effect.Effect<Identity> =>
  Effect.promise(async () => {
    const module = await import("./internal/derivedIdentity.js")
    const { certificate, privateKey } = module.make(text)
    return make(certificate, privateKey)
  })

/**
 * The identity made of a certificate in DER and its key in PKCS#8 DER, which must belong together. The
 * certificate must be one that peers accept (`PeerCertificate`). One that is not valid yet passes: some machines start
 * with a clock that is decades behind, and only the clocks of the peers count.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromDer = (options: {
  readonly certificate: Uint8Array
  readonly privateKey: Redacted.Redacted<Uint8Array>
}): Either.Either<Identity, IdentityError> =>
  Either.gen(function*() {
    const privateKey = Redacted.value(options.privateKey)
    const certificateKey = yield* Either.try({
      try: () => new X509Certificate(options.certificate).publicKey,
      catch: fail("CertificateMalformed")
    })
    const publicKey = yield* Either.try({
      try: () => createPublicKey(createPrivateKey({ key: Buffer.from(privateKey), format: "der", type: "pkcs8" })),
      catch: fail("PrivateKeyMalformed")
    })
    if (!publicKey.equals(certificateKey)) {
      return yield* Either.left(new IdentityError({ reason: "KeyMismatch" }))
    }
    yield* Either.orElse(
      PeerCertificate.check(options.certificate, Date.now()),
      (refused) => refused.reason === "NotYetValid" ? Either.right(undefined) : Either.left(refusedBy(refused))
    )
    return make(options.certificate, privateKey)
  })

/**
 * The identity in a PEM text (RFC 7468) with a CERTIFICATE and a PRIVATE KEY block, in either order and with any text
 * around them. Of several blocks of a kind the first counts.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromPem = (text: Redacted.Redacted<string>): Either.Either<Identity, IdentityError> =>
  Either.gen(function*() {
    const certificate = yield* Either.fromOption(
      pem.decode("CERTIFICATE", Redacted.value(text)),
      fail("CertificateMissing")
    )
    const privateKey = yield* Either.fromOption(
      pem.decode("PRIVATE KEY", Redacted.value(text)),
      fail("PrivateKeyMissing")
    )
    return yield* fromDer({ certificate, privateKey: Redacted.make(privateKey) })
  })

/**
 * The identity as a PEM text (RFC 7468), the certificate first. It holds the private key in the clear, hence the
 * `Redacted`: a file for it must be readable by its owner only.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toPem = (identity: Identity): Redacted.Redacted<string> =>
  Redacted.make(
    pem.encode("CERTIFICATE", identity.certificate) +
      pem.encode("PRIVATE KEY", Redacted.value(identity.privateKey))
  )
