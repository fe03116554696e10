/**
 * Datagrams in a stream of bytes: each is a length of 2 bytes, big-endian, and as many bytes. Every datagram of UDP fits, the
 * empty one too. It owns nothing but the piece of a frame that has come so far.
 */

/** The bytes of a frame's length. */
const lengthBytes = 2

/** The largest datagram that a frame has room for. UDP over IPv4 has 65507 bytes at most. */
const maxDatagramBytes = 65_535

/** Whether a frame has room for a datagram. */
export const fits = (datagram: Uint8Array): boolean => datagram.length <= maxDatagramBytes

/** A frame, in one piece, so that TLS makes one record of it. */
export const encode = (datagram: Uint8Array): Buffer => {
  const frame = Buffer.allocUnsafe(lengthBytes + datagram.length)
  frame.writeUInt16BE(datagram.length)
  frame.set(datagram, lengthBytes)
  return frame
}

/** Takes a stream apart, however it is cut into chunks. Keeps less than one frame. */
export class Decoder {
  private pieces: Array<Uint8Array> = []
  private length = 0
  /** With so many bytes there is more to be known. */
  private needed = lengthBytes

  /** The datagrams that are whole with this chunk. */
  push(chunk: Uint8Array): Array<Buffer> {
    this.pieces.push(chunk)
    this.length += chunk.length
    const datagrams: Array<Buffer> = []
    if (this.length < this.needed) {
      return datagrams
    }
    const bytes = Buffer.concat(this.pieces, this.length)
    let at = 0
    this.needed = lengthBytes
    while (bytes.length - at >= lengthBytes) {
      const frameBytes = lengthBytes + bytes.readUInt16BE(at)
      if (at + frameBytes > bytes.length) {
        this.needed = frameBytes
        break
      }
      datagrams.push(bytes.subarray(at + lengthBytes, at + frameBytes))
      at += frameBytes
    }
    this.pieces = [bytes.subarray(at)]
    this.length = bytes.length - at
    return datagrams
  }
}
