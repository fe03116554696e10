/**
 * Carries bytes between two sockets inside the kernel, in a worker of the kernel transport: from socket to pipe to socket,
 * and small pieces through a buffer, which is cheaper for them. It owns both sockets from its construction to its end.
 *
 * A direction takes something only when it has got rid of all it took before. So it keeps at most a pipe's worth, a
 * receiver that does not read stops the sender, and an idle splice keeps nothing: pipes are lent. A direction under
 * rates takes what they give, and when they give nothing, the splice waits.
 */
import { isDead, isSettled } from "@tx3/sockets/TcpInfo"
import type { SpliceOutcome } from "../Transport.js"
import { Allowance } from "./allowance.js"
import type { Clock, Descriptor, DescriptorCalls, Pipe, Poll } from "./system.js"
import { again, epollErr, epollUrgent, hangUps, pipeBytes } from "./system.js"

/** For pieces that cost less to copy twice than to send through a pipe. Nothing stays in it between two calls. */
const buffer = new Uint8Array(16 * 1024)

/**
 * The bytes that a direction may move before others get their turn: a millisecond or two, and about what a socket holds, so
 * that most have nothing left to come back for. A quarter of it costs half as much again with 64 busy splices (bench/).
 */
const turnBytes = 4 * 1024 * 1024

/** One end of a splice. */
export class End {
  private roomWatched = false

  constructor(
    readonly connection: number,
    readonly socket: Descriptor,
    /** Whether its connection has failed, as epoll tells. */
    public failed: boolean,
    /** Whether urgent data have come, behind which a read that gives less than was asked for may leave more. */
    public urgent: boolean,
    /** Whether its end may have come, of which no event will tell. */
    readonly hungUp: boolean
  ) {}

  /** From the first time that the socket takes no more, events tell when it does again. */
  watchRoom(poll: Poll) {
    if (!this.roomWatched) {
      this.roomWatched = true
      poll.watchRoomToo(this.socket, this.connection)
    }
  }
}

export interface SpliceHost {
  readonly clock: Clock
  readonly descriptors: DescriptorCalls
  readonly poll: Poll
  /** Bytes taken from the left of each splice and, next to it, from its right. */
  readonly carried: Float64Array
  /** The splice has moved bytes, has become half-closed, or waits for its rates no longer: its silence begins anew. */
  readonly stirred: (splice: KernelSplice) => void
  /** It has sent something, which its receiver has to acknowledge. */
  readonly sent: (splice: KernelSplice) => void
  /** It could move more, and lets others go first. */
  readonly yielded: (splice: KernelSplice) => void
  /** Its rates let it take nothing for so long. */
  readonly throttled: (splice: KernelSplice, ms: number) => void
  /** It is over, and its sockets are closed. */
  readonly ended: (splice: KernelSplice, outcome: SpliceOutcome) => void
}

/** Whether a direction waits for an event or for its rates, could go on, or never can. */
type Progress = "waits" | "throttled" | "yields" | "failed"

export class KernelSplice {
  private readonly fromLeft: Direction
  private readonly fromRight: Direction
  private throttled = false
  private over = false

  constructor(
    readonly number: number,
    readonly left: End,
    readonly right: End,
    readonly lingerTimeoutMs: number,
    readonly idleTimeoutMs: number | undefined,
    rates: ReadonlyArray<SharedArrayBuffer> | undefined,
    private readonly host: SpliceHost
  ) {
    this.fromLeft = new Direction(left, right, host, number * 2, rates)
    this.fromRight = new Direction(right, left, host, number * 2 + 1, rates)
  }

  get halfClosed() {
    return this.fromLeft.ended || this.fromRight.ended
  }

  private get stirredCount() {
    return this.fromLeft.stirred + this.fromRight.stirred
  }

  limit(rates: ReadonlyArray<SharedArrayBuffer>) {
    this.fromLeft.limit(rates)
    this.fromRight.limit(rates)
  }

