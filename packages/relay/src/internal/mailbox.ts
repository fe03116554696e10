/**
 * The splice tokens that wait to be written to a node, by the source of the peer that each is for. They are taken in turns,
 * one of each source, so that a source with many peers does not delay the peers of others.
 */
import type { Source } from "@tx3/protocol/Source"
import type { SpliceToken } from "@tx3/protocol/SpliceToken"

export class Mailbox {
  private readonly bySource = new Map<Source, Set<SpliceToken>>()

  get isEmpty(): boolean {
    return this.bySource.size === 0
  }

  add(token: SpliceToken, source: Source) {
    const tokens = this.bySource.get(source)
    if (tokens === undefined) {
      this.bySource.set(source, new Set([token]))
    } else {
      tokens.add(token)
    }
  }

  /** Takes a token out, if it is still there, and says whether it was. */
  remove(token: SpliceToken, source: Source): boolean {
    const tokens = this.bySource.get(source)
    const wasThere = tokens?.delete(token) ?? false
    if (tokens?.size === 0) {
      this.bySource.delete(source)
    }
    return wasThere
  }

  takeAll(): ReadonlyArray<SpliceToken> {
    const taken: Array<SpliceToken> = []
    let turns = Array.from(this.bySource.values(), (tokens) => tokens.values())
    this.bySource.clear()
    while (turns.length > 0) {
      turns = turns.filter((tokens) => {
        const next = tokens.next()
        if (next.done === true) {
          return false
        }
        taken.push(next.value)
        return true
      })
    }
    return taken
  }

  clear() {
    this.bySource.clear()
  }
}
