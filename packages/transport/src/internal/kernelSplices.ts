/**
 * The splices of a worker of the kernel transport, and when each has its turn: when epoll tells of one of its sockets, when
 * it could have gone on, when its rates allow it, and when it has been silent. It owns the splices until they have ended.
 */
import { lookEveryMs } from "@tx3/sockets/TcpInfo"
import { Undecided } from "./kernelArrivals.js"
import type { Watched, WorkerContext } from "./kernelContext.js"
import type { Side } from "./kernelMessages.js"
import type { SpliceHost } from "./kernelSplice.js"
import { End, KernelSplice } from "./kernelSplice.js"
import { Timers } from "./timers.js"

/** Splices whose ends are looked at in a turn, whether they are dead: a fraction of a millisecond. */
const looksPerTurn = 64

export class Splices {
  private readonly splices = new Map<number, KernelSplice>()
  private readonly yielded = new Set<KernelSplice>()
  private readonly silences: Timers<KernelSplice>
  /** Splices with something unacknowledged. On the others, keep-alive finds a dead end. */
  private readonly unsettled: Timers<KernelSplice>
  private readonly throttled: Timers<KernelSplice>
  private readonly host: SpliceHost

  constructor(private readonly worker: WorkerContext, carried: Float64Array) {
    const { clock, descriptors, poll } = worker.system
    this.silences = new Timers(clock)
    this.unsettled = new Timers(clock)
    this.throttled = new Timers(clock)
    this.host = {
      carried,
      clock,
      descriptors,
      poll,
      stirred: this.stirred,
      sent: this.sent,
      yielded: (splice) => this.yielded.add(splice),
      throttled: (splice, ms) => {
        this.silences.cancel(splice)
        this.throttled.start(splice, ms)
      },
      ended: (splice, outcome) => {
        this.splices.delete(splice.number)
        this.silences.cancel(splice)
        this.unsettled.cancel(splice)
        this.throttled.cancel(splice)
        this.yielded.delete(splice)
        worker.watched.delete(splice.left.connection)
        worker.watched.delete(splice.right.connection)
        worker.report(["ended", splice.number, outcome])
      }
    }
  }

  private readonly stirred = (splice: KernelSplice) => {
    const ms = splice.halfClosed ? splice.lingerTimeoutMs : splice.idleTimeoutMs
    if (ms !== undefined) {
      this.silences.start(splice, ms)
    }
  }

  private readonly sent = (splice: KernelSplice) => {
    if (!this.unsettled.has(splice, lookEveryMs)) {
      this.unsettled.start(splice, lookEveryMs)
    }
  }

  start(
    number: number,
    left: Side,
    right: Side,
    lingerMs: number,
    idleMs: number | undefined,
    rates: ReadonlyArray<SharedArrayBuffer> | undefined
  ) {
    const { system, watched } = this.worker
    const splice = new KernelSplice(
      number,
      this.endOf(left),
      this.endOf(right),
      lingerMs,
      idleMs,
      rates,
      this.host
    )
    this.splices.set(number, splice)
    for (const [[connection, socket, ours], end] of [[left, splice.left], [right, splice.right]] as const) {
      watched.set(connection, new SplicedEnd(end, splice))
      if (!ours && system.poll.watchConnection(socket, connection) < 0) {
        end.failed = true
      }
    }
    this.stirred(splice)
    splice.move()
  }

  /** A failure may have come after the main thread was told of a hang-up, or before the socket came to this thread. */
  private endOf([connection, socket, , failed]: Side) {
    const watched = this.worker.watched.get(connection)
    const before = watched instanceof Undecided ? watched : undefined
    return new End(
      connection,
      socket,
      failed || before?.failed === true,
      before?.urgent === true,
      before?.hungUp !== false
    )
  }

  limit(number: number, rates: ReadonlyArray<SharedArrayBuffer>) {
    this.splices.get(number)?.limit(rates)
  }

  /** Ends one with a reset. */
  end(number: number) {
    this.splices.get(number)?.end("closed")
  }

  endAll() {
    for (const splice of Array.from(this.splices.values())) {
      splice.end("closed")
    }
  }

  onTurn() {
    if (this.yielded.size > 0) {
      for (const splice of Array.from(this.yielded)) {
        this.yielded.delete(splice)
        splice.move()
      }
    }
    this.throttled.expire(move)
    this.silences.expire(this.onSilence)
    this.unsettled.expire(this.onLook, looksPerTurn)
  }

  private readonly onSilence = (splice: KernelSplice) => {
    if (splice.drains()) {
      this.stirred(splice)
    } else {
      splice.end(splice.halfClosed ? "lingered" : "idle")
    }
  }

  private readonly onLook = (splice: KernelSplice) => {
    if (splice.look()) {
      this.sent(splice)
    }
  }

  nextMs() {
    return this.yielded.size > 0
      ? 0
      : Math.min(this.silences.nextMs(), this.unsettled.nextMs(), this.throttled.nextMs())
  }
}

const move = (splice: KernelSplice) => splice.move()

/** One end of a splice, for epoll. */
class SplicedEnd implements Watched {
  constructor(
    private readonly end: End,
    private readonly splice: KernelSplice
  ) {}

  onEvents(bits: number) {
    this.splice.onEvents(this.end, bits)
  }
}
