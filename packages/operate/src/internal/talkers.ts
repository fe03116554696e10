/**
 * Counts the bytes of each node and source in the last 15 minutes. Its memory is bounded: it keeps, approximately, the
 * thousand of each minute that carried most.
 */
const minutes = 15
const keptPerMinute = 1_000

export class Talkers {
  /** The newest minute is the last. */
  private readonly byMinute: Array<{ readonly minute: number; readonly bytes: Map<string, number> }> = []

  add(name: string, bytes: number, nowMs: number) {
    if (bytes > 0) {
      const { bytes: counts } = this.minuteOf(nowMs)
      counts.set(name, (counts.get(name) ?? 0) + bytes)
      if (counts.size > 2 * keptPerMinute) {
        for (const [name] of Array.from(counts).sort(([, a], [, b]) => a - b).slice(0, keptPerMinute)) {
          counts.delete(name)
        }
      }
    }
  }

  bytes(nowMs: number): ReadonlyMap<string, number> {
    this.forgetBefore(nowMs)
    const sums = new Map<string, number>()
    for (const { bytes } of this.byMinute) {
      for (const [name, count] of bytes) {
        sums.set(name, (sums.get(name) ?? 0) + count)
      }
    }
    return sums
  }

  private minuteOf(nowMs: number) {
    const minute = Math.floor(nowMs / 60_000)
    let last = this.byMinute.at(-1)
    if (last === undefined || last.minute !== minute) {
      this.forgetBefore(nowMs)
      last = { minute, bytes: new Map() }
      this.byMinute.push(last)
    }
    return last
  }

  private forgetBefore(nowMs: number) {
    const oldest = Math.floor(nowMs / 60_000) - minutes
    while (this.byMinute.length > 0 && this.byMinute[0]!.minute <= oldest) {
      this.byMinute.shift()
    }
  }
}
