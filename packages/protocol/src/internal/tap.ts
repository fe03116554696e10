/**
 * The stream between TLS and the connection below. It owns that connection from its construction on. TLS learns of an end or a
 * reset of the connection only after every byte before it, so it sees the other end's close_notify and the connection's end
 * in the order in which they arrived.
 *
 * Until the handshake is done TLS gets records only as `Flight` gives them out. Afterwards it gets everything, and the records that
 * give no data are counted: OpenSSL spends 8 to 27 us of the event loop on a KeyUpdate of 27 bytes and does not report it.
 *
 * It holds at most one read of the connection (64 KiB) and one write of TLS. A side that does not read stops the other.
 */
import { Duplex } from "node:stream"
import type * as flight from "./flight.js"

/** How long bytes that TLS does not read are kept when the connection is lost in a write. */
const unreadMs = 1_000

/** How often a connection whose other end has ended is looked at. */
const probeEveryMs = 10_000

const nothing = Buffer.alloc(0)

type Callback = (error?: Error | null) => void

/** Records without data that may come at any time, such as session tickets. */
const maxIdleRecords = 64

/** Each record with data allows for this part of one without, and each KiB of data for one. */
const recordsPerIdle = 16

export class Tap extends Duplex {
  /** Whether the handshake is done. */
  secured = false

  /** The connection was reset, as this says. To TLS it has ended then. */
  failure: Error | undefined

  /** Looks for a reset of a connection that has ended and is not read any more, and where nothing is written. */
  private probe: NodeJS.Timeout | undefined

  /** Told why the other end must not go on. */
  onRefused: (error: Error) => void = () => {}

  /** More came before the handshake was done than it may take. */
  onOversized: () => void = () => {}

  /** More came after the handshake than may come. */
  onFlood: () => void = () => {}

  /** How many bytes of data TLS has given to its reader. */
  dataRead: () => number = () => 0

  private ended = false
  private gaveEnd = false
  /** Records that TLS got since the handshake, less those that gave data. */
  private idle = 0
  private received = 0
  /** Bytes of data that TLS told of. */
  private data = 0
  private readonly header: Array<number> = []
  private restOfRecord = 0

  constructor(
    private readonly below: Duplex,
    private readonly flight: flight.Flight,
    /** Bytes that may come after the handshake. */
    private readonly maxBytesSecured: number
  ) {
    // TLS destroys this stream; one that destroyed itself would take along what TLS has not passed on yet.
    super({ allowHalfOpen: below.allowHalfOpen, autoDestroy: false, readableHighWaterMark: 1 })
    below.on("data", this.onData).on("end", this.onEnd).on("error", this.onError).on("close", this.onClose)
    if (below.destroyed) {
      process.nextTick(this.onClose)
    }
  }

  /** All that TLS is given goes through here. */
  private readonly onData = (chunk: Buffer) => {
    if (this.secured) {
      this.pass(chunk)
    } else {
      this.flight.add(chunk)
      this.passFlight()
    }
  }

  private readonly onEnd = () => {
    this.ended = true
    this.probe = setInterval(() => {
      if (this.writableLength === 0 && !this.writableEnded) {
        this.below.write(nothing)
      }
    }, probeEveryMs).unref()
    if (this.secured) {
      this.giveEnd()
    } else {
      this.passFlight()
    }
  }

  /** Gives TLS what it may have of the handshake. Call it again when TLS has said a secret. */
  readonly passFlight = () => {
    while (!this.secured && !this.destroyed && !this.gaveEnd) {
      const record = this.flight.next()
      if (record === "full") {
        // TLS takes what it is given at once, but its event that the handshake is done may be under way.
        setImmediate(() => this.secured || this.destroyed || this.onOversized())
        this.below.pause()
        return
      }
      if (record === "more") {
        if (this.ended) {
          this.giveEnd()
        }
        return
      }
      if (record instanceof Error) {
        this.onRefused(record)
        return
      }
      this.push(record)
    }
  }

