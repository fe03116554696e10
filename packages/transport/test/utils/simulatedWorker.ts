/** The loop of a worker of the kernel transport on a simulated kernel, and the main thread as a test plays it. */
import { assert } from "vitest"
import { posted } from "../../src/internal/kernelBell.js"
import { KernelLoop } from "../../src/internal/kernelLoop.js"
import type { Order, Report, Side } from "../../src/internal/kernelMessages.js"
import { makeSignals, Signal } from "../../src/internal/kernelMessages.js"
import type { Proxies } from "../../src/internal/proxyProtocol.js"
import type { Descriptor } from "../../src/internal/system.js"
import { mainThread } from "../../src/internal/system.js"
import type { SpliceOptions } from "../../src/Transport.js"
import type { Limits, Peer } from "./simulatedKernel.js"
import { SimulatedDescriptors, SimulatedKernel, SimulatedPoll } from "./simulatedKernel.js"

const owner = 1
const turnsMax = 100_000
const listener = 1

/** A connection that the main thread has: its peer, and its socket. */
export interface ArrivedPeer {
  readonly peer: Peer
  readonly connection: number
  readonly socket: Descriptor
}

export class SimulatedWorker {
  readonly kernel: SimulatedKernel
  readonly poll: SimulatedPoll
  readonly loop: KernelLoop
  /** The main thread's calls. */
  readonly main: SimulatedDescriptors
  readonly listening: Descriptor
  readonly carried = new Float64Array(2 * 16)
  /** Whether the main thread hears of connections, or is busy. */
  isHeard = true
  private readonly reported: Array<Report> = []
  private readonly signals = makeSignals()
  private readonly orders: Array<ReadonlyArray<Order>> = []

  constructor({ proxies, ...limits }: Partial<Limits> & { readonly proxies?: Proxies } = {}) {
    this.kernel = new SimulatedKernel(limits)
    this.poll = new SimulatedPoll(this.kernel)
    this.main = new SimulatedDescriptors(this.kernel, mainThread)
    this.listening = this.kernel.listen()
    this.loop = new KernelLoop({ carried: this.carried, owner, signals: this.signals }, {
      descriptors: new SimulatedDescriptors(this.kernel, owner),
      poll: this.poll,
      clock: this.kernel.clock,
      port: {
        receive: () => this.orders.shift()!,
        post: (reports) => this.hear(reports),
        close: () => {}
      }
    })
    this.order(["accept", listener, this.listening, proxies])
  }

  private hear(reports: ReadonlyArray<Report>) {
    this.reported.push(...reports)
    if (this.isHeard) {
      this.hearOf(reports.filter(([kind]) => kind === "accepted").length)
    }
  }

  /** Tells the worker that the main thread has heard of so many connections. */
  hearOf(connections: number) {
    Atomics.add(this.signals, Signal.heard, connections)
  }

  /** Sends orders as one message. */
  send(...orders: ReadonlyArray<Order>) {
    this.orders.push(orders)
    if (posted(this.signals)) {
      this.poll.ring()
    }
  }

  /** Sends orders, and lets the worker follow them. */
  order(...orders: ReadonlyArray<Order>) {
    this.send(...orders)
    this.settle()
  }

  /** Lets the worker turn until it would wait. */
  settle() {
    for (let turns = 0; turns < turnsMax; turns++) {
      const { hasEvents } = this.poll
      this.loop.turn()
      if (!hasEvents && this.poll.waitsMs !== 0) {
        Atomics.store(this.signals, Signal.asleep, 1)
        return
      }
    }
    throw new Error(`the worker does not wait within ${turnsMax} turns`)
  }

  /** Lets time go by, with every turn that the worker has in it. */
  pass(ms: number) {
    const until = this.kernel.nowMs + ms
    for (;;) {
      this.settle()
      const next = this.poll.waitsMs < 0 ? Infinity : this.kernel.nowMs + this.poll.waitsMs
      if (next > until) {
        break
      }
      this.kernel.pass(next - this.kernel.nowMs)
    }
    this.kernel.pass(until - this.kernel.nowMs)
    this.settle()
  }

  /** What has been reported since the last time, and what waits to be. */
  takeReports(): ReadonlyArray<Report> {
    this.loop.sendReports()
    return this.sentReports()
  }

  /** What the main thread has been told of since the last time. */
  sentReports(): ReadonlyArray<Report> {
    return this.reported.splice(0)
  }

  connect(host?: string, port?: number): Peer {
    return this.kernel.connect(this.listening, host, port)
  }

  /** A peer whose preamble has been reported. No other report may come with it. */
  arrive(behind: Uint8Array = new Uint8Array(0)): ArrivedPeer {
    const peer = this.connect()
    peer.send(Buffer.concat([Buffer.alloc(32, "p"), behind]))
    this.settle()
    const reports = this.takeReports()
    assert.lengthOf(reports, 1)
    const [report] = reports as [Report]
    assert(report[0] === "accepted" && report[5] !== undefined)
    return { peer, connection: report[2], socket: report[5][0] }
  }

  /** Gives two connections to the worker, to be spliced. */
  splice(
    number: number,
    left: ArrivedPeer,
    right: ArrivedPeer,
    { idleTimeoutMs, lingerTimeoutMs = 60_000, rates }: Partial<Omit<SpliceOptions, "rates">> & {
      readonly rates?: ReadonlyArray<SharedArrayBuffer>
    } = {}
  ) {
    this.order(["splice", number, this.sideOf(left), this.sideOf(right), lingerTimeoutMs, idleTimeoutMs, rates])
  }

  private sideOf({ connection, socket }: ArrivedPeer): Side {
    this.main.give(socket, owner)
    return [connection, socket, true, false]
  }

  /** Closes a connection that the main thread has. */
  closeArrived({ connection, socket }: ArrivedPeer) {
    this.send(["forget", connection])
    this.main.close(socket)
    this.settle()
  }

  carriedBy(number: number) {
    return { fromLeft: this.carried[2 * number]!, fromRight: this.carried[2 * number + 1]! }
  }

  /** The kinds of descriptors that the worker has open. */
  get openKinds() {
    return this.kernel.openKinds(owner)
  }

  /** Stops the worker. Nothing may be open but the listener and the spare descriptor, and nothing is afterwards. */
  finish() {
    assert.deepStrictEqual(this.openKinds, ["event"])
    assert.deepStrictEqual(this.kernel.openKinds(mainThread), ["listener"])
    this.stop()
  }

  /** Stops it, whatever it has. */
  stop() {
    Atomics.store(this.signals, Signal.stop, 1)
    this.loop.run()
    this.kernel.closeAllOf(owner)
    this.main.close(this.listening)
    assert.deepStrictEqual(this.kernel.openKinds(), [])
  }
}
