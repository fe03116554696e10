/**
 * The connections of a worker of the kernel transport that are not spliced: it reads the PROXY headers of some and the
 * preambles of all, tells the main thread of them, and watches for hang-ups. It owns their sockets until it reports their
 * preamble; from then on it only watches them.
 */
import * as Preamble from "@tx3/protocol/Preamble"
import type { Watched, WorkerContext } from "./kernelContext.js"
import type { Arrived } from "./kernelMessages.js"
import { Signal } from "./kernelMessages.js"
import type { Proxies } from "./proxyProtocol.js"
import * as ProxyProtocol from "./proxyProtocol.js"
import type { Descriptor, Incoming } from "./system.js"
import { again, epollErr, epollUrgent, hangUps } from "./system.js"
import { Timers } from "./timers.js"

/**
 * Connections that the main thread has not heard of yet, those of proxies whose header is awaited included. Beyond them
 * they wait in the kernel's backlog.
 */
const unheardMax = 1024
/** The main thread is told of a connection with its preamble, which comes at once as a rule, or after so long. */
const reportWithinMs = 5

const headerBytes = Buffer.alloc(ProxyProtocol.headerBytesMax)

export class Arrivals {
  private readonly headless: Timers<Headless>
  private readonly unreported: Timers<Arrival>
  private accepted = 0

  constructor(readonly worker: WorkerContext) {
    this.headless = new Timers(worker.system.clock)
    this.unreported = new Timers(worker.system.clock)
  }

  /** Whether the main thread has to hear of some before more may be accepted. */
  get isFull() {
    // The count of the heard arrivals has 32 bits.
    return (this.accepted - Atomics.load(this.worker.signals, Signal.heard) | 0) >= unheardMax
  }

  accept(listener: number, incoming: Incoming, proxies: Proxies | undefined) {
    const connection = this.worker.connectionKey(++this.accepted)
    if (proxies !== undefined && ProxyProtocol.isProxy(proxies, incoming.host)) {
      if (this.watch(connection, listener, incoming.socket)) {
        const waiting = new Headless(this, connection, listener, incoming, proxies.headerTimeoutMs)
        this.worker.watched.set(connection, waiting)
        this.headless.start(waiting, proxies.headerTimeoutMs)
      }
    } else {
      // Read before it is watched: what has come already makes no event then.
      const arrival = new Arrival(this, connection, listener, incoming)
      const read = arrival.readPreamble()
      if (this.watch(connection, listener, incoming.socket)) {
        this.awaitPreamble(connection, arrival).onRead(read, 0)
      }
    }
  }

  private watch(connection: number, listener: number, socket: Descriptor) {
    const result = this.worker.system.poll.watchConnection(socket, connection)
    if (result < 0) {
      this.closeUnheard(socket)
      this.worker.report(["acceptFailed", listener, result])
    }
    return result === 0
  }

  awaitPreamble(connection: number, arrival: Arrival): Arrival {
    this.worker.watched.set(connection, arrival)
    this.unreported.start(arrival, reportWithinMs)
    return arrival
  }

  /** The header has come, or never will. */
  hasHeader(waiting: Headless) {
    this.headless.cancel(waiting)
  }

  isReported(arrival: Arrival) {
    this.unreported.cancel(arrival)
  }

  /** Closes a connection that the main thread will never hear of. */
  closeUnheard(socket: Descriptor) {
    Atomics.add(this.worker.signals, Signal.heard, 1)
    this.worker.system.descriptors.close(socket)
  }

  /** Closes a connection that is still sending its preamble. */
  close(connection: number) {
    const arrival = this.worker.watched.get(connection)
    if (arrival instanceof Arrival) {
      arrival.close()
    }
  }

  /** Closes the connections of a listener whose header is awaited. */
  closeHeadless(listener: number) {
    for (const waiting of Array.from(this.worker.watched.values())) {
      if (waiting instanceof Headless && waiting.listener === listener) {
        waiting.close()
      }
    }
  }

  onTurn() {
    this.headless.expire(expireHeadless)
    this.unreported.expire(reportArrival)
  }

  nextMs() {
    return Math.min(this.headless.nextMs(), this.unreported.nextMs())
  }
}

const expireHeadless = (waiting: Headless) => waiting.expire()
const reportArrival = (arrival: Arrival) => arrival.report()

/** A connection of a proxy whose PROXY header is not complete. */
class Headless implements Watched {
  constructor(
    private readonly arrivals: Arrivals,
    private readonly connection: number,
    readonly listener: number,
    private readonly incoming: Incoming,
    private readonly timeoutMs: number
  ) {}

