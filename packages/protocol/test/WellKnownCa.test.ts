import { assert, describe, it } from "@effect/vitest"
import { WellKnownCa } from "@tx3/protocol"
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto"
import { upstreamCa } from "./utils/certificates.js"
import * as der from "./utils/der.js"

const certificate = new X509Certificate(WellKnownCa.certificate)

const privateKey = createPrivateKey({ key: Buffer.from(WellKnownCa.privateKey), format: "der", type: "pkcs8" })

describe("WellKnownCa", () => {
  it("has the original's name and key", () => {
    const original = new X509Certificate(upstreamCa)
    assert.isTrue(certificate.publicKey.equals(original.publicKey))
    assert.isTrue(WellKnownCa.publicKey.equals(original.publicKey))
    assert.isTrue(certificate.publicKey.equals(createPublicKey(privateKey)))
    const nameHex = Buffer.from(WellKnownCa.name).toString("hex")
    for (const bytes of [certificate.raw, original.raw]) {
      assert.strictEqual(bytes.toString("hex").split(nameHex).length, 3, "issuer and subject")
    }
  })

  it("is a CA by a critical basicConstraints, and has no other extension", () => {
    const extensions = der.parse(certificate.raw)[0]?.children[0]?.children[7]?.children[0]?.children
    assert.deepStrictEqual(
      extensions?.map(({ children }) => children.map(({ value }) => value)),
      [["551d13", "ff", "30030101ff"]]
    )
    assert.isTrue(certificate.ca)
  })

  it("is signed by itself", () => {
    assert.isTrue(certificate.verify(certificate.publicKey))
    assert.isTrue(certificate.checkIssued(certificate))
  })
})
