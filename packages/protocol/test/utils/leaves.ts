/**
 * Certificates made field by field, so that each can be wrong in one way. They are signed with the well-known CA's key
 * unless a field says otherwise.
 */
import { WellKnownCa } from "@tx3/protocol"
import type { KeyObject } from "node:crypto"
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from "node:crypto"

/** One DER element. */
export const element = (tag: number, ...contents: ReadonlyArray<Uint8Array>): Buffer => {
  const bytes = Buffer.concat(contents)
  const length = bytes.length < 0x80
    ? [bytes.length]
    : bytes.length < 0x100
    ? [0x81, bytes.length]
    : bytes.length < 0x10000
    ? [0x82, bytes.length >> 8, bytes.length & 0xff]
    : [0x83, bytes.length >> 16, (bytes.length >> 8) & 0xff, bytes.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), bytes])
}

export const sequence = (...contents: ReadonlyArray<Uint8Array>) => element(0x30, ...contents)
export const oid = (hex: string) => element(0x06, Buffer.from(hex, "hex"))
export const integer = (hex: string) => element(0x02, Buffer.from(hex, "hex"))
export const generalizedTime = (text: string) => element(0x18, Buffer.from(text))
export const utcTime = (text: string) => element(0x17, Buffer.from(text))

export const extension = (name: string, value: Uint8Array, critical = false) =>
  sequence(oid(name), ...(critical ? [element(0x01, Buffer.from([0xff]))] : []), element(0x04, value))

export const usage = {
  any: oid("551d2500"),
  clientAuth: oid("2b06010505070302"),
  codeSigning: oid("2b06010505070303"),
  serverAuth: oid("2b06010505070301")
}

export const extendedKeyUsage = (...usages: ReadonlyArray<Buffer>) => extension("551d25", sequence(...usages))
export const subjectAltName = (name: Uint8Array) => extension("551d11", sequence(element(0x82, name)))
export const basicConstraints = (...contents: ReadonlyArray<Buffer>) => extension("551d13", sequence(...contents), true)
export const isTrue = element(0x01, Buffer.from([0xff]))

export const commonName = (text: string, tag = 0x0c) =>
  sequence(element(0x31, sequence(oid("550403"), element(tag, Buffer.from(text)))))

const ecdsaWith = (hash: string) =>
  sequence(
    oid(
      {
        sha1: "2a8648ce3d0401",
        sha256: "2a8648ce3d040302",
        sha384: "2a8648ce3d040303",
        sha512: "2a8648ce3d040304"
      }[hash]!
    )
  )

export interface Fields {
  readonly version: ReadonlyArray<Buffer>
  readonly serialNumber: Buffer
  readonly issuer: Uint8Array
  readonly validity: ReadonlyArray<Buffer>
  readonly subject: Buffer
  /** The key pair of the subject. */
  readonly keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  /** None at all where it is undefined. */
  readonly extensions: ReadonlyArray<Buffer> | undefined
  /** With what hash the authority signs, and with what key. */
  readonly hash: string
  readonly signingKey: KeyObject
}

export interface Leaf {
  readonly certificate: Buffer
  readonly privateKey: KeyObject
}

export const ec = (namedCurve: string) => generateKeyPairSync("ec", { namedCurve })

/** The key pair of a PKCS#8 key in DER. */
export const keysOf = (pkcs8: Uint8Array) => {
  const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" })
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

export const caKey = keysOf(WellKnownCa.privateKey).privateKey

/** A leaf as tx3 programs make it, but for the fields given. */
export const leaf = (change: Partial<Fields> = {}): Leaf => {
  const fields: Fields = {
    version: [element(0xa0, integer("02"))],
    serialNumber: element(0x02, Buffer.from([0x11]), randomBytes(15)),
    issuer: WellKnownCa.name,
    validity: [utcTime("750101000000Z"), generalizedTime("40960101000000Z")],
    subject: commonName("Lair Pseudo-Self-Signed Cert test"),
    keys: change.keys ?? ec("P-256"),
    extensions: [subjectAltName(Buffer.from("test")), extendedKeyUsage(usage.serverAuth, usage.clientAuth)],
    hash: "sha256",
    signingKey: caKey,
    ...change
  }
  const tbsCertificate = sequence(
    ...fields.version,
    fields.serialNumber,
    ecdsaWith(fields.hash),
    fields.issuer,
    sequence(...fields.validity),
    fields.subject,
    fields.keys.publicKey.export({ format: "der", type: "spki" }),
    ...(fields.extensions === undefined ? [] : [element(0xa3, sequence(...fields.extensions))])
  )
  const signature = sign(fields.hash, tbsCertificate, fields.signingKey)
  return {
    certificate: sequence(tbsCertificate, ecdsaWith(fields.hash), element(0x03, Buffer.from([0]), signature)),
    privateKey: fields.keys.privateKey
  }
}
