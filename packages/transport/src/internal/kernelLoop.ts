/**
 * The loop of a worker of the kernel transport: waits for events, passes each to what its key stands for, follows the main
 * thread's orders, and reports to it once in a turn. It owns everything of the worker until it is told to stop; then it
 * ends the splices that are left.
 */
import { Arrivals } from "./kernelArrivals.js"
import type { System, Watched, WorkerContext } from "./kernelContext.js"
import * as Dialing from "./kernelDialing.js"
import { Listeners } from "./kernelListeners.js"
import type { Order, Report, WorkerData } from "./kernelMessages.js"
import { Signal } from "./kernelMessages.js"
import { Splices } from "./kernelSplices.js"
import { mainThread } from "./system.js"

const bellKey = 0

export class KernelLoop {
  private readonly watched = new Map<number, Watched>()
  private readonly listeners: Listeners
  private readonly arrivals: Arrivals
  private readonly splices: Splices
  private readonly worker: WorkerContext
  private readonly signals: Int32Array
  private reports: Array<Report> = []

  constructor(
    { carried, owner, signals }: Pick<WorkerData, "carried" | "owner" | "signals">,
    private readonly system: System
  ) {
    this.signals = signals
    const worker: WorkerContext = this.worker = {
      system,
      signals,
      watched: this.watched,
      // Owners are from 1 to 254. The main thread, 255, gives the keys of dialed connections.
      listenerKey: (listener) => listener * 256,
      connectionKey: (count) => count * 256 + owner,
      report: (report) => this.reports.push(report)
    }
    this.arrivals = new Arrivals(worker)
    this.listeners = new Listeners(worker, this.arrivals)
    this.splices = new Splices(worker, carried)
    this.watched.set(bellKey, { onEvents: this.followOrders })
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
    this.system.poll.wait(this.timeoutMs(), this.onEvent)
    this.splices.onTurn()
    this.arrivals.onTurn()
    this.listeners.onTurn()
    this.sendReports()
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
    const next = Math.min(this.splices.nextMs(), this.arrivals.nextMs(), this.listeners.nextMs())
    return next === Infinity ? -1 : Math.ceil(next)
  }

  private readonly followOrders = () => {
    const { poll, port } = this.system
    poll.hear()
    for (let orders; (orders = port.receive()) !== undefined;) {
      for (const order of orders) {
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
        this.reports.push(["stoppedAccepting", listener])
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

  /** Gives away the sockets that the reports are about, at the last moment: a thread that dies before owns them still. */
  private sendReports() {
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
    }
  }
}
