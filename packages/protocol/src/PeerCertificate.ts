/**
 * Decides which certificates tx3 accepts from the other end: one predicate for both roles, with the original's rules
 * (protocol, section 3). It reads the bytes of the leaf alone and ignores certificates behind it. It does not use OpenSSL's
 * verdict, which accepts and refuses other certificates than the original.
 *
 * The reader is our own (`internal/der`). An ASN.1 library takes 0.7 ms of the event loop for a stranger's certificate
 * and accepts BER, which the original does not; the reader takes a hundredth of that.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { verify } from "node:crypto"
import * as CertDigest from "./CertDigest.js"
import * as der from "./internal/der.js"
import * as WellKnownCa from "./WellKnownCa.js"

/**
 * The most bytes of a leaf. A leaf with a key of RSA 8192 has some 1500.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxLength = 8192

const Reason = Schema.Literal(
  "TooLong",
  "Malformed",
  "Version",
  "SerialNumber",
  "Issuer",
  "SignatureAlgorithm",
  "Signature",
  "Validity",
  "NotYetValid",
  "Expired",
  "PublicKey",
  "NoExtensions",
  "DuplicateExtension",
  "CriticalExtension",
  "Authority",
  "Usage"
)

/**
 * Why a certificate is refused.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

const messages: Record<Reason, string> = {
  TooLong: `it is longer than ${maxLength} bytes`,
  Malformed: "it is not X.509 in DER",
  Version: "it is not of version 3",
  SerialNumber: "its serial number is not a positive number of at most 20 bytes",
  Issuer: "its issuer is not the well-known CA",
  SignatureAlgorithm: "its signature is not ECDSA with SHA-256 or SHA-384",
  Signature: "its signature is not the well-known CA's",
  Validity: "its notBefore is later than its notAfter",
  NotYetValid: "it is not valid yet; compare the clocks of both machines",
  Expired: "it has expired; compare the clocks of both machines",
  PublicKey: "its key is not ECDSA P-256 or P-384, Ed25519, or RSA with 2048 to 8192 bits",
  NoExtensions: "it has no extensions",
  DuplicateExtension: "it has an extension twice",
  CriticalExtension: "it has a critical extension that tx3 does not know",
  Authority: "it is the certificate of an authority (CA:TRUE)",
  Usage: "its extended key usage does not include clientAuth"
}

/**
 * A certificate that the original would refuse. `reason` is for programs; `message` says what is wrong with it.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>("@tx3/protocol/PeerCertificate/Refused")("Refused", {
  reason: Reason
}) {
  override get message(): string {
    return messages[this.reason]
  }
}

/**
 * Decides on a leaf in DER, at a time in milliseconds since 1970: its digest, or why it is refused. That the other end
 * owns the key is for TLS to prove, and whose certificate it is for the caller to compare.
 *
 * It throws nothing, whatever the bytes, and takes some 0.2 ms at most, nearly all of it for the signature. In one
 * thing it is stricter than the original: an extension of any kind may be there only once (RFC 5280, section 4.2).
 *
 * @since 0.1.0
 * @category predicates
 */
export const check = (certificate: Uint8Array, now: number): Either.Either<CertDigest.CertDigest, Refused> => {
  const reason = refusal(certificate, now)
  return reason === undefined
    ? Either.right(CertDigest.ofCertificate(certificate))
    : Either.left(new Refused({ reason }))
}

const refusal = (certificate: Uint8Array, now: number): Reason | undefined => {
  if (certificate.length > maxLength) {
    return "TooLong"
  }
  try {
    return refusalOf(Buffer.from(certificate.buffer, certificate.byteOffset, certificate.length), now)
  } catch (error) {
    if (error instanceof der.Malformed) {
      return "Malformed"
    }
    throw error
  }
}

const hex = (text: string) => Buffer.from(text, "hex")

/** The contents of an AlgorithmIdentifier: ecdsa-with-SHA256, -SHA384 (RFC 5758, section 3.2). */
const signatureAlgorithms = [
  { identifier: hex("06082a8648ce3d040302"), digest: "sha256" },
  { identifier: hex("06082a8648ce3d040303"), digest: "sha384" }
]

const refusalOf = (certificate: Buffer, now: number): Reason | undefined => {
  const [tbsCertificate, algorithm, signature, ...others] = der.elements(der.only(certificate, der.tag.sequence))
  const [version, serialNumber, innerAlgorithm, issuer, validity, subject, publicKey, extensions, ...more] = der
    .elements(
      der.contentsOf(tbsCertificate, der.tag.sequence)
    )
  if (version?.tag !== der.tag.explicit0 || !version.contents.equals(version3)) {
    return "Version"
  }
  if (!isSerialNumber(serialNumber)) {
    return "SerialNumber"
  }
  der.contentsOf(subject, der.tag.sequence)
  if (issuer === undefined || !issuer.whole.equals(WellKnownCa.name)) {
    return "Issuer"
  }
  const [notBefore, notAfter, ...noMoreTimes] = der.elements(der.contentsOf(validity, der.tag.sequence))
  const from = der.time(notBefore)
  const until = der.time(notAfter)
  if (noMoreTimes.length > 0) {
    return "Malformed"
  }
  if (from > until) {
    return "Validity"
  }
  if (!isPublicKey(der.contentsOf(publicKey, der.tag.sequence))) {
    return "PublicKey"
  }
  if (extensions === undefined) {
    return "NoExtensions"
  }
  if (others.length > 0 || more.length > 0) {
    return "Malformed"
  }
  const refused = refusalOfExtensions(der.only(der.contentsOf(extensions, der.tag.explicit3), der.tag.sequence))
  if (refused !== undefined) {
    return refused
  }
  const identifier = der.contentsOf(algorithm, der.tag.sequence)
  const known = signatureAlgorithms.find((known) => known.identifier.equals(identifier))
  if (known === undefined || !der.contentsOf(innerAlgorithm, der.tag.sequence).equals(identifier)) {
    return "SignatureAlgorithm"
  }
  if (!verify(known.digest, tbsCertificate!.whole, WellKnownCa.publicKey, der.bytesOf(signature))) {
    return "Signature"
  }
  // Last, so that a caller that ignores the time knows it is the only reason. Certificates have whole seconds.
  const second = Math.floor(now / 1000) * 1000
  return second < from ? "NotYetValid" : second > until ? "Expired" : undefined
}

