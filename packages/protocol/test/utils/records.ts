/**
 * A TLS client whose records after the handshake are made by hand (RFC 8446, sections 5 and 7), to send what no TLS library sends.
 */
import { Effect } from "effect"
import { createCipheriv, createHmac } from "node:crypto"
import type * as net from "node:net"
import { Duplex } from "node:stream"
import * as tls from "node:tls"

const expandLabel = (secret: Buffer, label: string, length: number) =>
  createHmac(secret.length === 48 ? "sha384" : "sha256", secret)
    .update(Buffer.from([0, length, 6 + label.length])).update(`tls13 ${label}`).update(Buffer.from([0, 1]))
    .digest().subarray(0, length)

/** Makes the records of one direction, from its first traffic secret on. */
export class Records {
  private sequence = 0n

  constructor(private secret: Buffer) {}

  record(contentType: number, content: Uint8Array, padding = 0): Buffer {
    const nonce = expandLabel(this.secret, "iv", 12)
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ this.sequence++, 4)
    const length = content.length + 1 + padding + 16
    const header = Buffer.from([0x17, 3, 3, length >> 8, length & 0xff])
    const name = this.secret.length === 48 ? "aes-256-gcm" : "chacha20-poly1305"
    const cipher = createCipheriv(name as "aes-256-gcm", expandLabel(this.secret, "key", 32), nonce, {
      authTagLength: 16
    })
    cipher.setAAD(header)
    const inner = Buffer.concat([content, Buffer.from([contentType]), Buffer.alloc(padding)])
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()])
  }

  data(bytes: Uint8Array, padding?: number): Buffer {
    return this.record(23, bytes, padding)
  }

  /** A KeyUpdate that asks for none in return. The records after it have the next keys. */
  keyUpdate(requested = 0): Buffer {
    const record = this.record(22, Buffer.from([24, 0, 0, 1, requested]))
    this.secret = expandLabel(this.secret, "traffic upd", this.secret.length)
    this.sequence = 0n
    return record
  }
}

/** What the client sends in one turn of the event loop goes out as one write. */
class OneWrite extends Duplex {
  private kept: Array<Buffer> = []

  constructor(private readonly raw: net.Socket) {
    super()
    raw.on("data", (chunk) => this.push(chunk)).on("end", () => this.push(null)).on("close", () => this.destroy())
  }

  override _read() {}

  override _write(chunk: Buffer, _: BufferEncoding, callback: () => void) {
    if (this.kept.push(chunk) === 1) {
      setImmediate(() => this.raw.write(Buffer.concat(this.kept.splice(0))))
    }
    callback()
  }
}

/** Begins TLS. The records are there when the client's handshake is done. */
export const client = (raw: net.Socket, options: tls.ConnectionOptions, onSecure?: (socket: tls.TLSSocket) => void) => {
  const socket = tls.connect({ socket: new OneWrite(raw), ...options })
  return {
    socket: socket.on("error", () => {}),
    records: Effect.async<Records>((resume) => {
      let secret = Buffer.alloc(0)
      socket.on("keylog", (line: Buffer) => {
        const [name, , hex = ""] = line.toString().trim().split(" ")
        if (name === "CLIENT_TRAFFIC_SECRET_0") {
          secret = Buffer.from(hex, "hex")
        }
      })
      socket.once("secureConnect", () => {
        onSecure?.(socket)
        setImmediate(() => setImmediate(() => resume(Effect.succeed(new Records(secret)))))
      })
    })
  }
}
