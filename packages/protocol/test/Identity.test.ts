import { assert, describe, it } from "@effect/vitest"
import { p256 } from "@noble/curves/nist.js"
import { Identity, WellKnownCa } from "@tx3/protocol"
import { Effect, Either, Redacted } from "effect"
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto"
import { inspect } from "node:util"
import { caNamePrintable, forge, upstream, upstreamConfig, upstreamDigest } from "./utils/certificates.js"
import * as der from "./utils/der.js"
import type { Fields } from "./utils/leaves.js"
import { ec, generalizedTime, leaf, utcTime } from "./utils/leaves.js"

const reasonOf = (result: Either.Either<Identity.Identity, Identity.IdentityError>) =>
  Either.match(result, { onLeft: ({ reason }) => reason, onRight: () => "none" })

const fromLeaf = (change?: Partial<Fields>) => {
  const { certificate, privateKey } = leaf(change)
  return Identity.fromDer({
    certificate,
    privateKey: Redacted.make(privateKey.export({ format: "der", type: "pkcs8" }))
  })
}

const ed25519Key = Redacted.make<Uint8Array>(
  generateKeyPairSync("ed25519").privateKey.export({ format: "der", type: "pkcs8" })
)

describe("Identity.generate", () => {
  const fields = (certificate: Uint8Array) => {
    const [tbs, signatureAlgorithm] = der.parse(Buffer.from(certificate))[0]!.children
    const [version, serialNumber, signature, issuer, validity, subject, publicKey, extensions, ...rest] = tbs!.children
    assert.deepStrictEqual(rest, [])
    return {
      version: version!,
      serialNumber: serialNumber!,
      signature: signature!,
      issuer: issuer!,
      validity: validity!,
      subject: subject!.children[0]!.children[0]!.children,
      publicKeyAlgorithm: publicKey!.children[0]!,
      extensions: extensions!.children[0]!.children.map(({ children }) => children),
      signatureAlgorithm: signatureAlgorithm!
    }
  }

  it.effect("makes a certificate like the original's, field by field", () =>
    Effect.gen(function*() {
      const ours = fields((yield* Identity.generate).certificate)
      const theirs = fields(upstream.certificate)
      assert.deepStrictEqual(ours.version, theirs.version)
      assert.deepStrictEqual(ours.signature, theirs.signature)
      assert.deepStrictEqual(ours.signatureAlgorithm, theirs.signatureAlgorithm)
      assert.deepStrictEqual(ours.issuer, theirs.issuer)
      assert.deepStrictEqual(ours.validity, theirs.validity)
      assert.deepStrictEqual(ours.publicKeyAlgorithm, theirs.publicKeyAlgorithm)

      const serialNumber = Buffer.from(ours.serialNumber.value, "hex")
      assert.strictEqual(ours.serialNumber.tag, theirs.serialNumber.tag)
      assert.isBelow(serialNumber.readUInt8(0), 0x80, "positive")
      assert.isAtMost(serialNumber.length, 20)

      const names = [ours, theirs].map(({ extensions: [san], subject: [type, name] }) => {
        assert.strictEqual(type!.value, "550403", "commonName")
        assert.strictEqual(name!.tag, 0x0c, "UTF8String")
        const [dnsName] = der.parse(Buffer.from(san![1]!.value, "hex"))[0]!.children
        assert.strictEqual(dnsName!.tag, 0x82)
        assert.match(der.text(dnsName!), /^tx3[\w-]{43}3xt$/)
        assert.strictEqual(der.text(name!), `Lair Pseudo-Self-Signed Cert ${der.text(dnsName!)}`)
        return der.text(dnsName!)
      })
      assert.notStrictEqual(names[0], names[1])

      // Neither is critical: each is an OID and a value, without the boolean between them.
      assert.deepStrictEqual(ours.extensions.map((extension) => extension.map(({ tag }) => tag)), [[6, 4], [6, 4]])
      assert.strictEqual(ours.extensions[0]![0]!.value, theirs.extensions[0]![0]!.value)
      assert.deepStrictEqual(ours.extensions[1]![0], theirs.extensions[1]![0])

      assert.deepStrictEqual(ours.extensions[1]![1], theirs.extensions[1]![1])
    }))

  it.effect("makes an identity that it accepts itself, another one each time", () =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([Identity.generate, Identity.generate])
      assert.notStrictEqual(one.digest, other.digest)
      const read = yield* Identity.fromDer(one)
      assert.deepStrictEqual(read.certificate, one.certificate)
      assert.deepStrictEqual(Redacted.value(read.privateKey), Redacted.value(one.privateKey))
      assert.strictEqual(read.digest, one.digest)
    }))

  it.effect("never shows the private key", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.generate
      const secret = Buffer.from(Redacted.value(identity.privateKey)).subarray(36, 68)
      for (const shown of [inspect(identity, { depth: 9, maxArrayLength: null }), JSON.stringify(identity)]) {
        assert.include(shown, "<redacted>")
        assert.notInclude(shown.replaceAll(/\s/g, ""), secret.join(","))
        assert.notInclude(shown, secret.toString("hex"))
        assert.notInclude(shown, secret.toString("base64"))
      }
      assert.strictEqual(String(Identity.toPem(identity)), "<redacted>")
    }))
})