  /**
   * Whether a receiver drains what has been sent to it: it has not acknowledged everything, and some more than when this
   * was asked before, or this has not been asked since bytes moved.
   */
  drains(): boolean {
    const [left, right] = [this.fromLeft.drains(), this.fromRight.drains()]
    return left || right
  }

  /** Ends it if one of its ends is dead. Whether an end has still something to acknowledge. */
  look(): boolean {
    let settled = true
    for (const { socket } of [this.left, this.right]) {
      const info = this.host.descriptors.tcpInfo(socket)
      if (info !== undefined && isDead(info)) {
        this.end("reset")
        return false
      }
      settled &&= info === undefined || isSettled(info)
    }
    return !settled
  }

  /** Takes what epoll says of one of its sockets. */
  onEvents(end: End, bits: number) {
    const [from, to] = end === this.left ? [this.fromLeft, this.fromRight] : [this.fromRight, this.fromLeft]
    from.readable = true
    from.hangingUp ||= (bits & hangUps) !== 0
    to.writable = true
    end.failed ||= (bits & epollErr) !== 0
    end.urgent ||= (bits & epollUrgent) !== 0
    this.move()
  }

  /** Moves what can be moved now. */
  move() {
    if (this.over) {
      return
    }
    const stirredBefore = this.stirredCount
    const left = this.fromLeft.move()
    // The system tells of a failure once; asked again, it would pass for an end.
    const right = left === "failed" ? "failed" : this.fromRight.move()
    if (right === "failed" || this.left.failed || this.right.failed) {
      this.end("reset")
    } else if (this.fromLeft.ended && this.fromRight.ended) {
      this.end("completed")
    } else {
      const stirred = this.stirredCount !== stirredBefore
      if (stirred) {
        this.host.sent(this)
      }
      const throttled = left === "throttled" || right === "throttled"
      if (throttled) {
        this.host.throttled(this, Math.min(this.fromLeft.waitMs(left), this.fromRight.waitMs(right)))
      } else if (this.throttled || stirred) {
        this.host.stirred(this)
      }
      this.throttled = throttled
      if (left === "yields" || right === "yields") {
        this.host.yielded(this)
      }
    }
  }

  /** Ends it, unless it has completed with a reset of both sides, so that neither takes what it got for the whole. */
  end(outcome: SpliceOutcome) {
    if (this.over) {
      return
    }
    this.over = true
    const { descriptors, ended } = this.host
    this.fromLeft.drop()
    this.fromRight.drop()
    for (const { socket } of [this.left, this.right]) {
      if (outcome === "completed") {
        descriptors.close(socket)
      } else {
        descriptors.reset(socket)
      }
    }
    ended(this, outcome)
  }
}

class Direction {
  /** Whether there may be something to read, room to send, and an end behind what there is to read. */
  readable = true
  writable = true
  hangingUp: boolean
  /** Whether the source has sent its end, and it has been passed on. */
  ended = false
  /** Counts what happened to it. */
  stirred = 0
  /** The bytes that the receiver had not acknowledged at the last look, and how often it had been stirred then. */
  private queued = { bytes: Infinity, stirred: 0 }
  private pipe: Pipe | undefined
  private kept: Uint8Array | undefined
  /** Whether the source sends much. */
  private bulk = false
  private allowance: Allowance | undefined

  constructor(
    private readonly from: End,
    private readonly to: End,
    private readonly host: SpliceHost,
    private readonly count: number,
    rates: ReadonlyArray<SharedArrayBuffer> | undefined
  ) {
    this.hangingUp = from.hungUp
    this.allowance = rates && new Allowance(rates, host.clock.nowNs)
  }

  limit(rates: ReadonlyArray<SharedArrayBuffer>) {
    this.allowance ??= new Allowance(rates, this.host.clock.nowNs)
  }

  drains(): boolean {
    const before = this.queued.stirred === this.stirred ? this.queued.bytes : Infinity
    const bytes = this.host.descriptors.unacknowledged(this.to.socket)
    this.queued = { bytes, stirred: this.stirred }
    return bytes > 0 && bytes < before
  }

