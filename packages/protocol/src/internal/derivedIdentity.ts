/**
 * An identity that is a function of a text: everybody who knows the text makes the same key and, byte for byte, the same
 * certificate. `Identity.derived` imports this module when it is called. It owns nothing.
 */
import { p256 } from "@noble/curves/nist.js"
import { createPrivateKey, createPublicKey, hkdfSync } from "node:crypto"
import * as WellKnownCa from "../WellKnownCa.js"
import * as newCertificate from "./newCertificate.js"

/** Another number here gives every text another identity. */
const purpose = "tx3 derived identity 1"

/** FIPS 186-5, appendix A.2.1: so many bytes modulo the order of the group are as good as uniform. */
const keyBytes = 48

const authority = createPrivateKey({ key: Buffer.from(WellKnownCa.privateKey), format: "der", type: "pkcs8" })

/** Signs as RFC 6979 says, with a nonce that is a function of what is signed. Node's own signatures have a random one. */
const signature = (bytes: Uint8Array): Uint8Array =>
  p256.sign(bytes, Buffer.from(authority.export({ format: "jwk" }).d!, "base64url"), { format: "der", lowS: false })

/** Returns the certificate in DER and its key in PKCS#8 DER. */
export const make = (text: string): { readonly certificate: Uint8Array; readonly privateKey: Uint8Array } => {
  const bytes = Buffer.from(hkdfSync("sha256", text, "", purpose, keyBytes + newCertificate.ownBytes))
  const scalar = BigInt(`0x${bytes.toString("hex", 0, keyBytes)}`) % (p256.Point.Fn.ORDER - 1n) + 1n
  const secret = Buffer.from(scalar.toString(16).padStart(64, "0"), "hex")
  const point = Buffer.from(p256.getPublicKey(secret, false))
  const [d, x, y] = [secret, point.subarray(1, 33), point.subarray(33)].map((part) => part.toString("base64url"))
  const privateKey = createPrivateKey({ key: { kty: "EC", crv: "P-256", d: d!, x: x!, y: y! }, format: "jwk" })
  const publicKey = createPublicKey(privateKey).export({ format: "der", type: "spki" })
  return {
    certificate: newCertificate.make(publicKey, bytes.subarray(keyBytes), signature),
    privateKey: new Uint8Array(privateKey.export({ format: "der", type: "pkcs8" }))
  }
}
