/**
 * Carries bytes between two sockets until both have sent their end or one of them fails. Owns both sockets, one timer, and
 * another for each side under rates, from its construction until both sockets are closed; then it reports, once.
 *
 * In memory per direction: what one read gave (64 KiB) plus the stream's high-water mark. A socket that cannot take
 * more stops the reading of the other. So do rates: what one read gave is passed on in the pieces that they allow, and
 * there is at most another read in the stream behind it.
 */
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import * as Reset from "@tx3/sockets/Reset"
import { unacknowledgedBytes } from "@tx3/sockets/SocketCalls"
import type * as Net from "node:net"
import type { Rate } from "../Rate.js"
import type { Splice, SpliceOptions, SpliceOutcome, SpliceReport } from "../Transport.js"
import { Allowance } from "./allowance.js"

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
    if (options.rates.length > 0) {
      this.limit(options.rates)
    }
    if (options.idleTimeoutMs !== undefined) {
      this.limitSilence("idle", options.idleTimeoutMs)
    }
    this.left.start(left)
    this.right.start(right)
  }

  readonly carried = () => ({ fromLeft: this.left.carried, fromRight: this.right.carried })

  limit(rates: ReadonlyArray<Rate>) {
    this.left.limit(rates)
    this.right.limit(rates)
  }

  bytesMoved() {
    this.silence?.refresh()
  }

  halfClosed() {
    this.limitSilence("lingered", this.options.lingerTimeoutMs)
  }

  private limitSilence(outcome: SpliceOutcome, ms: number) {
    clearTimeout(this.silence)
    this.silence = setTimeout(() => this.isSilent() ? this.end(outcome) : this.bytesMoved(), ms)
  }

  /** Bytes that wait for their rates, or that the kernel still has for a receiver that takes some, are no silence. */
  private isSilent() {
    const drains = [this.left, this.right].filter((side) => side.drains())
    return drains.length === 0 && !this.left.throttled && !this.right.throttled
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
    this.left.drop()
    this.right.drop()
    this.onEnd({ ...this.carried(), outcome: this.outcome ?? (cleanly ? "completed" : "reset") })
  }

  /** Ends both sides with a reset, so that neither end takes what it got for the whole. */
  end(outcome: SpliceOutcome) {
    this.outcome ??= outcome
    this.left.drop()
    this.right.drop()
    this.left.reset()
    this.right.reset()
  }
}

class Side {
  carried = 0
  other!: Side
  private ended = false
  private allowance: Allowance | undefined
  /** Chunks that have been read and must wait: for the rates, or behind a chunk that does. */
  private readonly kept: Array<Buffer> = []
  private wait: NodeJS.Timeout | undefined
  /** The bytes that this end had not acknowledged at the last look; undefined: no look since bytes were sent to it. */
  private queued: number | undefined

  constructor(
    private readonly socket: Net.Socket,
    private readonly splice: PortableSplice
  ) {}

  limit(rates: ReadonlyArray<Rate>) {
    this.allowance ??= new Allowance(rates.map(({ memory }) => memory))
  }

  /** Whether there are bytes that wait for the rates alone. */
  get throttled() {
    return this.wait !== undefined
  }

  /**
   * Whether this end takes what was sent to it: it has not acknowledged everything, and more than at the last look. Where
   * the system does not tell, it is thought to do so as long as the kernel does not take everything from this process.
   */
  drains(): boolean {
    const before = this.queued ?? Infinity
    this.queued = unacknowledgedBytes(this.socket)
    return this.queued === undefined ? this.socket.writableLength > 0 : this.queued > 0 && this.queued < before
  }

  start({ closed, held }: Released) {
    DeadPeers.watch(this.socket)
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
    if (this.allowance !== undefined) {
      this.kept.push(chunk)
      this.passKeptOn(this.allowance)
    } else if (this.pass(chunk)) {
      this.socket.resume()
    } else {
      this.socket.pause()
    }
  }

  /** Whether there is room for more behind it. */
  private pass(chunk: Buffer): boolean {
    this.carried += chunk.length
    this.splice.bytesMoved()
    this.other.queued = undefined
    return this.other.socket.write(chunk)
  }

  /** Passes on what the rates and the other socket allow. Reads on only when no bytes are kept and that socket takes more. */
  private passKeptOn(allowance: Allowance) {
    clearTimeout(this.wait)
    this.wait = undefined
    while (this.kept.length > 0 && !this.other.socket.writableNeedDrain) {
      const chunk = this.kept[0]!
      const room = allowance.room()
      if (room === 0) {
        this.socket.pause()
        this.wait = setTimeout(() => this.passKeptOn(allowance), allowance.waitMs())
        return
      }
      if (room < chunk.length) {
        this.kept[0] = chunk.subarray(room)
      } else {
        this.kept.shift()
      }
      const piece = chunk.subarray(0, room)
      allowance.take(piece.length)
      this.pass(piece)
    }
    allowance.release()
    if (this.ended && this.kept.length === 0) {
      this.passEndOn()
    } else if (this.other.socket.writableNeedDrain) {
      this.socket.pause()
    } else {
      this.socket.resume()
    }
  }

  private readonly onDrain = () => {
    this.splice.bytesMoved()
    this.queued = undefined
    this.other.goOn()
  }

  private goOn() {
    if (this.allowance === undefined) {
      this.socket.resume()
    } else if (!this.throttled) {
      this.passKeptOn(this.allowance)
    }
  }

  private readonly onEnd = () => {
    const { bytes, isReset } = Reset.behindEnd(this.socket)
    if (isReset) {
      this.splice.end("reset")
      return
    }
    if (bytes.length > 0) {
      this.onData(bytes)
    }
    this.ended = true
    if (this.kept.length === 0) {
      this.passEndOn()
    }
  }

  private passEndOn() {
    if (!this.other.socket.writableEnded) {
      this.splice.halfClosed()
      this.other.socket.end()
    }
  }

  private readonly onClose = (hadError: boolean) =>
    this.splice.socketClosed(!hadError && this.ended && this.socket.writableFinished)

  /** Forgets what it keeps. */
  drop() {
    clearTimeout(this.wait)
    this.wait = undefined
    this.kept.length = 0
    this.allowance?.release()
  }

  reset() {
    // libuv refuses to reset a socket between shutdown(2) and its completion; all its bytes are the kernel's by then.
    if (this.socket.writableEnded && !this.socket.writableFinished && this.socket.writableLength === 0) {
      this.socket.destroy()
    } else if (!this.socket.destroyed) {
      this.socket.resetAndDestroy()
    }
  }
}
