import { assert, describe, it } from "@effect/vitest"
import { CertDigest } from "@tx3/protocol"
import { FastCheck, Schema } from "effect"
import { upstream, upstreamConfig, upstreamDigest } from "./utils/certificates.js"

const bytes32 = FastCheck.uint8Array({ minLength: 32, maxLength: 32 })

const isCertDigest = Schema.is(CertDigest.CertDigest)

describe("CertDigest", () => {
  it.prop("is 43 characters that give the bytes back", [bytes32], ([bytes]) => {
    const digest = CertDigest.fromBytes(bytes)
    assert.isTrue(isCertDigest(digest))
    assert.deepStrictEqual(Uint8Array.from(CertDigest.toBytes(digest)), bytes)
  })

  it.prop("is the only text for its bytes", [CertDigest.CertDigest], ([digest]) => {
    assert.strictEqual(CertDigest.fromBytes(CertDigest.toBytes(digest)), digest)
  })

  it.prop("reads the bytes where they are in a larger buffer", [bytes32], ([bytes]) => {
    const segment = Uint8Array.of(1, ...bytes, 2)
    assert.strictEqual(CertDigest.fromBytes(segment.subarray(1, 33)), CertDigest.fromBytes(bytes))
  })

  it("throws for any other number of bytes", () => {
    assert.throws(() => CertDigest.fromBytes(new Uint8Array(31)), RangeError, "expected 32 bytes, got 31")
    assert.throws(() => CertDigest.fromBytes(new Uint8Array(33)), RangeError)
  })

  it.each([
    ["42 characters", upstreamDigest.slice(1)],
    ["44 characters", `A${upstreamDigest}`],
    ["padding", `${upstreamDigest}=`],
    ["standard base64", upstreamDigest.replace("-", "+")],
    ["a last character with bits to spare", `${upstreamDigest.slice(0, 42)}p`],
    ["white space", ` ${upstreamDigest.slice(1)}`],
    ["a line break at its end", `${upstreamDigest}\n`]
  ])("refuses %s", (_, text) => {
    assert.isFalse(isCertDigest(text))
  })

  it("is the SHA-256 of the certificate, as the original computes it", () => {
    assert.strictEqual(CertDigest.ofCertificate(upstream.certificate), upstreamDigest)
    const inConfig = /tlsCertDer: (.*)/.exec(upstreamConfig)?.[1] ?? ""
    assert.strictEqual(
      CertDigest.ofCertificate(Buffer.from(inConfig, "base64")),
      "fhrY_juNo5Z1o_5snJVbl-MsWlGTpvphz3dZf7sUkbo"
    )
  })

  it("has a short form for logs", () => {
    assert.strictEqual(CertDigest.short(CertDigest.ofCertificate(upstream.certificate)), "CeQbgBHU")
  })
})
