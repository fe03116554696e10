/**
 * The certificate of a new identity: X.509 version 3 (RFC 5280, section 4.1) with the names, times and extensions of section 3
 * of the protocol, signed by the well-known CA. `Identity` imports this module when it makes an identity.
 */
import * as Asn1 from "asn1js"
import { createPrivateKey, sign } from "node:crypto"
import * as WellKnownCa from "../WellKnownCa.js"

const sequence = (...value: ReadonlyArray<Asn1.AsnType>) => new Asn1.Sequence({ value: Array.from(value) })
const identifier = (value: string) => new Asn1.ObjectIdentifier({ value })
const contextSpecific = (tagNumber: number) => ({ tagClass: 3, tagNumber })
const parsed = (der: Uint8Array) => Asn1.fromBER(der).result

const ecdsaWithSha256 = () => sequence(identifier("1.2.840.10045.4.3.2"))
const commonName = "2.5.4.3"
const subjectAltName = "2.5.29.17"
const extendedKeyUsage = "2.5.29.37"

const extension = (type: string, value: Asn1.AsnType) =>
  sequence(identifier(type), new Asn1.OctetString({ valueHex: value.toBER() }))

/** Returns a positive integer of exactly 16 bytes, as DER encodes it. */
const serialNumber = (bytes: Uint8Array) => {
  const positive = Uint8Array.from(bytes)
  positive[0] = positive[0]! & 0x7f | 0x40
  return new Asn1.Integer({ valueHex: positive.buffer })
}

/** How many bytes a certificate has of its own: 32 of its name, 16 of its serial number. */
export const ownBytes = 48

/** Signs by the well-known CA: an ECDSA-Sig-Value in DER, of SHA-256. It has another nonce each time. */
const signed = (bytes: Uint8Array): Uint8Array =>
  sign("sha256", bytes, createPrivateKey({ key: Buffer.from(WellKnownCa.privateKey), format: "der", type: "pkcs8" }))

/** Returns a certificate in DER for a public key, which is a SubjectPublicKeyInfo in DER, with these {@link ownBytes}. */
export const make = (publicKey: Uint8Array, own: Uint8Array, signature = signed): Uint8Array => {
  const dnsName = `tx3${Buffer.from(own.subarray(0, 32)).toString("base64url")}3xt`
  const name = new Asn1.Utf8String({ value: `Lair Pseudo-Self-Signed Cert ${dnsName}` })
  const usages = [
    // The original means anyExtendedKeyUsage, 2.5.29.37.0, and writes this. Nothing depends on it.
    extendedKeyUsage,
    // serverAuth and clientAuth (RFC 5280, section 4.2.1.12)
    "1.3.6.1.5.5.7.3.1",
    "1.3.6.1.5.5.7.3.2"
  ]
  const toBeSigned = sequence(
    new Asn1.Constructed({ idBlock: contextSpecific(0), value: [new Asn1.Integer({ value: 2 })] }),
    serialNumber(own.subarray(32)),
    ecdsaWithSha256(),
    parsed(WellKnownCa.name),
    sequence(
      new Asn1.UTCTime({ valueDate: new Date("1975-01-01T00:00:00Z") }),
      new Asn1.GeneralizedTime({ valueDate: new Date("4096-01-01T00:00:00Z") })
    ),
    sequence(new Asn1.Set({ value: [sequence(identifier(commonName), name)] })),
    parsed(publicKey),
    new Asn1.Constructed({
      idBlock: contextSpecific(3),
      value: [sequence(
        extension(
          subjectAltName,
          sequence(
            new Asn1.Primitive({ idBlock: contextSpecific(2), valueHex: new Uint8Array(Buffer.from(dnsName)).buffer })
          )
        ),
        extension(extendedKeyUsage, sequence(...usages.map(identifier)))
      )]
    })
  )
  return new Uint8Array(
    sequence(
      toBeSigned,
      ecdsaWithSha256(),
      new Asn1.BitString({ valueHex: Uint8Array.from(signature(new Uint8Array(toBeSigned.toBER()))).buffer })
    ).toBER()
  )
}
