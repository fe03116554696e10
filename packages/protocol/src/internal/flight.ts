/**
 * The other end's bytes before the handshake is done. They are checked record by record before TLS gets them (RFC 8446,
 * sections 4.4 and 5). OpenSSL verifies a chain of up to 100 certificates on any curve inside the event loop, half a second for one handshake,
 * and Node has no option against it. So certificates are decrypted here too, with the secret that TLS gives for key logs, and TLS
 * gets none that would be refused afterwards. It then finds the leaf's issuer among its trust anchors and builds no chain.
 *
 * Until the handshake is done it holds the bytes that TLS has not got yet, and the keys.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { createDecipheriv, createHmac } from "node:crypto"
import type * as CertDigest from "../CertDigest.js"
import * as PeerCertificate from "../PeerCertificate.js"

/** The most bytes of records that TLS gets before it is done. */
export const maxBytes = 8192

/** The leaf, and one more, which is ignored. */
const maxCertificates = 2

const nothing: Buffer = Buffer.alloc(0)

const contentType = { changeCipherSpec: 20, handshake: 22, applicationData: 23 }

const messageType = { encryptedExtensions: 8, certificate: 11, certificateRequest: 13, finished: 20 }

/** The handshake cannot go on: this is no TLS 1.3 as the protocol has it. */
export class Unacceptable extends Schema.TaggedError<Unacceptable>("@tx3/protocol/Unacceptable")("Unacceptable", {
  message: Schema.String
}) {}

export class Flight {
  private held: Buffer = nothing
  private given = 0
  /** Messages under the handshake's keys, from the first that is not whole. */
  private messages: Buffer = nothing
  private keys: RecordKeys | undefined
  /** Whether the certificate has been looked at, or TLS does not need to be protected from one any more. */
  private judged = false
  /** The certificate that was found to be good, and its digest. */
  private good: { readonly certificate: Buffer; readonly digest: CertDigest.CertDigest } | undefined

  constructor(private readonly secretName: string) {}

  add(chunk: Buffer) {
    this.held = Buffer.concat([this.held, chunk])
  }

  /** A line of a key log. */
  readonly onKeyLog = (line: Buffer) => {
    const [name, , secret] = line.toString("latin1").trim().split(" ")
    if (name === this.secretName && secret !== undefined && this.keys === undefined) {
      this.keys = new RecordKeys(Buffer.from(secret, "hex"))
    }
  }

  /** All that is held, for when the handshake is done: it holds nothing any more. */
  rest(): Buffer {
    const { held } = this
    this.held = nothing
    this.messages = nothing
    this.keys = undefined
    this.good = undefined
    return held
  }

  /** Decides on the certificate that TLS has. The check takes 0.2 ms, and is not made again for one that came through here. */
  check(certificate: Buffer): Either.Either<CertDigest.CertDigest, PeerCertificate.Refused> {
    return this.good?.certificate.equals(certificate) === true
      ? Either.right(this.good.digest)
      : PeerCertificate.check(certificate, Date.now())
  }

  /**
   * The next record for TLS; `more` if it is not whole or TLS has to say its secret first, `full` if TLS has all that it may
   * have.
   */
  next(): Buffer | "more" | "full" | Unacceptable | PeerCertificate.Refused {
    const { held } = this
    if (held.length === 0) {
      return "more"
    }
    const type = held[0]!
    if (type < contentType.changeCipherSpec || type > contentType.applicationData) {
      // TLS says best what it is not.
      this.judged = true
      return this.rest().subarray(0, maxBytes)
    }
    if (held.length < 5) {
      return "more"
    }
    const length = 5 + held.readUInt16BE(3)
    if (this.given + length > maxBytes) {
      return "full"
    }
    if (held.length < length) {
      return "more"
    }
    const record = held.subarray(0, length)
    if (type === contentType.applicationData && !this.judged) {
      if (this.keys === undefined) {
        return "more"
      }
      const problem = this.judge(this.keys, record)
      if (problem !== undefined) {
        return problem
      }
    }
    this.held = held.subarray(length)
    this.given += length
    return record
  }

