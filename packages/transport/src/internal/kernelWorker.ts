/**
 * A worker of the kernel transport: one thread that waits in epoll_wait. It accepts connections, reads their preambles,
 * and before those the headers of proxies, and watches for hang-ups, and carries the bytes of splices. What becomes of a connection the main thread decides.
 *
 * It owns the sockets it accepts until it reports their preamble, and again those of its splices, until it is told to
 * stop; then it ends all of them.
 */
import * as Preamble from "@tx3/protocol/Preamble"
import { lookEveryMs } from "@tx3/sockets/TcpInfo"
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"
import type { Descriptor } from "./descriptors.js"
import * as Os from "./descriptors.js"
import type { Arrived, Order, Report, Side, WorkerData } from "./kernelMessages.js"
import { Signal } from "./kernelMessages.js"
import type { SpliceHost } from "./kernelSplice.js"
import { End, KernelSplice } from "./kernelSplice.js"
import type { Proxies } from "./proxyProtocol.js"
import * as ProxyProtocol from "./proxyProtocol.js"
import { Timers } from "./timers.js"

const { bell, carried, ledger, owner, pipesMax, poll, signals } = workerData as WorkerData
const port = parentPort!
const descriptors = new Os.Descriptors(ledger, owner, pipesMax)

/** Connections accepted at a time, before others get their turn. */
const acceptsPerTurn = 64
/**
 * Connections that the main thread has not heard of yet, those of proxies whose header is awaited included. Beyond them
 * they wait in the kernel's backlog.
 */
const unheardMax = 1024
/** A listener that cannot accept now, or must not, is left alone for so long. */
const pauseMs = 10
/** The main thread is told of a connection with its preamble, which comes at once as a rule, or after so long. */
const reportWithinMs = 5
/** Splices whose ends are looked at in a turn, whether they are dead: a fraction of a millisecond. */
const looksPerTurn = 64

/** Events find what they are about by their key: 0 is the bell; see also `listenerKey` and `connectionKey`. */
const bellKey = 0
const listenerKey = (listener: number) => listener * 256
const connectionKey = (count: number) => count * 256 + owner

const watched = new Map<number, { readonly onEvents: (bits: number) => void }>()
const splices = new Map<number, KernelSplice>()
const yielded = new Set<KernelSplice>()
const headless = new Timers<Headless>()
const unreported = new Timers<Waiting>()
const paused = new Timers<Listening>()
const silences = new Timers<KernelSplice>()
/** Splices with something unacknowledged. On the others, keep-alive finds a dead end. */
const unsettled = new Timers<KernelSplice>()
const throttled = new Timers<KernelSplice>()
let reports: Array<Report> = []
let accepted = 0
/** Given up for a moment when there is no other descriptor, to turn somebody away with. */
let spare = descriptors.spare()

class Listening {
  private readonly key: number

  constructor(
    private readonly listener: number,
    private readonly socket: Descriptor,
    private readonly proxies: Proxies | undefined
  ) {
    this.key = listenerKey(listener)
    this.resume()
  }

  resume() {
    spare ??= descriptors.spare()
    watched.set(this.key, this)
    Os.watchListener(poll, this.socket, this.key)
  }

  stop() {
    paused.cancel(this)
    watched.delete(this.key)
    Os.unwatch(poll, this.socket)
  }

  private pause() {
    this.stop()
    paused.start(this, pauseMs)
  }

  onEvents() {
    for (let count = 0; count < acceptsPerTurn; count++) {
      // What is heard is counted in 32 bits.
      if ((accepted - Atomics.load(signals, Signal.heard) | 0) >= unheardMax) {
        this.pause()
        return
      }
      const incoming = descriptors.accept(this.socket)
      if (typeof incoming !== "number") {
        this.accept(incoming)
      } else if (incoming === Os.again) {
        return
      } else if (!Os.goneAgain.includes(incoming)) {
        const left = Os.noDescriptors.includes(incoming) ? this.acceptAndClose() : incoming
        if (left === Os.again) {
          return
        }
        reports.push(["acceptFailed", this.listener, incoming])
        if (left !== 0) {
          this.pause()
          return
        }
      }
    }
  }

  private accept(incoming: Os.Incoming) {
    const connection = connectionKey(++accepted)
    const result = Os.watchConnection(poll, incoming.socket, connection)
    if (result < 0) {
      closeUnheard(incoming.socket)
      reports.push(["acceptFailed", this.listener, result])
    } else if (this.proxies !== undefined && ProxyProtocol.isProxy(this.proxies, incoming.host)) {
      const { headerTimeoutMs } = this.proxies
      const waiting = new Headless(connection, this.listener, incoming, headerTimeoutMs)
      watched.set(connection, waiting)
      headless.start(waiting, headerTimeoutMs)
    } else {
      awaitPreamble(connection, this.listener, incoming)
    }
  }