  /** The handshake is done. */
  secure() {
    this.secured = true
    // Not from within TLS's own event.
    process.nextTick(() => {
      const rest = this.flight.rest()
      if (rest.length > 0 && !this.gaveEnd) {
        this.below.resume()
        this.pass(rest)
      }
      if (this.ended) {
        this.giveEnd()
      }
    })
  }

  /** TLS had this many bytes of data in a record. */
  gaveData(bytes: number) {
    this.data += bytes
    this.idle = Math.max(0, this.idle - 1 - 1 / recordsPerIdle - bytes / 1024)
  }

  private pass(chunk: Buffer) {
    this.received += chunk.length
    if (this.received > this.maxBytesSecured) {
      return this.onFlood()
    }
    let given = 0
    for (let at = 0; at < chunk.length;) {
      at = this.skipRecord(chunk, at)
      if (this.idle > maxIdleRecords && this.restOfRecord === 0) {
        this.give(chunk.subarray(given, at))
        given = at
        this.creditUntold()
        // Unless it waits here, TLS has said what it found in all that it was given.
        if (this.idle > maxIdleRecords && this.readableLength === 0) {
          return this.onFlood()
        }
      }
    }
    this.give(chunk.subarray(given))
  }

  /** Node's HTTP server takes data from TLS without telling; with one record at a time it is that record's. */
  private creditUntold() {
    const untold = this.dataRead() - this.data
    if (untold > 0) {
      this.gaveData(untold)
    }
  }

  private giveEnd() {
    if (!this.gaveEnd) {
      this.gaveEnd = true
      this.push(null)
    }
  }

  private give(bytes: Buffer) {
    if (bytes.length > 0 && !this.gaveEnd && !this.push(bytes)) {
      this.below.pause()
    }
  }

  /** Counts a record where its header is whole. Returns where the next part of a record begins. */
  private skipRecord(chunk: Buffer, at: number): number {
    if (this.restOfRecord === 0) {
      this.header.push(chunk[at]!)
      if (this.header.length === 5) {
        this.restOfRecord = this.header[3]! * 256 + this.header[4]!
        this.header.length = 0
        this.idle++
      }
      return at + 1
    }
    const here = Math.min(this.restOfRecord, chunk.length - at)
    this.restOfRecord -= here
    return at + here
  }

  private readonly onError = (error: Error) => {
    this.failure ??= error
  }

  private readonly onClose = () => {
    clearInterval(this.probe)
    if (this.destroyed || (this.below.readableEnded && this.writableFinished)) {
      return
    }
    this.failure ??= Object.assign(new Error("the connection has been closed"), { code: "ECONNRESET" })
    if (this.below.readableEnded) {
      this.destroy(this.failure)
    } else {
      this.giveEnd()
    }
  }

  override _read() {
    this.below.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback) {
    this.below.write(chunk, this.written(callback))
  }

  override _writev(chunks: Array<{ readonly chunk: Buffer }>, callback: Callback) {
    const last = chunks.length - 1
    this.below.cork()
    chunks.forEach(({ chunk }, index) => this.below.write(chunk, index === last ? this.written(callback) : undefined))
    this.below.uncork()
  }

  /**
   * A stream whose write has failed does not tell its end any more, and TLS would wait for it for ever: so TLS is told of the end
   * first, and of the failure after it, or in a second if it does not read that far.
   */
  private readonly written = (callback: Callback) => (error?: Error | null) => {
    if (!error || this.readableEnded) {
      return callback(error)
    }
    this.failure ??= error
    const timer = setTimeout(() => this.destroy(error), unreadMs).unref()
    this.once("end", () => {
      clearTimeout(timer)
      callback(error)
    })
  }

  override _final(callback: Callback) {
    this.below.end(() => callback())
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void) {
    this.below.destroy()
    callback(error)
  }
}
