/**
 * Accepted sockets that wait for their turn. A turn of the event loop serves a few, one of each source after the other, so that
 * a source that connects a thousand times at once delays another's connection by a turn, and not by a thousand.
 *
 * The owner closes connections that still wait: `clear` returns them.
 */
import type { Source } from "@tx3/protocol/Source"

/** A few milliseconds' worth: what an accepted socket costs until it is served or rejected is below half a millisecond. */
const servedPerTurn = 8

export class Turns<A extends { readonly source: Source }> {
  private readonly waiting = new Map<Source, Array<A>>()
  private served = 0
  private isScheduled = false

  constructor(private readonly serve: (item: A) => void) {}

  /** Serves it now if this turn has served few and none waits. */
  add(item: A) {
    this.schedule()
    if (this.served < servedPerTurn && this.waiting.size === 0) {
      this.served++
      this.serve(item)
      return
    }
    const ofSource = this.waiting.get(item.source)
    if (ofSource === undefined) {
      this.waiting.set(item.source, [item])
    } else {
      ofSource.push(item)
    }
  }

  /** How many of a source wait. */
  of(source: Source): number {
    return this.waiting.get(source)?.length ?? 0
  }

  /** Takes out all that wait. */
  clear(): ReadonlyArray<A> {
    const all = Array.from(this.waiting.values()).flat()
    this.waiting.clear()
    return all
  }

  private schedule() {
    if (!this.isScheduled) {
      this.isScheduled = true
      setImmediate(this.turn)
    }
  }

  private readonly turn = () => {
    this.isScheduled = false
    this.served = 0
    // A source that has more goes behind the others.
    for (const [source, items] of this.waiting) {
      if (this.served === servedPerTurn) {
        break
      }
      this.served++
      this.waiting.delete(source)
      const item = items.shift()!
      if (items.length > 0) {
        this.waiting.set(source, items)
      }
      this.serve(item)
    }
    if (this.waiting.size > 0) {
      this.schedule()
    }
  }
}