  /**
   * Accepts somebody with the spare descriptor and closes; otherwise they would wait for an answer. 0, or the negative
   * errno: `again` if nobody waits, for accept(2) looks for a descriptor first.
   */
  private acceptAndClose() {
    if (spare === undefined) {
      return Os.noDescriptors[0]!
    }
    descriptors.close(spare)
    const incoming = descriptors.accept(this.socket)
    if (typeof incoming !== "number") {
      descriptors.close(incoming.socket)
    }
    spare = descriptors.spare()
    return typeof incoming === "number" ? incoming : 0
  }
}

/** Closes a connection that the main thread will never hear of. */
const closeUnheard = (socket: Descriptor) => {
  Atomics.add(signals, Signal.heard, 1)
  descriptors.close(socket)
}

const awaitPreamble = (connection: number, listener: number, incoming: Os.Incoming) => {
  const waiting = new Waiting(connection, listener, incoming)
  watched.set(connection, waiting)
  unreported.start(waiting, reportWithinMs)
  return waiting
}

const headerBytes = Buffer.alloc(ProxyProtocol.headerBytesMax)

/** A connection of a proxy that has not said yet for whom it is. */
class Headless {
  constructor(
    private readonly connection: number,
    readonly listener: number,
    private readonly incoming: Os.Incoming,
    private readonly timeoutMs: number
  ) {}

  onEvents(bits: number) {
    const { socket } = this.incoming
    // The header is left where it is until it is complete: what follows it is not for this thread to read.
    const peeked = descriptors.peek(socket, headerBytes)
    const header = peeked > 0 ? ProxyProtocol.parse(headerBytes.subarray(0, peeked)) : undefined
    if (typeof header === "string") {
      this.refuse(header)
    } else if (header !== undefined) {
      descriptors.receive(socket, headerBytes, header.length)
      headless.cancel(this)
      awaitPreamble(this.connection, this.listener, { ...this.incoming, ...header.source }).onEvents(bits)
    } else if (peeked > 0 && (bits & Os.hangUps) !== 0) {
      this.refuse(ProxyProtocol.hungUp)
    } else if (peeked <= 0 && peeked !== Os.again) {
      // A proxy that looks whether somebody listens connects and hangs up.
      this.close()
    }
  }

  expire() {
    this.refuse(ProxyProtocol.late(this.timeoutMs))
  }

  private refuse(problem: string) {
    this.close()
    reports.push(["refused", this.listener, this.incoming.host, problem])
  }

  close() {
    headless.cancel(this)
    watched.delete(this.connection)
    closeUnheard(this.incoming.socket)
  }
}

/** A connection that nobody has decided about yet. */
class Waiting {
  failed = false
  urgent = false
  private reported = false
  private hungUp = false
  /** What has come of the preamble; undefined when that is complete, and the socket the main thread's. */
  private preamble: Uint8Array | undefined = new Uint8Array(Preamble.length)
  private preambleBytes = 0

  constructor(
    private readonly connection: number,
    private readonly listener: number,
    private readonly incoming: Os.Incoming
  ) {}

  onEvents(bits: number) {
    const ended = !this.readPreamble() || (bits & Os.hangUps) !== 0
    const failed = (bits & Os.epollErr) !== 0
    this.urgent ||= (bits & Os.epollUrgent) !== 0
    if (ended && !this.hungUp || failed && !this.failed) {
      this.hungUp = true
      this.failed ||= failed
      this.report()
      reports.push(["hungUp", this.connection, this.failed])
    }
  }

  /** Whether there may come more. */
  private readPreamble() {
    while (this.preamble !== undefined) {
      const read = descriptors.receive(this.incoming.socket, this.preamble.subarray(this.preambleBytes))
      if (read <= 0) {
        return read === Os.again
      }
      this.preambleBytes += read
      if (this.preambleBytes === Preamble.length) {
        const arrived: Arrived = [this.incoming.socket, Buffer.from(this.preamble.buffer).toString("latin1")]
        this.preamble = undefined
        if (this.reported) {
          reports.push(["preamble", this.connection, arrived])
        } else {
          this.report(arrived)
        }
      }
    }
    return true
  }

  /** Tells the main thread that there is this connection, if it has not been told. */
  report(arrived?: Arrived) {
    if (!this.reported) {
      this.reported = true
      unreported.cancel(this)
      const { host, port } = this.incoming
      reports.push(["accepted", this.listener, this.connection, host, port, arrived])
    }
  }

  close() {
    if (this.preamble !== undefined) {
      watched.delete(this.connection)
      descriptors.close(this.incoming.socket)
    }
  }
}

/** One end of a splice, for epoll. */
class SplicedEnd {
  constructor(
    private readonly end: End,
    private readonly splice: KernelSplice
  ) {}

  onEvents(bits: number) {
    this.splice.onEvents(this.end, bits)
  }
}

const silenceMs = (splice: KernelSplice) => splice.halfClosed ? splice.lingerTimeoutMs : splice.idleTimeoutMs