describe("Identity.derived", () => {
  it.effect("makes the same certificate everywhere, whatever the version of Node and of libraries", () =>
    Effect.gen(function*() {
      const [one, same, other] = yield* Effect.all(["a text", "a text", "another text"].map(Identity.derived))
      assert.deepStrictEqual(same, one)
      assert.notStrictEqual(other!.digest, one!.digest)
      assert.strictEqual(one!.digest, "L0tVxuhOhjg-0LrB6BvS815OBPklUwh_f8XRI0mjp5Q")
      assert.strictEqual(
        (yield* Identity.derived("tx3 code 1 417923")).digest,
        "0IrtSoC_Q4TPXHTIivXqQIc8dT2vLm6VBuYMY4kIFi8"
      )
    }))

  it.effect("makes an identity that nodes accept, of the shape that the others have", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.derived("a text")
      assert.strictEqual((yield* Identity.fromDer(identity)).digest, identity.digest)
      const [derived, generated] = [identity, yield* Identity.generate].map(({ certificate }) =>
        new X509Certificate(certificate).toLegacyObject()
      )
      assert.deepStrictEqual(Object.keys(derived!), Object.keys(generated!))
      assert.strictEqual(derived!.valid_to, generated!.valid_to)
      assert.deepStrictEqual(derived!.ext_key_usage, generated!.ext_key_usage)
    }))

  it("signs as RFC 6979 says (appendix A.2.5)", () => {
    const key = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"
    const signature = p256.sign(Buffer.from("sample"), Buffer.from(key, "hex"), { format: "compact", lowS: false })
    assert.strictEqual(
      Buffer.from(signature).toString("hex").toUpperCase(),
      "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716" +
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
  })
})

