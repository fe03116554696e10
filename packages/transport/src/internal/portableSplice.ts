/**
 * Carries bytes between two sockets until both have sent their end or one of them fails. Owns both sockets and one timer,
 * from its construction until both sockets are closed; then it reports, once.
 *
 * In memory per direction: what one read gave (64 KiB) plus the stream's high-water mark. A socket that cannot take
 * more stops the reading of the other.
 */
import type * as Net from "node:net"
import type { Splice, SpliceOptions, SpliceOutcome, SpliceReport } from "../Transport.js"
import * as Tcp from "./tcp.js"

/** A socket, and the bytes read of it before the splice began. */
interface Released {
  readonly socket: Net.Socket
  readonly held: Array<Buffer>
  /** Whether it has emitted 'close'. Its own `closed` is true from destroy() on, before that event. */
  readonly closed: boolean
}

export class PortableSplice implements Splice {
  private readonly left: Side
  private readonly right: Side
  private outcome: SpliceOutcome | undefined
  private silence: NodeJS.Timeout | undefined
  private openSockets = 2

  constructor(
    left: Released,
    right: Released,
    private readonly options: SpliceOptions,
    private readonly onEnd: (report: SpliceReport) => void
  ) {
    this.left = new Side(left.socket, this)
    this.right = new Side(right.socket, this)
    this.left.other = this.right
    this.right.other = this.left
    if (options.idleTimeoutMs !== undefined) {
      this.limitSilence("idle", options.idleTimeoutMs)
    }
    this.left.start(left)
    this.right.start(right)
  }

  readonly carried = () => ({ fromLeft: this.left.carried, fromRight: this.right.carried })

  bytesMoved() {
    this.silence?.refresh()
  }

  halfClosed() {
    this.limitSilence("lingered", this.options.lingerTimeoutMs)
  }

  private limitSilence(outcome: SpliceOutcome, ms: number) {
    clearTimeout(this.silence)
    this.silence = setTimeout(() => this.end(outcome), ms)
  }

  socketClosed(cleanly: boolean) {
    this.openSockets--
    if (this.openSockets > 0) {
      if (!cleanly) {
        this.end("reset")
      }
      return
    }
    clearTimeout(this.silence)
    this.onEnd({ ...this.carried(), outcome: this.outcome ?? (cleanly ? "completed" : "reset") })
  }

  /** Ends both sides with a reset, so that neither end takes what it got for the whole. */
  end(outcome: SpliceOutcome) {
    this.outcome ??= outcome
    this.left.reset()
    this.right.reset()
  }
}

class Side {
  carried = 0
  other!: Side
  private ended = false

  constructor(
    private readonly socket: Net.Socket,
    private readonly splice: PortableSplice
  ) {}

  start({ closed, held }: Released) {
    this.socket.on("data", this.onData).on("end", this.onEnd).on("drain", this.onDrain).on("close", this.onClose)
    for (const chunk of held) {
      this.onData(chunk)
    }
    if (closed) {
      process.nextTick(this.onClose, true)
    } else if (this.socket.readableEnded) {
      this.onEnd()
    }
  }

  private readonly onData = (chunk: Buffer) => {
    this.carried += chunk.length
    this.splice.bytesMoved()
    if (this.other.socket.write(chunk)) {
      this.socket.resume()
    } else {
      this.socket.pause()
    }
  }

  private readonly onDrain = () => {
    this.splice.bytesMoved()
    this.other.socket.resume()
  }

  private readonly onEnd = () => {
    if (Tcp.endedByReset(this.socket)) {
      this.splice.end("reset")
      return
    }
    this.ended = true
    this.splice.halfClosed()
    this.other.socket.end()
  }

  private readonly onClose = (hadError: boolean) =>
    this.splice.socketClosed(!hadError && this.ended && this.socket.writableFinished)

  reset() {
    // libuv refuses to reset a socket between shutdown(2) and its completion; all its bytes are the kernel's by then.
    if (this.socket.writableEnded && !this.socket.writableFinished && this.socket.writableLength === 0) {
      this.socket.destroy()
    } else if (!this.socket.destroyed) {
      this.socket.resetAndDestroy()
    }
  }
}