const host: SpliceHost = {
  carried,
  descriptors,
  poll,
  stirred: (splice) => {
    const ms = silenceMs(splice)
    if (ms !== undefined) {
      silences.start(splice, ms)
    }
  },
  sent: (splice) => {
    if (!unsettled.has(splice, lookEveryMs)) {
      unsettled.start(splice, lookEveryMs)
    }
  },
  yielded: (splice) => yielded.add(splice),
  throttled: (splice, ms) => {
    silences.cancel(splice)
    throttled.start(splice, ms)
  },
  ended: (splice, outcome) => {
    splices.delete(splice.number)
    silences.cancel(splice)
    unsettled.cancel(splice)
    throttled.cancel(splice)
    yielded.delete(splice)
    watched.delete(splice.left.connection)
    watched.delete(splice.right.connection)
    reports.push(["ended", splice.number, outcome])
  }
}

/** A failure may have come after the main thread was told of a hang-up, or before the socket came to this thread. */
const endOf = ([connection, socket, , failed]: Side) => {
  const waiting = watched.get(connection)
  const before = waiting instanceof Waiting ? waiting : undefined
  return new End(connection, socket, failed || before?.failed === true, before?.urgent === true)
}

const carry = (
  number: number,
  left: Side,
  right: Side,
  lingerMs: number,
  idleMs: number | undefined,
  rates: ReadonlyArray<SharedArrayBuffer> | undefined
) => {
  const splice = new KernelSplice(number, endOf(left), endOf(right), lingerMs, idleMs, rates, host)
  splices.set(number, splice)
  for (const [[connection, socket, ours], end] of [[left, splice.left], [right, splice.right]] as const) {
    watched.set(connection, new SplicedEnd(end, splice))
    if (!ours && Os.watchConnection(poll, socket, connection) < 0) {
      end.failed = true
    }
  }
  host.stirred(splice)
  splice.move()
}

const listening = new Map<number, Listening>()

const follow = (order: Order) => {
  switch (order[0]) {
    case "accept": {
      const [, listener, socket, proxies] = order
      listening.set(listener, new Listening(listener, socket, proxies))
      return
    }
    case "stopAccepting": {
      const [, listener] = order
      listening.get(listener)?.stop()
      listening.delete(listener)
      for (const waiting of Array.from(watched.values())) {
        if (waiting instanceof Headless && waiting.listener === listener) {
          waiting.close()
        }
      }
      reports.push(["stoppedAccepting", listener])
      return
    }
    case "close": {
      const waiting = watched.get(order[1])
      if (waiting instanceof Waiting) {
        waiting.close()
      }
      return
    }
    case "forget": {
      watched.delete(order[1])
      return
    }
    case "splice": {
      const [, number, left, right, lingerMs, idleMs, rates] = order
      carry(number, left, right, lingerMs, idleMs, rates)
      return
    }
    case "limit": {
      const [, number, rates] = order
      splices.get(number)?.limit(rates)
      return
    }
    case "end": {
      splices.get(order[1])?.end("closed")
      return
    }
  }
}

const followOrders = () => {
  Os.hear(bell)
  for (let message; (message = receiveMessageOnPort(port)) !== undefined;) {
    for (const order of message.message as ReadonlyArray<Order>) {
      follow(order)
    }
  }
}

/** Gives away the sockets that the reports are about, at the last moment: a thread that dies before owns them still. */
const sendReports = () => {
  if (reports.length > 0) {
    for (const report of reports) {
      const arrived = report[0] === "preamble" ? report[2] : report[0] === "accepted" ? report[5] : undefined
      if (arrived !== undefined) {
        descriptors.give(arrived[0], Os.mainThread)
      }
    }
    port.postMessage(reports)
    reports = []
  }
}

const timeoutMs = () => {
  const next = Math.min(
    headless.nextMs(),
    unreported.nextMs(),
    paused.nextMs(),
    silences.nextMs(),
    unsettled.nextMs(),
    throttled.nextMs()
  )
  return yielded.size > 0 ? 0 : next === Infinity ? -1 : Math.ceil(next)
}

watched.set(bellKey, { onEvents: followOrders })
Os.watchBell(poll, bell, bellKey)

while (Atomics.load(signals, Signal.stop) === 0) {
  Os.wait(poll, timeoutMs(), (key, bits) => watched.get(key)?.onEvents(bits))
  for (const splice of Array.from(yielded)) {
    yielded.delete(splice)
    splice.move()
  }
  throttled.expire((splice) => splice.move())
  silences.expire((splice) =>
    splice.drains() ? host.stirred(splice) : splice.end(splice.halfClosed ? "lingered" : "idle")
  )
  unsettled.expire((splice) => splice.look() && host.sent(splice), looksPerTurn)
  headless.expire((waiting) => waiting.expire())
  unreported.expire((waiting) => waiting.report())
  paused.expire((listening) => listening.resume())
  sendReports()
}

for (const splice of Array.from(splices.values())) {
  splice.end("closed")
}
sendReports()
port.close()
