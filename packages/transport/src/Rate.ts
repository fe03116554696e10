/**
 * A budget of bytes per second. Any number of splices may share one, on any thread; it counts what they take from both
 * sides together, and is kept by taking less, never by dropping anything.
 *
 * It owns nothing but 16 bytes of memory that threads share, which the garbage collector frees.
 *
 * @since 0.1.0
 */
import { Budget } from "./internal/budget.js"

/**
 * A budget in use. Hand the same one to all splices that shall share it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rate {
  /** The rate; undefined: without limit. */
  readonly bytesPerSecond: number | undefined

  /**
   * Changes it, for splices that run too; those that wait for it notice within a tenth of a second. Throws a RangeError
   * for less than 1; fractions of a byte are rounded.
   */
  readonly set: (bytesPerSecond: number | undefined) => void

  /** Its state, for the threads that carry bytes. */
  readonly memory: SharedArrayBuffer
}

/**
 * A budget of so many bytes a second, unlimited for undefined. Throws a RangeError for less than 1 and for more than
 * `Number.MAX_SAFE_INTEGER`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (bytesPerSecond: number | undefined): Rate => {
  const budget = new Budget()
  const rate: Rate = {
    get bytesPerSecond() {
      const current = budget.bytesPerSecond
      return current === Infinity ? undefined : current
    },
    set: (bytesPerSecond) => {
      if (bytesPerSecond !== undefined && !(bytesPerSecond >= 1 && bytesPerSecond <= Number.MAX_SAFE_INTEGER)) {
        throw new RangeError(`a rate is at least 1 byte per second, not ${bytesPerSecond}`)
      }
      budget.set(bytesPerSecond === undefined ? Infinity : Math.round(bytesPerSecond))
    },
    memory: budget.memory
  }
  rate.set(bytesPerSecond)
  return rate
}