const version3 = hex("020102")

const isSerialNumber = (element: der.Element | undefined) =>
  der.contentsOf(element, der.tag.integer).some((byte) => byte !== 0) && der.positive(element).length <= 20

/** The contents of the AlgorithmIdentifiers of keys (RFC 5480, 8410, 3279), and what the key's own bytes must be. */
const keys: ReadonlyArray<{ readonly identifier: Buffer; readonly isKey: (key: Buffer) => boolean }> = [
  // An uncompressed point on P-256 or P-384.
  { identifier: hex("06072a8648ce3d020106082a8648ce3d030107"), isKey: (key) => key.length === 65 && key[0] === 4 },
  { identifier: hex("06072a8648ce3d020106052b81040022"), isKey: (key) => key.length === 97 && key[0] === 4 },
  { identifier: hex("06032b6570"), isKey: (key) => key.length === 32 },
  { identifier: hex("06092a864886f70d0101010500"), isKey: (key) => isRsaKey(der.only(key, der.tag.sequence)) }
]

const isPublicKey = (subjectPublicKeyInfo: Buffer) => {
  const [algorithm, key, ...others] = der.elements(subjectPublicKeyInfo)
  const identifier = der.contentsOf(algorithm, der.tag.sequence)
  const bytes = der.bytesOf(key)
  return others.length === 0 && keys.some((known) => known.identifier.equals(identifier) && known.isKey(bytes))
}

/** To verify by an exponent as long as the modulus takes a hundred times as long, so the original bounds it too. */
const isRsaKey = (contents: Buffer) => {
  const [modulus, exponent, ...others] = der.elements(contents).map(der.positive)
  if (modulus === undefined || exponent === undefined || others.length > 0 || exponent.length > 5) {
    return false
  }
  const bits = modulus.length * 8 - Math.clz32(modulus[0]!) + 24
  const value = exponent.readUIntBE(0, exponent.length)
  return bits >= 2048 && bits <= 8192 && (modulus.at(-1)! & 1) === 1 &&
    value >= 3 && value < 2 ** 33 && (exponent.at(-1)! & 1) === 1
}

/** The extensions of `id-ce` (RFC 5280, section 4.2.1) that may be critical, by their OID's contents. */
const keyUsage = "551d0f"
const subjectAltName = "551d11"
const basicConstraints = "551d13"
const nameConstraints = "551d1e"
const extKeyUsage = "551d25"

const clientAuth = hex("2b06010505070302")

const refusalOfExtensions = (contents: Buffer): Reason | undefined => {
  const seen = new Set<string>()
  const extensions = der.elements(contents)
  if (extensions.length === 0) {
    return "NoExtensions"
  }
  for (const extension of extensions) {
    const fields = der.elements(der.contentsOf(extension, der.tag.sequence))
    const [oid, critical, value, ...others] = fields[1]?.tag === der.tag.boolean
      ? fields
      : [fields[0], undefined, ...fields.slice(1)]
    const name = der.contentsOf(oid, der.tag.objectIdentifier).toString("hex")
    const bytes = der.contentsOf(value, der.tag.octetString)
    if (others.length > 0) {
      return "Malformed"
    }
    if (seen.has(name)) {
      return "DuplicateExtension"
    }
    seen.add(name)
    const refused = refusalOfExtension(name, critical !== undefined && der.isTrue(critical), bytes)
    if (refused !== undefined) {
      return refused
    }
  }
  return undefined
}

const refusalOfExtension = (name: string, critical: boolean, value: Buffer): Reason | undefined => {
  switch (name) {
    case keyUsage:
      return undefined
    case subjectAltName:
    case nameConstraints:
      der.only(value, der.tag.sequence)
      return undefined
    case basicConstraints: {
      const [first] = der.elements(der.only(value, der.tag.sequence))
      return first?.tag === der.tag.boolean && der.isTrue(first) ? "Authority" : undefined
    }
    case extKeyUsage: {
      const usages = der.elements(der.only(value, der.tag.sequence))
      return usages.some(({ contents, tag }) => tag === der.tag.objectIdentifier && contents.equals(clientAuth))
        ? undefined
        : "Usage"
    }
    default:
      return critical ? "CriticalExtension" : undefined
  }
}
