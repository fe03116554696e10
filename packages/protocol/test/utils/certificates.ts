/**
 * Certificates to test with: those of the original implementation (fixtures), and ones that no tx3 would make.
 */
import "reflect-metadata"
import * as x509 from "@peculiar/x509"
import { WellKnownCa } from "@tx3/protocol"
import { Redacted } from "effect"
import { readFileSync } from "node:fs"

const fixture = (name: string): Uint8Array => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))

/** A leaf of the original with its key. */
export const upstream = {
  certificate: fixture("upstream-leaf.cert.der"),
  privateKey: Redacted.make(fixture("upstream-leaf.key.der"))
}

export const upstreamDigest = "CeQbgBHU0JzTXXOGYr3EFpG0Q4HtjrwNmxOdNM-Gbco"

/** The original's own certificate of the well-known CA. */
export const upstreamCa = fixture("upstream-wk-ca.cert.der")

/** A configuration file that the original wrote. */
export const upstreamConfig = Buffer.from(fixture("upstream-relay-init.yml")).toString("utf8")

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }

/** A certificate and key under `issuer`, signed with the key given, or with its own. */
export const forge = async (issuer: x509.Name, signingKey?: Uint8Array) => {
  const { subtle } = globalThis.crypto
  const keys = await subtle.generateKey(algorithm, true, ["sign", "verify"])
  const certificate = await x509.X509CertificateGenerator.create({
    issuer,
    subject: "CN=forged",
    notBefore: new Date("1975-01-01T00:00:00Z"),
    notAfter: new Date("4096-01-01T00:00:00Z"),
    publicKey: keys.publicKey,
    signingKey: signingKey === undefined
      ? keys.privateKey
      : await subtle.importKey("pkcs8", signingKey, algorithm, false, ["sign"]),
    signingAlgorithm: algorithm
  })
  return {
    certificate: new Uint8Array(certificate.rawData),
    privateKey: Redacted.make(new Uint8Array(await subtle.exportKey("pkcs8", keys.privateKey)))
  }
}

/** The CA's name, byte for byte. */
export const caName = new x509.Name(WellKnownCa.name)

/** The CA's name as PrintableStrings: the same name to OpenSSL, other bytes. */
export const caNamePrintable = new x509.Name([
  { CN: [{ printableString: "Lair Well-Known Pseudo-Self-Signing CA" }] },
  { O: [{ printableString: "Holochain Foundation" }] }
])
