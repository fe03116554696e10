/**
 * The main thread's end of one worker of the kernel transport: what it is told becomes calls, and what it is to do is sent
 * to it, once in a turn of the event loop. It owns the thread, the thread's epoll and its bell, until the thread is over;
 * then it closes whatever the thread has left open, and everything that depended on it hears of that.
 */
import type { Duplex } from "node:stream"
import type { Rate } from "../Rate.js"
import type { SpliceOptions, SpliceOutcome } from "../Transport.js"
import { posted } from "./kernelBell.js"
import type { AcceptingThread } from "./kernelConnection.js"
import { KernelConnection } from "./kernelConnection.js"
import type { Order, Report, WorkerData } from "./kernelMessages.js"
import { makeSignals, Signal } from "./kernelMessages.js"
import type { MainDescriptors, MainSystem, Thread } from "./mainSystem.js"
import type { Proxies } from "./proxyProtocol.js"
import type { Descriptor, Owner } from "./system.js"

/** The state that all workers share. */
export interface Common {
  readonly system: MainSystem
  readonly descriptors: MainDescriptors
  readonly ledger: SharedArrayBuffer
  readonly pipesMax: number
  readonly carried: Float64Array
  readonly onConnection: (listener: number, connection: ThreadConnection) => void
  readonly onAcceptFailed: (listener: number, negativeErrno: number) => void
  readonly onRefused: (listener: number, address: string, problem: string) => void
}

export type ThreadConnection = KernelConnection<KernelThread>

/** A splice for which the thread carries bytes. */
interface Carrying {
  readonly number: number
  readonly end: () => void
  /** Called once, when both sockets are closed. */
  readonly ended: (outcome: SpliceOutcome) => void
}

/** A connection that the thread opens. */
interface Dial {
  readonly host: string
  readonly port: number
  readonly connected: (connection: ThreadConnection) => void
  readonly failed: (negativeErrno: number) => void
}

/** `ECANCELED`: the thread that was to connect is no more. */
const cancelled = -125

export class KernelThread implements AcceptingThread {
  /** Whether it is over, of its own accord or not. */
  over = false
  private readonly thread: Thread
  private readonly poll: Descriptor
  private readonly bell: Descriptor
  private readonly signals = makeSignals()
  private readonly connections = new Map<number, ThreadConnection>()
  private readonly splices = new Map<number, Carrying>()
  private readonly dials = new Map<number, Dial>()
  private readonly stoppingToAccept = new Map<number, () => void>()
  private orders: Array<Order> = []

  constructor(
    readonly owner: Owner,
    private readonly common: Common,
    /** Called once when the thread is over and has been cleared away, with what it failed with, if it did. */
    private readonly onOver: (failure: unknown) => void
  ) {
    const { bell, poll } = common.descriptors.openPoll()
    this.bell = bell
    this.poll = poll
    const { carried, ledger, pipesMax } = common
    const workerData: WorkerData = { bell, carried, ledger, owner, pipesMax, poll, signals: this.signals }
    try {
      this.thread = common.system.startThread(workerData, this.onReports, this.onExit)
    } catch (cause) {
      common.descriptors.close(poll)
      common.descriptors.close(bell)
      throw cause
    }
  }

  private readonly onReports = (reports: ReadonlyArray<Report>) => {
    for (const report of reports) {
      this.onReport(report)
    }
  }

  private onReport(report: Report) {
    switch (report[0]) {
      case "accepted": {
        const [, listener, id, address, port, arrived] = report
        Atomics.add(this.signals, Signal.heard, 1)
        const connection: ThreadConnection = new KernelConnection(this, id, address, port, arrived)
        this.connections.set(id, connection)
        this.common.onConnection(listener, connection)
        return
      }
      case "preamble": {
        const [, id, arrived] = report
        const connection = this.connections.get(id)
        if (connection === undefined) {
          // Closed while the report was under way.
          this.order(["forget", id])
          this.common.descriptors.close(arrived[0])
        } else {
          connection.arrive(arrived)
        }
        return
      }
      case "dialed": {
        const [, id, arrived] = report
        const dial = this.dials.get(id)
        if (dial === undefined) {
          // Given up while the report was under way.
          this.order(["forget", id])
          this.common.descriptors.close(arrived[0])
        } else {
          this.dials.delete(id)
          const connection: ThreadConnection = new KernelConnection(this, id, dial.host, dial.port, arrived)
          this.connections.set(id, connection)
          dial.connected(connection)
        }
        return
      }
      case "dialFailed": {
        const [, id, negativeErrno] = report
        const dial = this.dials.get(id)
        this.dials.delete(id)
        dial?.failed(negativeErrno)
        return
      }
      case "hungUp": {
        const [, id, failed] = report
        this.connections.get(id)?.remoteEnded(failed)
        return
      }
      case "acceptFailed": {
        const [, listener, negativeErrno] = report
        this.common.onAcceptFailed(listener, negativeErrno)
        return
      }
      case "refused": {
        const [, listener, address, problem] = report
        this.common.onRefused(listener, address, problem)
        return
      }
      case "stoppedAccepting": {
        const [, listener] = report
        this.stoppingToAccept.get(listener)?.()
        return
      }
      case "ended": {
        const [, number, outcome] = report
        const splice = this.splices.get(number)
        this.splices.delete(number)
        splice?.ended(outcome)
        return
      }
    }
  }

