import { assert, describe, it } from "@effect/vitest"
import { CertDigest, Handshake, Identity, PeerCertificate, Tls, WellKnownCa } from "@tx3/protocol"
import { Effect, Either } from "effect"
import { createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto"
import { readFileSync } from "node:fs"
import * as tls from "node:tls"
import { upstream } from "./utils/certificates.js"
import type { Leaf } from "./utils/leaves.js"
import * as make from "./utils/leaves.js"
import { socketPair } from "./utils/socketPair.js"

const { clientAuth, codeSigning, serverAuth } = make.usage
const usages = make.extendedKeyUsage(serverAuth, clientAuth)
const name = make.subjectAltName(Buffer.from("test"))
const now = Date.now()
const day = 86_400_000
const time = (millis: number) =>
  make.generalizedTime(`${new Date(millis).toISOString().replaceAll(/[-:T]|\..*/g, "")}Z`)

const intermediate = make.leaf({
  subject: make.commonName("An intermediate"),
  extensions: [make.basicConstraints(make.isTrue)]
})
const unrelated = make.leaf({ issuer: make.commonName("Nobody"), signingKey: make.ec("P-256").privateKey })

const rsa2048 = generateKeyPairSync("rsa", { modulusLength: 2048 })
// To make one takes some ten seconds, so this one is a file.
const rsa8192 = make.keysOf(readFileSync(new URL("fixtures/rsa-8192.key.der", import.meta.url)))

interface Row {
  readonly leaf: () => Leaf
  /** What stands behind the leaf in the handshake. */
  readonly behind?: (leaf: Leaf) => ReadonlyArray<Leaf>
  /** How the handshake ends where it does not get as far as the predicate; TLS knows no signature of such a key. */
  readonly handshake?: Handshake.HandshakeError["reason"]
  /** Newer versions of OpenSSL (3.5.9) cannot read the certificate, so that no end of Node's presents or accepts it. */
  readonly unreadable?: boolean
}

const accepted: Record<string, Row> = {
  "a leaf as tx3 makes it": { leaf: () => make.leaf() },
  "no extended key usage": { leaf: () => make.leaf({ extensions: [name] }) },
  "clientAuth alone": { leaf: () => make.leaf({ extensions: [make.extendedKeyUsage(clientAuth)] }) },
  "P-384": { leaf: () => make.leaf({ keys: make.ec("P-384") }) },
  "Ed25519": { leaf: () => make.leaf({ keys: generateKeyPairSync("ed25519") }) },
  "RSA 2048": { leaf: () => make.leaf({ keys: rsa2048 }) },
  "RSA 8192": { leaf: () => make.leaf({ keys: rsa8192 }) },
  "a CA signature with SHA-384": { leaf: () => make.leaf({ hash: "sha384" }) },
  "an unrelated certificate behind the leaf": { leaf: () => make.leaf(), behind: () => [unrelated] },
  "the leaf twice": { leaf: () => make.leaf(), behind: (leaf) => [leaf] },
  "an empty subject": { leaf: () => make.leaf({ subject: make.sequence() }) },
  "a NUL in the SAN": { leaf: () => make.leaf({ extensions: [make.subjectAltName(Buffer.from("a\0b")), usages] }) },
  "a key usage and name constraints, critical": {
    leaf: () =>
      make.leaf({
        extensions: [
          make.extension("551d0f", Buffer.from("03020780", "hex"), true),
          make.extension("551d1e", make.sequence(), true),
          name
        ]
      })
  },
  "an unknown extension that is not critical": {
    leaf: () => make.leaf({ extensions: [make.extension("2a0304", Buffer.from([5, 0]))] })
  },
  "basicConstraints without CA": { leaf: () => make.leaf({ extensions: [make.basicConstraints()] }) },
  "a serial number of 20 bytes": { leaf: () => make.leaf({ serialNumber: make.integer(`00${"ff".repeat(20)}`) }) },
  "valid since a second ago": { leaf: () => make.leaf({ validity: [time(now - 1000), time(now + day)] }) }
}

const refused: Record<string, Row & { readonly reason: PeerCertificate.Reason }> = {
  "expired": { reason: "Expired", leaf: () => make.leaf({ validity: [time(now - 2 * day), time(now - 1000)] }) },
  "not yet valid": {
    reason: "NotYetValid",
    leaf: () => make.leaf({ validity: [time(now + day), time(now + 2 * day)] })
  },
  "notBefore after notAfter": {
    reason: "Validity",
    leaf: () => make.leaf({ validity: [time(now + day), time(now - day)] })
  },
  "notBefore before 1970": {
    reason: "Malformed",
    leaf: () => make.leaf({ validity: [make.utcTime("500101000000Z"), time(now + day)] })
  },
  "a time without seconds": {
    reason: "Malformed",
    unreadable: true,
    leaf: () => make.leaf({ validity: [make.utcTime("7501010000Z"), time(now + day)] })
  },
  "the 30th of February": {
    reason: "Malformed",
    leaf: () => make.leaf({ validity: [make.utcTime("750230000000Z"), time(now + day)] })
  },
  "serverAuth alone": { reason: "Usage", leaf: () => make.leaf({ extensions: [make.extendedKeyUsage(serverAuth)] }) },
  "codeSigning": { reason: "Usage", leaf: () => make.leaf({ extensions: [make.extendedKeyUsage(codeSigning)] }) },
  "anyExtendedKeyUsage alone": {
    reason: "Usage",
    leaf: () => make.leaf({ extensions: [make.extendedKeyUsage(make.usage.any)] })
  },
  "CA:TRUE": {
    reason: "Authority",
    leaf: () => make.leaf({ extensions: [make.basicConstraints(make.isTrue), usages] })
  },
  "an unknown critical extension": {
    reason: "CriticalExtension",
    leaf: () => make.leaf({ extensions: [usages, make.extension("2a0304", Buffer.from([5, 0]), true)] })
  },
  "no extensions": { reason: "NoExtensions", leaf: () => make.leaf({ extensions: undefined }) },
  "an empty list of extensions": { reason: "NoExtensions", leaf: () => make.leaf({ extensions: [] }) },
  "a duplicate extension": {
    reason: "DuplicateExtension",
    leaf: () => make.leaf({ extensions: [usages, name, usages] })
  },
  "the issuer in PrintableString": {
    reason: "Issuer",
    leaf: () =>
      make.leaf({
        issuer: make.sequence(
          make.element(
            0x31,
            make.sequence(make.oid("550403"), make.element(0x13, Buffer.from("Lair Well-Known Pseudo-Self-Signing CA")))
          ),
          make.element(0x31, make.sequence(make.oid("55040a"), make.element(0x13, Buffer.from("Holochain Foundation"))))
        )
      })
  },
  "another issuer": { reason: "Issuer", leaf: () => make.leaf({ issuer: make.commonName("Somebody") }) },
  "a leaf under an intermediate": {
    reason: "Issuer",
    leaf: () => make.leaf({ issuer: make.commonName("An intermediate"), signingKey: intermediate.privateKey }),
    behind: () => [intermediate]
  },
  "P-521": { reason: "PublicKey", leaf: () => make.leaf({ keys: make.ec("P-521") }), handshake: "failed" },
  "secp256k1": { reason: "PublicKey", leaf: () => make.leaf({ keys: make.ec("secp256k1") }), handshake: "failed" },
  "secp224r1": { reason: "PublicKey", leaf: () => make.leaf({ keys: make.ec("secp224r1") }), handshake: "failed" },
  "brainpoolP256r1": {
    reason: "PublicKey",
    leaf: () => make.leaf({ keys: make.ec("brainpoolP256r1") }),
    handshake: "failed"
  },
  "sect571r1": { reason: "PublicKey", leaf: () => make.leaf({ keys: make.ec("sect571r1") }), handshake: "failed" },
  "Ed448": { reason: "PublicKey", leaf: () => make.leaf({ keys: generateKeyPairSync("ed448") }), handshake: "failed" },
  "RSA 1024": {
    reason: "PublicKey",
    leaf: () => make.leaf({ keys: generateKeyPairSync("rsa", { modulusLength: 1024 }) })
  },
  "RSA-PSS": {
    reason: "PublicKey",
    leaf: () => make.leaf({ keys: generateKeyPairSync("rsa-pss", { modulusLength: 2048 }) }),
    handshake: "failed"
  },
  "a CA signature with SHA-1": { reason: "SignatureAlgorithm", leaf: () => make.leaf({ hash: "sha1" }) },
  "a CA signature with SHA-512": { reason: "SignatureAlgorithm", leaf: () => make.leaf({ hash: "sha512" }) },
  "another CA's signature": { reason: "Signature", leaf: () => make.leaf({ signingKey: make.ec("P-256").privateKey }) },
  "the serial number 0": { reason: "SerialNumber", leaf: () => make.leaf({ serialNumber: make.integer("00") }) },
  "a serial number of 40 bytes": {
    reason: "SerialNumber",
    leaf: () => make.leaf({ serialNumber: make.integer("7f".repeat(40)) })
  },
  "version 1": { reason: "Version", leaf: () => make.leaf({ version: [], extensions: undefined }) },
  "an extension of 90 KB": {
    reason: "TooLong",
    leaf: () => make.leaf({ extensions: [usages, make.extension("2a0304", Buffer.alloc(90_000))] }),
    handshake: "oversized"
  }
}

const reasonOf = (result: Either.Either<CertDigest.CertDigest, PeerCertificate.Refused>) =>
  Either.match(result, { onLeft: ({ reason }) => reason, onRight: () => "accepted" })

describe("PeerCertificate.check", () => {
  it.each(Object.entries(accepted))("accepts %s", (_, { leaf }) => {
    const { certificate } = leaf()
    assert.strictEqual(
      Either.getOrThrow(PeerCertificate.check(certificate, now)),
      CertDigest.ofCertificate(certificate)
    )
  })

  it.each(Object.entries(refused))("refuses %s", (_, { leaf, reason }) => {
    assert.strictEqual(reasonOf(PeerCertificate.check(leaf().certificate, now)), reason)
  })

  it("accepts the original's leaf, at the first and last second of its time", () => {
    const [first, last] = [Date.UTC(1975, 0, 1), Date.UTC(4096, 0, 1)]
    for (
      const [at, reason] of [
        [first - 1, "NotYetValid"],
        [first, "accepted"],
        [last + 999, "accepted"],
        [last + 1000, "Expired"]
      ] as const
    ) {
      assert.strictEqual(reasonOf(PeerCertificate.check(upstream.certificate, at)), reason)
    }
  })

  it.each([
    ["03", "accepted"],
    ["01ffffffff", "accepted"],
    ["01", "PublicKey"],
    ["010000", "PublicKey"],
    ["0200000001", "PublicKey"],
    ["ff".repeat(256), "PublicKey"]
  ])("answers to an RSA key with the exponent %s: %s", (exponent, answer) => {
    const { n = "" } = rsa2048.publicKey.export({ format: "jwk" })
    const e = Buffer.from(exponent, "hex").toString("base64url")
    const publicKey = createPublicKey({ format: "jwk", key: { e, kty: "RSA", n } })
    const { certificate } = make.leaf({ keys: { ...rsa2048, publicKey } })
    assert.strictEqual(reasonOf(PeerCertificate.check(certificate, now)), answer)
  })

  it("says what is wrong", () => {
    const { message } = Either.getOrThrow(Either.flip(PeerCertificate.check(WellKnownCa.certificate, now)))
    assert.strictEqual(message, "it is the certificate of an authority (CA:TRUE)")
  })

  it("throws nothing, and accepts nothing, where a byte is changed, left out or put in", () => {
    const { certificate } = make.leaf()
    const answers = new Set<string>()
    for (let at = 0; at < certificate.length; at++) {
      const [before, after] = [certificate.subarray(0, at), certificate.subarray(at)]
      for (const value of [0x00, 0x30, 0x7f, 0x80, 0x83, 0xff]) {
        answers.add(reasonOf(PeerCertificate.check(Buffer.concat([before, Buffer.from([value]), after]), now)))
        if (after[0] !== value) {
          answers.add(reasonOf(PeerCertificate.check(
            Buffer.concat([before, Buffer.from([value]), after.subarray(1)]),
            now
          )))
        }
      }
      answers.add(reasonOf(PeerCertificate.check(before, now)))
      answers.add(reasonOf(PeerCertificate.check(Buffer.concat([before, after.subarray(1)]), now)))
    }
    assert.notInclude([...answers], "accepted")
    assert.includeMembers([...answers], ["Malformed", "Signature", "Issuer", "PublicKey"])
  })

  it.each([
    ["nothing", Buffer.alloc(0)],
    ["deeply nested elements", Buffer.alloc(8192, Buffer.from([0x30, 0x80]))],
    ["very many elements", make.sequence(Buffer.alloc(8000, Buffer.from([0x05, 0x00])))],
    ["a length beyond the end", Buffer.from("3082ffff00", "hex")]
  ])("refuses %s", (_, bytes) => {
    assert.strictEqual(reasonOf(PeerCertificate.check(bytes, now)), "Malformed")
  })
})

const pem = (certificate: Uint8Array) => new X509Certificate(certificate).toString()

/** What an end without any rule of its own presents. */
const contextOf = ({ behind = () => [] }: Row, leaf: Leaf) =>
  tls.createSecureContext({
    cert: [leaf, ...behind(leaf)].map(({ certificate }) => pem(certificate)).join(""),
    ciphers: "TLS_AES_256_GCM_SHA384:DEFAULT@SECLEVEL=0",
    key: leaf.privateKey.export({ format: "pem", type: "pkcs8" })
  })

const ours = Effect.map(Identity.generate, Tls.secureContext)

const roles = {
  server: Effect.fnUntraced(function*(theirs: tls.SecureContext) {
    const [near, far] = yield* socketPair
    tls.connect({ rejectUnauthorized: false, secureContext: theirs, socket: near }).on("error", () => {})
    return yield* Handshake.accept(far, yield* ours)
  }),
  client: Effect.fnUntraced(function*(theirs: tls.SecureContext) {
    const [near, far] = yield* socketPair
    new tls.TLSSocket(far, { isServer: true, requestCert: true, secureContext: theirs }).on("error", () => {})
    return yield* Handshake.connect(near, yield* ours)
  })
}

describe.each(Object.entries(roles))("Handshake as %s", (_, handshake) => {
  it.scopedLive.each(Object.entries(accepted))("accepts %s", ([, row]) =>
    Effect.gen(function*() {
      const leaf = row.leaf()
      const { digest } = yield* handshake(contextOf(row, leaf))
      assert.strictEqual(digest, CertDigest.ofCertificate(leaf.certificate))
    }))

  it.scopedLive.each(Object.entries(refused))("refuses %s", ([, row]) =>
    Effect.gen(function*() {
      const context = Either.try(() => contextOf(row, row.leaf()))
      if (row.unreadable === true && Either.isLeft(context)) {
        return
      }
      const error = yield* Effect.flip(handshake(Either.getOrThrow(context)))
      if (row.handshake !== undefined) {
        // The other end's own TLS may find first that it cannot sign.
        assert.include([row.handshake, "closed"], error.reason)
      } else {
        assert.strictEqual(error.reason, "untrusted")
        assert.instanceOf(error.cause, PeerCertificate.Refused)
        assert.strictEqual((error.cause as PeerCertificate.Refused).reason, row.reason)
        assert.include(error.message, (error.cause as PeerCertificate.Refused).message)
      }
    }))
})
