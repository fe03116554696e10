/**
 * The stream that TLS runs over, between it and the connection below, which this owns from its construction on. TLS is told of
 * an end or a reset of the connection only when it has every byte before it, so that the order in which it learns of the
 * other end's close_notify and of the connection's end is the order in which they came.
 *
 * It holds at most what one read of the connection gave (64 KiB), and one write of TLS. Either side that takes nothing stops
 * the other.
 */
import { Duplex } from "node:stream"

/** How long bytes that TLS does not read are kept when the connection is lost in a write. */
const unreadMs = 1_000

type Callback = (error?: Error | null) => void

export class Tap extends Duplex {
  /** Whether the handshake is done. */
  secured = false

  /** The connection was reset, as this says. To TLS it has ended then. */
  failure: Error | undefined

  constructor(private readonly below: Duplex) {
    // TLS destroys this stream; one that destroyed itself would take along what TLS has not passed on yet.
    super({ allowHalfOpen: below.allowHalfOpen, autoDestroy: false, readableHighWaterMark: 1 })
    below.on("data", this.onData).on("end", this.onEnd).on("error", this.onError).on("close", this.onClose)
    if (below.destroyed) {
      process.nextTick(this.onClose)
    }
  }

  /** All that TLS is given goes through here. */
  private readonly onData = (chunk: Buffer) => {
    if (!this.push(chunk)) {
      this.below.pause()
    }
  }

  private readonly onEnd = () => void this.push(null)

  private readonly onError = (error: Error) => {
    this.failure ??= error
  }

  private readonly onClose = () => {
    if (this.destroyed || (this.below.readableEnded && this.writableFinished)) {
      return
    }
    this.failure ??= Object.assign(new Error("the connection has been closed"), { code: "ECONNRESET" })
    if (this.below.readableEnded) {
      this.destroy(this.failure)
    } else {
      this.push(null)
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
