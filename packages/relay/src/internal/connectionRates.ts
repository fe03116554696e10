import type { Source } from "@tx3/protocol/Source"

/** Sources remembered. Beyond them the one that came least recently is forgotten, and has all its tokens again. */
const sourcesMax = 65_536

/** Tokens that a source can save up: ten seconds' worth, as a page or a build that opens many connections at once needs. */
const burstSeconds = 10

/**
 * A token bucket for each source, in bounded memory. Of each it keeps when the tokens that it has used will be there
 * again; a bucket that is full again is nothing to remember.
 */
export class ConnectionRates {
  /** In the order in which the sources came last. */
  private readonly refilledAt = new Map<Source, number>()

  constructor(private readonly currentTimeMillis: () => number) {}

  /** Takes a token of the source, if it has one. */
  take(source: Source, perSecond: number): boolean {
    const now = this.currentTimeMillis()
    const cost = 1000 / perSecond
    const refilledAt = Math.max(now, this.refilledAt.get(source) ?? 0) + cost
    if (refilledAt - now > Math.max(burstSeconds * 1000, cost)) {
      return false
    }
    this.refilledAt.delete(source)
    this.refilledAt.set(source, refilledAt)
    this.forgetWhatNeedNotBeKept(now)
    return true
  }

  get size() {
    return this.refilledAt.size
  }

  private forgetWhatNeedNotBeKept(now: number) {
    for (const [source, refilledAt] of this.refilledAt) {
      if (refilledAt > now && this.refilledAt.size <= sourcesMax) {
        return
      }
      this.refilledAt.delete(source)
    }
  }
}
