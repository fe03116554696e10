/**
 * How a worker learns of orders: the main thread counts their messages in memory that both share, and rings the worker's bell,
 * which is a system call, only if the worker sleeps. None is missed: the worker says that it sleeps before it looks at the
 * count, and the main thread counts before it looks whether the worker sleeps.
 */
import { Signal } from "./kernelMessages.js"

/** Counts a message that has been posted. Whether the bell has to be rung for it. */
export const posted = (signals: Int32Array): boolean => {
  Atomics.add(signals, Signal.messages, 1)
  return Atomics.exchange(signals, Signal.asleep, 0) !== 0
}

/** The worker's side. */
export class Hearing {
  private taken = 0

  constructor(private readonly signals: Int32Array) {}

  /** Says that the worker goes to sleep. Whether it may: no message waits. */
  fallAsleep(): boolean {
    Atomics.store(this.signals, Signal.asleep, 1)
    return !this.hasMessage
  }

  wakeUp() {
    Atomics.store(this.signals, Signal.asleep, 0)
  }

  private get hasMessage() {
    // Messages are counted in 32 bits.
    return this.taken !== Atomics.load(this.signals, Signal.messages)
  }

  /** Whether there is a message to take, which the caller does then. */
  take(): boolean {
    const { hasMessage } = this
    if (hasMessage) {
      this.taken = this.taken + 1 | 0
    }
    return hasMessage
  }
}