  onEvents(bits: number) {
    const { descriptors } = this.arrivals.worker.system
    const { socket } = this.incoming
    // The header is left where it is until it is complete: what follows it is not for this thread to read.
    const peeked = descriptors.peek(socket, headerBytes)
    const header = peeked > 0 ? ProxyProtocol.parse(headerBytes.subarray(0, peeked)) : undefined
    if (typeof header === "string") {
      this.refuse(header)
    } else if (header !== undefined) {
      descriptors.receive(socket, headerBytes, header.length)
      this.arrivals.hasHeader(this)
      const arrival = new Arrival(this.arrivals, this.connection, this.listener, { ...this.incoming, ...header.source })
      this.arrivals.awaitPreamble(this.connection, arrival).onEvents(bits)
    } else if (peeked > 0 && (bits & hangUps) !== 0) {
      this.refuse(ProxyProtocol.hungUp)
    } else if (peeked <= 0 && peeked !== again) {
      // A proxy's health check connects and hangs up.
      this.close()
    }
  }

  expire() {
    this.refuse(ProxyProtocol.late(this.timeoutMs))
  }

  private refuse(problem: string) {
    this.close()
    this.arrivals.worker.report(["refused", this.listener, this.incoming.host, problem])
  }

  close() {
    this.arrivals.hasHeader(this)
    this.arrivals.worker.watched.delete(this.connection)
    this.arrivals.closeUnheard(this.incoming.socket)
  }
}

/** A connection that the main thread has not decided about yet. */
export class Undecided implements Watched {
  failed = false
  urgent = false
  hungUp = false

  constructor(private readonly worker: WorkerContext, protected readonly connection: number) {}

  onEvents(bits: number) {
    this.note(bits, (bits & hangUps) !== 0)
  }

  /** Tells the main thread of a hang-up, and of a failure behind it. */
  protected note(bits: number, ended: boolean) {
    const failed = (bits & epollErr) !== 0
    this.urgent ||= (bits & epollUrgent) !== 0
    if (ended && !this.hungUp || failed && !this.failed) {
      this.hungUp = true
      this.failed ||= failed
      this.beforeHangUp()
      this.worker.report(["hungUp", this.connection, this.failed])
    }
  }

  protected beforeHangUp() {}
}

/** An undecided connection that was accepted. */
class Arrival extends Undecided {
  private reported = false
  private readonly preamble = Buffer.allocUnsafe(Preamble.length)
  private preambleBytes = 0
  /** Whether the preamble has been reported, and the socket is the main thread's. */
  private arrived = false

  constructor(
    private readonly arrivals: Arrivals,
    connection: number,
    private readonly listener: number,
    private readonly incoming: Incoming
  ) {
    super(arrivals.worker, connection)
  }

  override onEvents(bits: number) {
    this.onRead(this.readPreamble(), bits)
  }

  protected override beforeHangUp() {
    this.report()
  }

  /** Reads what has come of the preamble: what the last call gave, and `again` if there is nothing more to read. */
  readPreamble(): number {
    const { descriptors } = this.arrivals.worker.system
    while (this.preambleBytes < Preamble.length) {
      const left = this.preambleBytes === 0 ? this.preamble : this.preamble.subarray(this.preambleBytes)
      const read = descriptors.receive(this.incoming.socket, left)
      if (read <= 0) {
        return read
      }
      this.preambleBytes += read
    }
    return again
  }

  /** Takes what reading gave, and the bits of the event before it. */
  onRead(read: number, bits: number) {
    if (!this.arrived && this.preambleBytes === Preamble.length) {
      this.arrived = true
      const arrived: Arrived = [this.incoming.socket, this.preamble.toString("latin1")]
      if (this.reported) {
        this.arrivals.worker.report(["preamble", this.connection, arrived])
      } else {
        this.report(arrived)
      }
    }
    // A read that fails takes the socket's error with it: no event tells of it any more.
    const failed = read < 0 && read !== again ? epollErr : 0
    this.note(bits | failed, read !== again || (bits & hangUps) !== 0)
  }

  /** Tells the main thread that there is this connection, if it has not been told. */
  report(arrived?: Arrived) {
    if (!this.reported) {
      this.reported = true
      this.arrivals.isReported(this)
      const { host, port } = this.incoming
      this.arrivals.worker.report(["accepted", this.listener, this.connection, host, port, arrived])
    }
  }

  close() {
    if (!this.arrived) {
      this.arrivals.worker.watched.delete(this.connection)
      this.arrivals.worker.system.descriptors.close(this.incoming.socket)
    }
  }
}
