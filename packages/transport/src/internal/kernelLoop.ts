/**
 * The loop of a worker of the kernel transport: waits for events, passes each to what its key stands for, follows the main
 * thread's orders, and reports to it once in a turn. It owns everything of the worker until it is told to stop; then it
 * ends the splices that are left.
 */
import { Arrivals } from "./kernelArrivals.js"
import { Hearing } from "./kernelBell.js"
import type { System, Watched, WorkerContext } from "./kernelContext.js"
import * as Dialing from "./kernelDialing.js"
import { Listeners } from "./kernelListeners.js"
import type { Order, Report, WorkerData } from "./kernelMessages.js"
import { Signal } from "./kernelMessages.js"
import { Splices } from "./kernelSplices.js"
import { mainThread } from "./system.js"

/** Of the bell, which has nothing to do but to end a wait. */
const bellKey = 0

/**
 * Ends of splices are reported with the next report, or after so long: a message wakes the main thread, which costs as much as
 * what it does about the end.
 */
const endedWithinMs = 2

export class KernelLoop {
  private readonly watched = new Map<number, Watched>()
  private readonly listeners: Listeners
  private readonly arrivals: Arrivals
  private readonly splices: Splices
  private readonly worker: WorkerContext
  private readonly signals: Int32Array
  private readonly hearing: Hearing
  private reports: Array<Report> = []
  /** When the reports go at the latest: now, or later if all are of ends; Infinity if there are none. */
  private reportsDueMs = Infinity

  constructor(
    { carried, owner, signals }: Pick<WorkerData, "carried" | "owner" | "signals">,
    private readonly system: System
  ) {
    this.signals = signals
    this.hearing = new Hearing(signals)
    const worker: WorkerContext = this.worker = {
      system,
      signals,
      watched: this.watched,
      // Owners are from 1 to 254. The main thread, 255, gives the keys of dialed connections.
      listenerKey: (listener) => listener * 256,
      connectionKey: (count) => count * 256 + owner,
      report: this.report
    }
    this.arrivals = new Arrivals(worker)
    this.listeners = new Listeners(worker, this.arrivals)
    this.splices = new Splices(worker, carried)
    system.poll.watchBell(bellKey)
  }

  /** Turns until it is told to stop, and ends what it has. */
  run() {
    while (Atomics.load(this.signals, Signal.stop) === 0) {
      this.turn()
    }
    this.end()
  }

  /** Waits once, and does all that there is to do. */
  turn() {
    const timeoutMs = this.timeoutMs()
    this.system.poll.wait(this.hearing.fallAsleep() ? timeoutMs : 0, this.onEvent)
    this.hearing.wakeUp()
    this.followOrders()
    this.splices.onTurn()
    this.arrivals.onTurn()
    this.listeners.onTurn()
    if (this.reportsDueMs <= this.system.clock.nowMs()) {
      this.sendReports()
    }
  }

  end() {
    this.splices.endAll()
    this.sendReports()
    this.system.port.close()
  }

  private readonly onEvent = (key: number, bits: number) => {
    this.watched.get(key)?.onEvents(bits)
  }

  private timeoutMs() {
    const next = Math.min(
      this.splices.nextMs(),
      this.arrivals.nextMs(),
      this.listeners.nextMs(),
      Math.max(0, this.reportsDueMs - this.system.clock.nowMs())
    )
    return next === Infinity ? -1 : Math.ceil(next)
  }

  private followOrders() {
    while (this.hearing.take()) {
      for (const order of this.system.port.receive()) {
        this.follow(order)
      }
    }
  }

  private follow(order: Order) {
    switch (order[0]) {
      case "accept": {
        const [, listener, socket, proxies] = order
        this.listeners.listen(listener, socket, proxies)
        return
      }
      case "stopAccepting": {
        const [, listener] = order
        this.listeners.stop(listener)
        this.arrivals.closeHeadless(listener)
        this.report(["stoppedAccepting", listener])
        return
      }
      case "dial": {
        const [, connection, host, port, first] = order
        Dialing.dial(this.worker, connection, host, port, Buffer.from(first, "latin1"))
        return
      }
      case "close": {
        this.arrivals.close(order[1])
        Dialing.close(this.worker, order[1])
        return
      }
      case "forget": {
        this.watched.delete(order[1])
        return
      }
      case "splice": {
        const [, number, left, right, lingerMs, idleMs, rates] = order
        this.splices.start(number, left, right, lingerMs, idleMs, rates)
        return
      }
      case "limit": {
        const [, number, rates] = order
        this.splices.limit(number, rates)
        return
      }
      case "end": {
        this.splices.end(order[1])
        return
      }
    }
  }

  private readonly report = (report: Report) => {
    this.reports.push(report)
    const dueMs = report[0] === "ended" ? this.system.clock.nowMs() + endedWithinMs : 0
    this.reportsDueMs = Math.min(this.reportsDueMs, dueMs)
  }

  /**
   * Sends what there is to report. It gives away the sockets that the reports are about, at the last moment: a thread that
   * dies before owns them still.
   */
  sendReports() {
    const { reports, system } = this
    if (reports.length > 0) {
      for (const report of reports) {
        const arrived = report[0] === "preamble" || report[0] === "dialed"
          ? report[2]
          : report[0] === "accepted"
          ? report[5]
          : undefined
        if (arrived !== undefined) {
          system.descriptors.give(arrived[0], mainThread)
        }
      }
      system.port.post(reports)
      this.reports = []
      this.reportsDueMs = Infinity
    }
  }
}
