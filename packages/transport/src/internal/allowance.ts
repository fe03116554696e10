/**
 * The allowance of one direction of a splice. It reserves a piece of each of its rates, takes it, and reserves the next when
 * the rates have earned the one before. So directions that share a rate take turns in the order in which they asked, and one
 * that has been quiet has its turn at once. Bytes that a source did not deliver are put back.
 */
import { aheadNs, Budget, costNs, nowNs } from "./budget.js"

/** Waits are powers of two between them, so that timers have few lengths, and a new rate is soon noticed. */
const shortestMs = 4
const longestMs = 64

/** The least that a direction reserves: twice what it took the last time, between these. Less is not worth a system call. */
const leastBytes = 2 * 1024
const firstBytes = 256

/** Sooner than this is now. */
const soonNs = shortestMs * 1e6

interface Reserved {
  readonly budget: Budget
  /** When the rate begins to earn the piece. */
  beginNs: number
  bytesPerSecond: number
}

export class Allowance {
  private readonly reserved: ReadonlyArray<Reserved>
  private left = 0
  private taken = 0
  /** When what is left may be taken; or, with nothing left, when a piece may be reserved. */
  private readyNs = 0

  constructor(rates: ReadonlyArray<SharedArrayBuffer>, private readonly now = nowNs) {
    this.reserved = rates.map((memory) => ({ budget: new Budget(memory), beginNs: 0, bytesPerSecond: Infinity }))
  }

  /** How many bytes may be taken now; 0: none before `waitMs`. */
  room(): number {
    const now = this.now()
    if (this.isOutdated()) {
      this.release()
      this.readyNs = now
    }
    if (this.left === 0 && this.isReady(now)) {
      this.reserve(now)
    }
    return this.isReady(now) ? this.left : 0
  }

  private isReady(now: number) {
    return this.readyNs - now < soonNs
  }

  /** Whether a rate has been changed since. */
  private isOutdated() {
    for (const { budget, bytesPerSecond } of this.reserved) {
      if (budget.bytesPerSecond !== bytesPerSecond) {
        return true
      }
    }
    return false
  }

  private reserve(now: number) {
    // Of those that come together, late or soon, none gets more for being the first.
    const asked = Math.max(this.readyNs, now - soonNs)
    const least = Math.min(leastBytes, Math.max(firstBytes, 2 * this.taken))
    this.left = Infinity
    for (const each of this.reserved) {
      each.bytesPerSecond = each.budget.bytesPerSecond
      this.left = Math.min(this.left, each.budget.offer(each.bytesPerSecond, asked))
    }
    this.left = Math.max(this.left, least)
    this.taken = 0
    this.readyNs = -Infinity
    for (const each of this.reserved) {
      each.beginNs = each.budget.spend(costNs(this.left, each.bytesPerSecond), now)
      this.readyNs = Math.max(this.readyNs, each.beginNs - aheadNs)
    }
  }

  /** Tells that so many of them were taken. */
  take(bytes: number) {
    this.taken += bytes
    this.left -= bytes
    if (this.left === 0) {
      this.awaitEarned()
    }
  }

  /** Puts back what is left, for nothing more can be taken now. */
  release() {
    if (this.left === 0) {
      return
    }
    for (const { budget, bytesPerSecond } of this.reserved) {
      // A change of the rate has changed the price of the rest: see Budget.set.
      budget.putBack(costNs(this.left, Math.max(bytesPerSecond, budget.bytesPerSecond)))
    }
    this.left = 0
    this.awaitEarned()
  }

  private awaitEarned() {
    this.readyNs = -Infinity
    for (const { beginNs, bytesPerSecond } of this.reserved) {
      this.readyNs = Math.max(this.readyNs, beginNs + costNs(this.taken, bytesPerSecond))
    }
  }

  /** How long to wait before asking again; there may be nothing yet. */
  waitMs(): number {
    const ms = Math.min(Math.max((this.readyNs - this.now()) / 1e6, shortestMs), longestMs)
    return 1 << 31 - Math.clz32(ms)
  }
}
