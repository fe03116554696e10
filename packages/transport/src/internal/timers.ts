/**
 * Timers of a thread that waits in the kernel, where setTimeout is never called: what waits is told by `expire`. Those of
 * one length expire in the order in which they were started, so each length keeps a queue, and there are few lengths.
 */
import type { Clock } from "./system.js"

export class Timers<A> {
  private readonly queues = new Map<number, Map<A, number>>()

  constructor(private readonly clock: Pick<Clock, "nowMs">) {}

  /** Calls for the item after so many milliseconds; starts its timer again if it has one. */
  start(item: A, ms: number) {
    this.cancel(item)
    let queue = this.queues.get(ms)
    if (queue === undefined) {
      queue = new Map()
      this.queues.set(ms, queue)
    }
    queue.set(item, this.clock.nowMs() + ms)
  }

  /** Whether the item had a timer. */
  cancel(item: A): boolean {
    for (const [ms, queue] of this.queues) {
      if (queue.delete(item)) {
        if (queue.size === 0) {
          this.queues.delete(ms)
        }
        return true
      }
    }
    return false
  }

  /** Whether the item has a timer of this length. */
  has(item: A, ms: number): boolean {
    return this.queues.get(ms)?.has(item) === true
  }

  /** Milliseconds until the first one is due; Infinity if there is none. */
  nextMs(): number {
    let next = Infinity
    for (const queue of this.queues.values()) {
      next = Math.min(next, queue.values().next().value!)
    }
    return Math.max(0, next - this.clock.nowMs())
  }

  /**
   * Takes out those that are due, `most` of each length, and passes them on, unless that of another has cancelled or
   * restarted them.
   */
  expire(onDue: (item: A) => void, most = Infinity) {
    if (this.queues.size === 0) {
      return
    }
    const now = this.clock.nowMs()
    const due: Array<readonly [item: A, at: number, queue: Map<A, number>]> = []
    for (const queue of this.queues.values()) {
      let left = most
      for (const [item, at] of queue) {
        if (at > now || left-- === 0) {
          break
        }
        due.push([item, at, queue])
      }
    }
    for (const [item, at, queue] of due) {
      if (queue.get(item) === at) {
        this.cancel(item)
        onDue(item)
      }
    }
  }
}
