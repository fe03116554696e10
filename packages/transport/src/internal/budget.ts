/**
 * A rate's state, in memory that threads share: the rate, and the time until which it is spent. Taking bytes moves that time on
 * by as long as the rate needs for them, so one number is both the debt and the place in the queue.
 */

/** Bytes may be taken so long before they are earned. With several takers it is how long they wait for each other. */
export const aheadNs = 100e6

/** How long unused bytes are kept: longer than a thread can be late, and little beside ten seconds. */
const creditNs = 100e6

/** The part of the remaining advance that one request gets: 25 ms for a single direction, and less the more there are. */
const part = 1 / 4

const second = 1e9

/** Never goes back, and is the same on all threads of a process. */
export const nowNs = () => Number(process.hrtime.bigint())

const spentAt = 0
const rateAt = 1

export class Budget {
  private readonly state: BigInt64Array

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.state = new BigInt64Array(memory)
  }

  /** Infinity: without limit. */
  get bytesPerSecond(): number {
    return Number(Atomics.load(this.state, rateAt)) || Infinity
  }

  /** Bytes that are owed stay owed, but not for longer than they were. */
  set(bytesPerSecond: number, now = nowNs()) {
    const before = this.bytesPerSecond
    if (bytesPerSecond === before) {
      return
    }
    const scale = before === Infinity || bytesPerSecond === Infinity ? 0 : Math.min(1, before / bytesPerSecond)
    this.spendUntil((spent) => now + (spent - now) * scale)
    Atomics.store(this.state, rateAt, bytesPerSecond === Infinity ? 0n : BigInt(Math.round(bytesPerSecond)))
  }

  /** How many bytes a direction may carry that asks at this time; 0 or less if the budget is used up. */
  offer(bytesPerSecond: number, asked: number): number {
    if (bytesPerSecond === Infinity) {
      return Infinity
    }
    const ahead = this.begin(Number(Atomics.load(this.state, spentAt)), asked) - asked
    return Math.floor((aheadNs - ahead) * part / second * bytesPerSecond)
  }

  /** Takes so much time out of it, and returns when that begins. */
  spend(ns: number, now: number): number {
    return this.begin(this.spendUntil((spent) => this.begin(spent, now) + ns), now)
  }

  /** Puts back what was taken too much. */
  putBack(ns: number) {
    Atomics.sub(this.state, spentAt, BigInt(Math.round(ns)))
  }

  private begin(spent: number, now: number) {
    return Math.max(spent, now - creditNs)
  }

  /** Returns what it was before. */
  private spendUntil(next: (spent: number) => number): number {
    for (;;) {
      const before = Atomics.load(this.state, spentAt)
      const spent = Number(before)
      if (Atomics.compareExchange(this.state, spentAt, before, BigInt(Math.round(next(spent)))) === before) {
        return spent
      }
    }
  }
}

/** Nanoseconds that so many bytes take. */
export const costNs = (bytes: number, bytesPerSecond: number) =>
  bytesPerSecond === Infinity ? 0 : bytes / bytesPerSecond * second
