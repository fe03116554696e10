/**
 * The main thread of a simulated process: an event loop whose order the simulation chooses, a clock that only the simulation
 * moves, and Effect's scheduler over both. It owns the global timers and the process's clock from its construction until
 * `giveBack`.
 */
import type { Scheduler } from "effect"
import { Clock, Duration, Effect, FiberRef } from "effect"

/** What Node's loop calls the end of one callback: what it has put off runs before the next. */
const putOff: () => Promise<void> = (() => {
  const { setImmediate } = globalThis
  return () => new Promise((resolve) => void setImmediate(resolve))
})()

interface Timer {
  readonly atMs: number
  readonly run: () => void
}

/** Node's timer, as far as somebody here uses it. */
class Handle {
  ref() {
    return this
  }

  unref() {
    return this
  }

  hasRef() {
    return true
  }
}

/** 2026-01-01: what `Date` would say when the simulation begins. */
const epochMs = 1_767_225_600_000

export class MainThread {
  private readonly immediates = new Map<Handle, () => void>()
  private readonly timers = new Map<Handle, Timer>()
  /** Events of ports and sockets; those of one come in their order. */
  private readonly events = new Map<object, Array<() => void>>()
  private readonly effects: Array<() => void> = []
  private readonly globals = {
    setImmediate: globalThis.setImmediate,
    clearImmediate: globalThis.clearImmediate,
    setTimeout: globalThis.setTimeout,
    clearTimeout: globalThis.clearTimeout
  }
  private readonly hrtime = process.hrtime.bigint

  readonly scheduler: Scheduler.Scheduler = {
    shouldYield: (fiber) => fiber.currentOpCount > fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield) ? 0 : false,
    scheduleTask: (task) => void this.effects.push(task)
  }

  readonly clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => epochMs + this.nowMs(),
    unsafeCurrentTimeNanos: () => this.nowNs(),
    currentTimeMillis: Effect.sync(() => epochMs + this.nowMs()),
    currentTimeNanos: Effect.sync(() => this.nowNs()),
    sleep: (duration) =>
      Effect.async((resume) => {
        const handle = this.startTimer(Duration.toMillis(duration), () => resume(Effect.void))
        return Effect.sync(() => this.timers.delete(handle))
      })
  }

  constructor(private readonly nowMs: () => number) {
    const { immediates, timers } = this
    Object.assign(globalThis, {
      setImmediate: (run: (...args: Array<unknown>) => void, ...args: Array<unknown>) => {
        const handle = new Handle()
        immediates.set(handle, () => run(...args))
        return handle
      },
      clearImmediate: (handle: Handle) => immediates.delete(handle),
      setTimeout: (run: (...args: Array<unknown>) => void, ms = 0, ...args: Array<unknown>) =>
        this.startTimer(ms, () => run(...args)),
      clearTimeout: (handle: Handle) => timers.delete(handle)
    })
    process.hrtime.bigint = () => this.nowNs()
  }

  giveBack() {
    Object.assign(globalThis, this.globals)
    process.hrtime.bigint = this.hrtime
  }

  private nowNs() {
    return BigInt(Math.round(this.nowMs() * 1e6))
  }

  private startTimer(ms: number, run: () => void) {
    const handle = new Handle()
    this.timers.set(handle, { atMs: this.nowMs() + Math.max(0, ms), run })
    return handle
  }

  /** Something has happened to a port or a socket. */
  tell(source: object, event: () => void) {
    const events = this.events.get(source)
    if (events === undefined) {
      this.events.set(source, [event])
    } else {
      events.push(event)
    }
  }

  /** When its next timer is due; Infinity if there is none. */
  nextMs() {
    let next = Infinity
    for (const { atMs } of this.timers.values()) {
      next = Math.min(next, atMs)
    }
    return next
  }

  get isRunnable() {
    return this.effects.length > 0 || this.immediates.size > 0 || this.events.size > 0 || this.nextMs() <= this.nowMs()
  }

  /** Runs one callback, and all that it puts off. Returns what kind it was. */
  async step(choose: (count: number) => number): Promise<string> {
    if (this.effects.length > 0) {
      await this.settle()
      return "fibers"
    }
    const due = this.dueTimer()
    const sources = Array.from(this.events.keys())
    const kinds = (this.immediates.size > 0 ? 1 : 0) + (due === undefined ? 0 : 1) + sources.length
    let chosen = choose(kinds)
    let kind: string
    if (this.immediates.size > 0 && chosen-- === 0) {
      kind = "immediate"
      const [handle, run] = this.immediates.entries().next().value!
      this.immediates.delete(handle)
      run()
    } else if (due !== undefined && chosen-- === 0) {
      kind = "timer"
      this.timers.delete(due[0])
      due[1].run()
    } else {
      const source = sources[chosen]!
      kind = source.constructor.name
      const events = this.events.get(source)!
      const event = events.shift()!
      if (events.length === 0) {
        this.events.delete(source)
      }
      event()
    }
    await this.settle()
    return kind
  }

  private dueTimer() {
    let first: readonly [Handle, Timer] | undefined
    for (const entry of this.timers) {
      if (entry[1].atMs <= this.nowMs() && (first === undefined || entry[1].atMs < first[1].atMs)) {
        first = entry
      }
    }
    return first
  }

  /** Runs fibers and what Node has put off until there is nothing of either. */
  async settle() {
    do {
      for (let task = this.effects.shift(); task !== undefined; task = this.effects.shift()) {
        task()
      }
      await putOff()
    } while (this.effects.length > 0)
  }
}
