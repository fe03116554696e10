/** Keys remembered. Beyond them the one that came least recently is forgotten, and has all its tokens again. */
const keysMax = 65_536

/**
 * A token bucket for each key, a source or a pair of node and source, in bounded memory. Of each it keeps when the tokens that it has used will be there
 * again; a bucket that is full again is nothing to remember.
 */
export class TokenBuckets<Key extends string> {
  /** In the order in which the keys came last. */
  private readonly refilledAt = new Map<Key, number>()

  constructor(
    private readonly currentTimeMillis: () => number,
    /** How many seconds of its rate a key can save up. */
    private readonly burstSeconds: number
  ) {}

  /** Whether the key has a token. */
  has(key: Key, perSecond: number): boolean {
    return this.afterOne(key, perSecond, this.currentTimeMillis()) !== undefined
  }

  /** Takes a token of the key, if it has one. */
  take(key: Key, perSecond: number): boolean {
    const now = this.currentTimeMillis()
    const refilledAt = this.afterOne(key, perSecond, now)
    if (refilledAt === undefined) {
      return false
    }
    this.refilledAt.delete(key)
    this.refilledAt.set(key, refilledAt)
    this.forgetWhatNeedNotBeKept(now)
    return true
  }

  /** When the tokens that the key has used would be there again if it took one more; undefined if it has none left. */
  private afterOne(key: Key, perSecond: number, now: number) {
    const cost = 1000 / perSecond
    const refilledAt = Math.max(now, this.refilledAt.get(key) ?? 0) + cost
    return refilledAt - now > Math.max(this.burstSeconds * 1000, cost) ? undefined : refilledAt
  }

  get size() {
    return this.refilledAt.size
  }

  private forgetWhatNeedNotBeKept(now: number) {
    for (const [key, refilledAt] of this.refilledAt) {
      if (refilledAt > now && this.refilledAt.size <= keysMax) {
        return
      }
      this.refilledAt.delete(key)
    }
  }
}