  move(): Progress {
    const progress = this.moveOn()
    if (progress === "waits") {
      this.allowance?.release()
    }
    return progress
  }

  /** How long it waits for its rates. */
  waitMs(progress: Progress): number {
    return progress === "throttled" ? this.allowance!.waitMs() : Infinity
  }

  private moveOn(): Progress {
    let budget = turnBytes
    while (!this.ended) {
      const given = this.give()
      if (given < 0) {
        return given === again ? "waits" : "failed"
      }
      if (!this.readable) {
        return "waits"
      }
      if (budget <= 0) {
        return "yields"
      }
      const room = this.allowance === undefined ? pipeBytes : Math.min(pipeBytes, this.allowance.room())
      if (room === 0) {
        return "throttled"
      }
      const taken = this.take(room)
      if (taken === again) {
        this.readable = false
        this.hangingUp = false
      } else if (taken < 0 || taken === 0 && !this.passEndOn()) {
        return "failed"
      } else {
        budget -= taken
        this.allowance?.take(taken)
        this.stirred++
      }
    }
    return "waits"
  }

  private passEndOn() {
    this.ended = !this.from.failed && this.host.descriptors.shutdown(this.to.socket) === 0
    return this.ended
  }

  /** Gets rid of all that was taken: 0 when nothing is kept any more, or the negative errno. */
  private give(): number {
    const { descriptors, poll } = this.host
    while (this.pipe !== undefined || this.kept !== undefined) {
      const given = !this.writable
        ? again
        : this.pipe !== undefined
        ? descriptors.drain(this.pipe, this.to.socket)
        : descriptors.send(this.to.socket, this.kept!, this.kept!.length)
      if (given === again) {
        this.writable = false
        this.to.watchRoom(poll)
      }
      if (given < 0) {
        return given
      }
      this.stirred++
      if (this.pipe === undefined) {
        this.kept = given < this.kept!.length ? this.kept!.subarray(given) : undefined
      } else if (this.pipe.bytes === 0) {
        this.takePipeBack(this.pipe)
      }
    }
    return 0
  }

  /** Takes something from the source: how many bytes, 0 at its end, or the negative errno. */
  private take(most: number): number {
    const { carried, descriptors } = this.host
    const pipe = this.bulk && most > buffer.length ? descriptors.lendPipe() : undefined
    if (pipe === undefined) {
      return this.takeThroughBuffer(Math.min(most, buffer.length))
    }
    this.pipe = pipe
    const taken = descriptors.fill(pipe, this.from.socket, most)
    if (taken > 0) {
      carried[this.count]! += taken
      this.bulk = taken > buffer.length
      return taken
    }
    this.takePipeBack(pipe)
    // Of urgent data that have come in this moment only this look would tell, and they would pass for the end.
    return taken === 0 || taken === again && this.from.urgent ? this.takeThroughBuffer(buffer.length) : taken
  }

  private takeThroughBuffer(most: number): number {
    const { carried, descriptors } = this.host
    const taken = descriptors.receive(this.from.socket, buffer, most)
    if (taken > 0) {
      carried[this.count]! += taken
      this.bulk = taken === buffer.length
      // A read that could have had more has emptied the socket, and what comes next makes an event; but for urgent data.
      this.readable = taken === most || this.hangingUp || this.from.urgent
      const sent = descriptors.send(this.to.socket, buffer, taken)
      if (sent < 0 && sent !== again) {
        return sent
      }
      if (sent < taken) {
        this.kept = buffer.slice(Math.max(sent, 0), taken)
      }
    }
    return taken
  }

  private takePipeBack(pipe: Pipe) {
    this.pipe = undefined
    this.host.descriptors.takePipeBack(pipe)
  }

  /** Forgets what it keeps. */
  drop() {
    this.allowance?.release()
    this.kept = undefined
    if (this.pipe !== undefined) {
      this.takePipeBack(this.pipe)
    }
  }
}