  private judge(keys: RecordKeys, record: Buffer): Unacceptable | PeerCertificate.Refused | undefined {
    const inner = keys.decrypt(record)
    if (inner === undefined) {
      return new Unacceptable({ message: "a record cannot be decrypted" })
    }
    const last = inner.findLastIndex((byte) => byte !== 0)
    if (inner[last] !== contentType.handshake) {
      // An alert, which is TLS's to understand.
      return undefined
    }
    this.messages = Buffer.concat([this.messages, inner.subarray(0, last)])
    while (!this.judged && this.messages.length >= 4) {
      const length = 4 + this.messages.readUIntBE(1, 3)
      if (this.messages.length < length) {
        return undefined
      }
      const problem = this.judgeMessage(this.messages[0]!, this.messages.subarray(4, length))
      if (problem !== undefined) {
        return problem
      }
      this.messages = this.messages.subarray(length)
    }
    return undefined
  }

  private judgeMessage(type: number, body: Buffer): Unacceptable | PeerCertificate.Refused | undefined {
    switch (type) {
      case messageType.encryptedExtensions:
      case messageType.certificateRequest:
        return undefined
      // A resumed session's: it has no certificate.
      case messageType.finished:
        this.judged = true
        return undefined
      case messageType.certificate: {
        this.judged = true
        const certificates = certificatesOf(body)
        if (certificates === undefined) {
          return new Unacceptable({ message: "the list of certificates is malformed" })
        }
        if (certificates.length > maxCertificates) {
          return new Unacceptable({ message: `there are more than ${maxCertificates} certificates` })
        }
        const [leaf] = certificates
        if (leaf === undefined) {
          // TLS says so.
          return undefined
        }
        const checked = PeerCertificate.check(leaf, Date.now())
        if (Either.isLeft(checked)) {
          return checked.left
        }
        this.good = { certificate: leaf, digest: checked.right }
        return undefined
      }
      default:
        return new Unacceptable({ message: `a message of type ${type} comes before the certificate` })
    }
  }
}

/** The certificates of a Certificate message, without their extensions; none where it is malformed. */
const certificatesOf = (body: Buffer): Array<Buffer> | undefined => {
  const list = 1 + (body[0] ?? 0) + 3
  if (body.length < list || body.readUIntBE(list - 3, 3) !== body.length - list) {
    return undefined
  }
  const certificates: Array<Buffer> = []
  for (let at = list; at < body.length;) {
    const certificate = at + 3
    const extensions = certificate + (certificate <= body.length ? body.readUIntBE(at, 3) : Infinity)
    const end = extensions + 2 + (extensions + 2 <= body.length ? body.readUInt16BE(extensions) : Infinity)
    if (end > body.length) {
      return undefined
    }
    certificates.push(body.subarray(certificate, extensions))
    at = end
  }
  return certificates
}

/** The keys of one direction (RFC 8446, sections 5.2, 5.3 and 7.3). The length of the secret tells the suite: there are two. */
class RecordKeys {
  private readonly cipher: "aes-256-gcm" | "chacha20-poly1305"
  private readonly key: Buffer
  private readonly iv: Buffer
  private sequence = 0

  constructor(secret: Buffer) {
    this.cipher = secret.length === 48 ? "aes-256-gcm" : "chacha20-poly1305"
    const hash = secret.length === 48 ? "sha384" : "sha256"
    const expand = (label: string, length: number) =>
      createHmac(hash, secret)
        .update(Buffer.from([0, length, 6 + label.length])).update(`tls13 ${label}`).update(Buffer.from([0, 1]))
        .digest().subarray(0, length)
    this.key = expand("key", 32)
    this.iv = expand("iv", 12)
  }

  /** The inner plaintext of a record; none where it is not one of these keys. */
  decrypt(record: Buffer): Buffer | undefined {
    if (record.length < 5 + 16) {
      return undefined
    }
    const nonce = Buffer.from(this.iv)
    // No flight has as many records as there are numbers in two bytes.
    nonce.writeUInt16BE(nonce.readUInt16BE(10) ^ this.sequence++, 10)
    // The two ciphers have the same interface here, and Node's types an overload for each.
    const decipher = createDecipheriv(this.cipher as "aes-256-gcm", this.key, nonce, { authTagLength: 16 })
    decipher.setAAD(record.subarray(0, 5)).setAuthTag(record.subarray(-16))
    const inner = decipher.update(record.subarray(5, -16))
    try {
      decipher.final()
      return inner
    } catch {
      return undefined
    }
  }
}
