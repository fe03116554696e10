/**
 * Datagrams on their way into a connection. They wait while the connection is not there yet, or takes no more, and the oldest
 * make room for new ones. It owns what waits; the stream stays its opener's.
 */
import type { Duplex } from "node:stream"
import { encode, fits } from "./datagramFrames.js"

/**
 * What may wait: a burst of 180 datagrams of 1,420 bytes. More would only grow old: a program that has no answer within a
 * second sends its datagram again.
 */
const maxWaitingBytes = 256 * 1024

/** What a datagram counts beyond its bytes, so that empty ones are bounded too. */
const overheadBytes = 64

const costOf = ({ length }: Uint8Array) => length + overheadBytes

export class Outbox {
  private readonly waiting: Array<Uint8Array> = []
  private waitingBytes = 0
  private duplex: Duplex | undefined
  private droppedCount = 0

  /** How many datagrams were dropped. */
  get dropped(): number {
    return this.droppedCount
  }

  /** Sends a datagram, or lets it wait. Never waits itself. */
  offer(datagram: Uint8Array): void {
    if (!fits(datagram)) {
      this.droppedCount++
      return
    }
    this.waiting.push(datagram)
    this.waitingBytes += costOf(datagram)
    this.flush()
    while (this.waitingBytes > maxWaitingBytes) {
      this.waitingBytes -= costOf(this.waiting.shift()!)
      this.droppedCount++
    }
  }

  /** Sends into this stream from now on, what waits first. Returns how to stop. */
  attach(duplex: Duplex): () => void {
    this.duplex = duplex
    duplex.on("drain", this.flush)
    this.flush()
    return () => {
      this.duplex = undefined
      duplex.off("drain", this.flush)
    }
  }

  /** What waits, to be sent otherwise. */
  takeAll(): ReadonlyArray<Uint8Array> {
    this.waitingBytes = 0
    return this.waiting.splice(0)
  }

  private readonly flush = () => {
    while (
      this.duplex !== undefined && this.waiting.length > 0 && this.duplex.writable && !this.duplex.writableNeedDrain
    ) {
      const datagram = this.waiting.shift()!
      this.waitingBytes -= costOf(datagram)
      this.duplex.write(encode(datagram))
    }
  }
}