describe("Identity.fromDer", () => {
  it.effect("reads the original's identities", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Identity.fromDer(upstream)).digest, upstreamDigest)
      const [certificate, key] = ["tlsCertDer", "tlsCertPkDer"].map((name) =>
        Buffer.from(new RegExp(`${name}: (.*)`).exec(upstreamConfig)?.[1] ?? "", "base64")
      )
      const identity = yield* Identity.fromDer({ certificate: certificate!, privateKey: Redacted.make(key!) })
      assert.strictEqual(identity.digest, "fhrY_juNo5Z1o_5snJVbl-MsWlGTpvphz3dZf7sUkbo")
    }))

  const { certificate } = upstream
  const privateKey = Redacted.value(upstream.privateKey)
  const certificatePem = Buffer.from(new X509Certificate(certificate).toString())

  it.each<[string, Identity.IdentityError["reason"], Partial<typeof upstream>]>([
    ["no certificate", "CertificateMalformed", { certificate: new Uint8Array() }],
    ["a certificate cut short", "CertificateMalformed", { certificate: certificate.slice(0, -1) }],
    ["bytes after the certificate", "CertificateMalformed", { certificate: Uint8Array.of(...certificate, 0) }],
    ["a certificate in PEM", "CertificateMalformed", { certificate: certificatePem }],
    ["a key in the certificate's place", "CertificateMalformed", { certificate: privateKey }],
    ["no key", "PrivateKeyMalformed", { privateKey: Redacted.make(new Uint8Array()) }],
    ["a key cut short", "PrivateKeyMalformed", { privateKey: Redacted.make(privateKey.slice(0, -1)) }],
    ["a certificate in the key's place", "PrivateKeyMalformed", { privateKey: Redacted.make(certificate) }],
    ["another P-256 key", "KeyMismatch", { privateKey: Redacted.make(WellKnownCa.privateKey) }],
    ["a key of another kind", "KeyMismatch", { privateKey: ed25519Key }],
    ["the CA's own certificate with another key", "KeyMismatch", { certificate: WellKnownCa.certificate }]
  ])("refuses %s: %s", (_, reason, change) => {
    assert.strictEqual(reasonOf(Identity.fromDer({ ...upstream, ...change })), reason)
  })

  it("refuses certificates that the well-known CA did not sign, or not under its exact name", async () => {
    assert.strictEqual(reasonOf(fromLeaf({ signingKey: ec("P-256").privateKey })), "ForeignIssuer")
    const printable = await forge(caNamePrintable, WellKnownCa.privateKey)
    assert.strictEqual(reasonOf(Identity.fromDer(printable)), "ForeignIssuer")
    assert.strictEqual(reasonOf(fromLeaf()), "none")
  })

  it("refuses certificates that peers would refuse, and says why", () => {
    const error = Either.getOrThrow(Either.flip(fromLeaf({ extensions: undefined })))
    assert.strictEqual(error.reason, "CertificateRefused")
    assert.strictEqual(
      error.message,
      "other tx3 programs refuse the certificate; use one that a tx3 program made (it has no extensions)"
    )
    const expired = { validity: [utcTime("750101000000Z"), utcTime("990101000000Z")] }
    assert.strictEqual(reasonOf(fromLeaf(expired)), "CertificateRefused")
  })

  it("reads a certificate that is not valid yet, as on a machine whose clock has not been set", () => {
    const validity = [generalizedTime("39990101000000Z"), generalizedTime("40960101000000Z")]
    assert.strictEqual(reasonOf(fromLeaf({ validity })), "none")
  })

  it("says what to do", () => {
    const error = Either.getOrThrow(Either.flip(Identity.fromDer({ ...upstream, privateKey: ed25519Key })))
    assert.strictEqual(error._tag, "IdentityError")
    assert.strictEqual(
      error.message,
      "the private key does not belong to the certificate; use the key that was made with it"
    )
  })
})

describe("Identity in PEM", () => {
  const certificate = new X509Certificate(upstream.certificate).toString()
  const key = createPrivateKey({ key: Buffer.from(Redacted.value(upstream.privateKey)), format: "der", type: "pkcs8" })
  const privateKey = key.export({ format: "pem", type: "pkcs8" }).toString()

  const withoutLastLine = (block: string) => block.replace(/\n.*\n-----END/, "\n-----END")

  const read = (text: string) => Identity.fromPem(Redacted.make(text))

  it.effect("is written as OpenSSL writes it", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.fromDer(upstream)
      assert.strictEqual(Redacted.value(Identity.toPem(identity)), certificate + privateKey)
    }))

  it.each([
    ["as it is written", certificate + privateKey],
    ["with the key first", privateKey + certificate],
    ["with text around the blocks", `A node's identity\n${certificate}and its key:\n${privateKey}\n\nend\n`],
    ["with CRLF line ends", (certificate + privateKey).replaceAll("\n", "\r\n")],
    ["with the CA's certificate after its own", certificate + privateKey + certificate]
  ])("is read %s", (_, text) => {
    assert.strictEqual(Either.getOrThrow(read(text)).digest, upstreamDigest)
  })

  it.each([
    ["an empty text", "", "CertificateMissing"],
    ["a key alone", privateKey, "CertificateMissing"],
    ["a certificate alone", certificate, "PrivateKeyMissing"],
    ["a key in the older EC form", certificate + key.export({ format: "pem", type: "sec1" }), "PrivateKeyMissing"],
    [
      "an encrypted key",
      certificate + key.export({ format: "pem", type: "pkcs8", cipher: "aes-128-cbc", passphrase: "x" }),
      "PrivateKeyMissing"
    ],
    ["a block without its end", certificate + privateKey.replace("END", "FIN"), "PrivateKeyMissing"],
    ["a certificate cut short", withoutLastLine(certificate) + privateKey, "CertificateMalformed"],
    ["a key cut short", certificate + withoutLastLine(privateKey), "PrivateKeyMalformed"]
  ])("refuses %s", (_, text, reason) => {
    assert.strictEqual(reasonOf(read(text)), reason)
  })
})