  private readonly onExit = (failure: unknown) => {
    const { descriptors } = this.common
    this.over = true
    for (const connection of Array.from(this.connections.values())) {
      connection.lost()
    }
    descriptors.closeAllOf(this.owner)
    descriptors.close(this.poll)
    descriptors.close(this.bell)
    for (const stopped of Array.from(this.stoppingToAccept.values())) {
      stopped()
    }
    const dials = Array.from(this.dials.values())
    this.dials.clear()
    for (const dial of dials) {
      dial.failed(cancelled)
    }
    const splices = Array.from(this.splices.values())
    this.splices.clear()
    for (const splice of splices) {
      splice.ended("failed")
    }
    this.onOver(failure)
  }

  private order(order: Order) {
    if (this.orders.push(order) === 1) {
      setImmediate(this.sendOrders)
    }
  }

  private readonly sendOrders = () => {
    if (!this.over) {
      this.thread.post(this.orders)
      if (posted(this.signals)) {
        this.ring()
      }
    }
    this.orders = []
  }

  private ring() {
    this.common.system.ring(this.bell)
  }

  /** Tells the thread to end what it has and itself; does not wait for it. */
  stop() {
    if (!this.over) {
      Atomics.store(this.signals, Signal.stop, 1)
      this.ring()
    }
  }

  /** Blocks until a thread that was told to stop makes no more native calls, at most this long. */
  awaitLeft(ms: number) {
    if (!this.over) {
      Atomics.wait(this.signals, Signal.left, 0, ms)
    }
  }

  /** Ends a thread that does not answer by force, which works where it is in JavaScript and not in the kernel. */
  abandon() {
    this.thread.abandon()
  }

  accept(listener: number, socket: Descriptor, proxies: Proxies | undefined) {
    this.order(["accept", listener, socket, proxies])
  }

  /** Calls back when the listener accepts no more connections and awaits no more PROXY headers. */
  stopAccepting(listener: number, onStopped: () => void) {
    if (this.over) {
      onStopped()
      return
    }
    this.order(["stopAccepting", listener])
    this.stoppingToAccept.set(listener, () => {
      this.stoppingToAccept.delete(listener)
      onStopped()
    })
  }

  /** Connects and sends the first bytes, unless what it returns is called before it has. */
  dial(id: number, dial: Dial, first: Uint8Array): () => void {
    this.dials.set(id, dial)
    this.order(["dial", id, dial.host, dial.port, Buffer.from(first).toString("latin1")])
    return () => {
      if (this.dials.delete(id)) {
        this.order(["close", id])
      }
    }
  }

  close(connection: number) {
    this.connections.delete(connection)
    this.order(["close", connection])
  }

  /** Lets go of a connection whose socket the main thread has, before that is closed or given away. */
  private forget(connection: number) {
    this.connections.delete(connection)
    if (!this.over) {
      this.order(["forget", connection])
    }
  }

  /** Takes two connections over, and carries their bytes. */
  splice(carrying: Carrying, left: ThreadConnection, right: ThreadConnection, options: SpliceOptions) {
    const sides = [this.adopt(left, carrying), this.adopt(right, carrying)] as const
    this.splices.set(carrying.number, carrying)
    this.order([
      "splice",
      carrying.number,
      ...sides,
      options.lingerTimeoutMs,
      options.idleTimeoutMs,
      options.rates.length === 0 ? undefined : options.rates.map(({ memory }) => memory)
    ])
  }

  private adopt(connection: ThreadConnection, carrying: Carrying) {
    const { descriptors, system } = this.common
    const { failed, id, thread } = connection
    const socket = connection.join(carrying)
    const watched = thread === this
    if (watched) {
      this.connections.delete(id)
    } else {
      system.unwatch(thread.poll, socket)
      thread.forget(id)
    }
    descriptors.give(socket, this.owner)
    return [id, socket, watched, failed] as const
  }

  limit(number: number, rates: ReadonlyArray<Rate>) {
    this.order(["limit", number, rates.map(({ memory }) => memory)])
  }

  endSplice(number: number) {
    this.order(["end", number])
  }

  toDuplex(connection: number, socket: Descriptor): Duplex {
    // Its events end for good: the descriptor stays open, so epoll would keep it.
    this.common.system.unwatch(this.poll, socket)
    this.forget(connection)
    return this.common.descriptors.toDuplex(socket)
  }

  closeSocket(connection: number, socket: Descriptor) {
    this.forget(connection)
    this.common.descriptors.close(socket)
  }

  resetSocket(connection: number, socket: Descriptor) {
    this.forget(connection)
    this.common.descriptors.reset(socket)
  }
}
