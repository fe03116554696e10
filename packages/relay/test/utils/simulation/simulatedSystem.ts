/**
 * What the main thread of the kernel transport calls, on a simulated kernel, and its worker threads, as loops that turn when the
 * simulation lets them. A worker waits as a real one does: others may act between its last look for messages and its sleep.
 */
import { Effect } from "effect"
import { Duplex } from "node:stream"
import { getSystemErrorName } from "node:util"
import { KernelLoop } from "../../../../transport/src/internal/kernelLoop.js"
import type { Order, Report, WorkerData } from "../../../../transport/src/internal/kernelMessages.js"
import { Signal } from "../../../../transport/src/internal/kernelMessages.js"
import type { MainDescriptors, MainSystem } from "../../../../transport/src/internal/mainSystem.js"
import type { Descriptor, DescriptorCalls, Poll } from "../../../../transport/src/internal/system.js"
import { again, mainThread } from "../../../../transport/src/internal/system.js"
import type { Endpoint, SimulatedKernel } from "../../../../transport/test/utils/simulatedKernel.js"
import { Bell, SimulatedDescriptors, SimulatedPoll } from "../../../../transport/test/utils/simulatedKernel.js"
import type { MainThread } from "./mainThread.js"

/** Not a thread of the transport: Node has it. */
const node = 0

/**
 * Called before a worker's calls, between which anything may happen: a result takes the place of the call, an exception ends the
 * worker.
 */
export type BeforeCall = (name: string, args: ReadonlyArray<unknown>) => number | undefined
export type AfterCall = (worker: number, name: string, args: ReadonlyArray<unknown>, result: unknown) => void

const interleaved = <A extends object>(
  calls: A,
  before: BeforeCall,
  after: (...args: [string, ReadonlyArray<unknown>, unknown]) => void
): A =>
  new Proxy(calls, {
    get: (target, name) => {
      const property: unknown = Reflect.get(target, name)
      return typeof property === "function"
        ? (...args: Array<unknown>) => {
          const result: unknown = before(String(name), args) ?? Reflect.apply(property, target, args)
          after(String(name), args, result)
          return result
        }
        : property
    }
  })

export class WorkerThread {
  isOver = false
  private isWaiting = false
  private dueMs = Infinity
  private readonly loop: KernelLoop
  private readonly messages: Array<ReadonlyArray<Order>> = []

  constructor(
    readonly data: WorkerData,
    private readonly kernel: SimulatedKernel,
    private readonly poll: SimulatedPoll,
    before: BeforeCall,
    after: AfterCall,
    onReports: (reports: ReadonlyArray<Report>) => void,
    private readonly onOver: (failure: unknown) => void
  ) {
    const log = (name: string, args: ReadonlyArray<unknown>, result: unknown) => after(data.owner, name, args, result)
    this.loop = new KernelLoop(data, {
      descriptors: interleaved<DescriptorCalls>(new SimulatedDescriptors(kernel, data.owner), before, log),
      poll: interleaved<Poll>(poll, before, log),
      clock: kernel.clock,
      port: { receive: () => this.messages.shift()!, post: onReports, close: () => {} }
    })
  }

  post(orders: ReadonlyArray<Order>) {
    this.messages.push(orders)
  }

  get isRunnable() {
    return !this.isOver && (!this.isWaiting || this.poll.hasEvents || this.dueMs <= this.kernel.nowMs)
  }

  nextMs() {
    return this.isOver || !this.isWaiting ? Infinity : this.dueMs
  }

  step() {
    try {
      if (!this.isWaiting && Atomics.load(this.data.signals, Signal.stop) !== 0) {
        this.loop.end()
        this.end(undefined)
      } else if (!this.isWaiting && this.loop["hearing"].fallAsleep()) {
        const timeoutMs = this.loop["timeoutMs"]()
        this.isWaiting = true
        this.dueMs = timeoutMs < 0 ? Infinity : this.kernel.nowMs + timeoutMs
      } else {
        this.isWaiting = false
        this.loop.turn()
      }
    } catch (failure) {
      this.end(failure)
    }
  }

  end(failure: unknown) {
    if (!this.isOver) {
      this.isOver = true
      Atomics.store(this.data.signals, Signal.left, 1)
      this.onOver(failure)
    }
  }
}

/** A TCP socket of Node. */
class SimulatedSocket extends Duplex {
  private wants = false
  private isScheduled = false
  private writing: { readonly bytes: Uint8Array; readonly written: (error?: Error) => void } | undefined
  private readonly endpoint: Endpoint

  constructor(
    private readonly main: MainThread,
    private readonly kernel: SimulatedKernel,
    private readonly descriptor: Descriptor
  ) {
    super({ allowHalfOpen: true })
    this.endpoint = kernel.fileOf(descriptor) as Endpoint
    this.endpoint.wakers.add(this.schedule)
  }

  private readonly schedule = () => {
    if (!this.isScheduled) {
      this.isScheduled = true
      this.main.tell(this, this.turn)
    }
  }

  private readonly turn = () => {
    this.isScheduled = false
    this.sendOn()
    this.readOn()
  }

  override _read() {
    this.wants = true
    this.schedule()
  }

  private readOn() {
    const piece = new Uint8Array(4096)
    while (this.wants && !this.destroyed) {
      const count = this.endpoint.receive(piece, piece.length)
      if (count === again) {
        return
      }
      if (count < 0) {
        this.destroy(new Error(getSystemErrorName(count)))
      } else if (count === 0) {
        this.wants = false
        this.push(null)
      } else {
        this.wants = this.push(Buffer.from(piece.subarray(0, count)))
      }
    }
  }

  override _write(bytes: Uint8Array, _encoding: BufferEncoding, written: (error?: Error) => void) {
    this.writing = { bytes, written }
    this.sendOn()
  }

  private sendOn() {
    while (this.writing !== undefined && !this.destroyed) {
      const { bytes, written } = this.writing
      const sent = this.endpoint.send(bytes)
      if (sent === again) {
        return
      }
      this.writing = sent >= 0 && sent < bytes.length ? { bytes: bytes.subarray(sent), written } : undefined
      if (sent < 0) {
        written(new Error(getSystemErrorName(sent)))
      } else if (this.writing === undefined) {
        written()
      }
    }
  }

  override _final(done: () => void) {
    this.endpoint.shutdown()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void) {
    this.endpoint.wakers.delete(this.schedule)
    this.kernel.close(this.descriptor)
    this.writing?.written(new Error("destroyed"))
    done(error)
  }
}

export class SimulatedSystem implements MainSystem {
  readonly workers: Array<WorkerThread> = []
  private readonly polls = new Map<Descriptor, SimulatedPoll>()
  /** The listening socket. */
  listening: Descriptor | undefined

  constructor(
    private readonly main: MainThread,
    private readonly kernel: SimulatedKernel,
    private readonly before: BeforeCall,
    private readonly after: AfterCall
  ) {}

  readonly makeLedger = (descriptors: number) => new SharedArrayBuffer(descriptors)

  readonly descriptors = (): MainDescriptors => {
    const { kernel, main } = this
    const calls = new SimulatedDescriptors(kernel, mainThread)
    return {
      close: (descriptor) => calls.close(descriptor),
      give: (descriptor, to) => calls.give(descriptor, to),
      reset: (socket) => calls.reset(socket),
      listen: (host, port) => {
        this.listening = kernel.listen()
        return { socket: this.listening, host, port }
      },
      openPoll: () => {
        const poll = new SimulatedPoll(kernel)
        const [number, bell] = [this.opened(new Bell()), this.opened(poll.bell)]
        this.polls.set(number, poll)
        return { bell, poll: number }
      },
      closeAllOf: (dead) => kernel.closeAllOf(dead),
      toDuplex: (socket) => {
        calls.give(socket, node)
        return new SimulatedSocket(main, kernel, socket)
      }
    }
  }

  private opened(bell: Bell): Descriptor {
    const number = this.kernel.open(bell, mainThread)
    if (number < 0) {
      throw this.systemError("open", number)
    }
    return number as Descriptor
  }

  readonly ring = (bell: Descriptor) => (this.kernel.fileOf(bell) as Bell).ring()

  readonly unwatch = (poll: Descriptor, descriptor: Descriptor) => this.polls.get(poll)?.unwatch(descriptor)

  readonly systemError = (syscall: string, negativeErrno: number): NodeJS.ErrnoException => {
    const code = getSystemErrorName(negativeErrno)
    return Object.assign(new Error(`${syscall} ${code}`), { code, errno: negativeErrno, syscall })
  }

  readonly selfTest = () => Effect.void

  readonly startThread: MainSystem["startThread"] = (data, onReports, onExit) => {
    const thread: WorkerThread = new WorkerThread(
      data,
      this.kernel,
      this.polls.get(data.poll)!,
      this.before,
      this.after,
      (reports) => this.main.tell(thread, () => onReports(reports)),
      (failure) => this.main.tell(thread, () => onExit(failure))
    )
    this.workers.push(thread)
    return { post: (orders) => thread.post(orders), abandon: () => thread.end(undefined) }
  }
}
