/**
 * Entries that each stay equally long, or until they are taken. One fiber looks after them while there are any, until the
 * scope closes.
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Expiring<Key, Value> {
  /** Adds an entry, or gives it its whole time again. The oldest expires early if there are too many. */
  readonly add: (key: Key, value: Value) => void
  readonly has: (key: Key) => boolean
  readonly get: (key: Key) => Value | undefined
  /** Removes an entry, and returns what was in it. */
  readonly take: (key: Key) => Value | undefined
  /** Removes the entries whose value satisfies a predicate, and returns their values. */
  readonly takeAll: (which: (value: Value) => boolean) => ReadonlyArray<Value>
  readonly size: () => number
}

export const make = <Key, Value>(options: {
  readonly keepMs: number
  readonly most: number
  readonly onExpired?: (value: Value) => void
}): Effect.Effect<Expiring<Key, Value>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    const entries = new Map<Key, { readonly value: Value; readonly until: number }>()
    const some = Effect.unsafeMakeLatch(false)

    const take = (key: Key) => {
      const entry = entries.get(key)
      entries.delete(key)
      return entry?.value
    }

    const expire = (key: Key, value: Value) => {
      entries.delete(key)
      options.onExpired?.(value)
    }

    /** Returns the time until the next is due. */
    const expireDue = () => {
      const now = currentTimeMillis()
      for (const [key, { until, value }] of entries) {
        if (until > now) {
          return until - now
        }
        expire(key, value)
      }
      some.unsafeClose()
      return 0
    }

    yield* some.await.pipe(
      Effect.zipRight(Effect.suspend(() => Effect.sleep(expireDue()))),
      Effect.forever,
      Effect.forkScoped
    )

    return {
      add: (key, value) => {
        entries.delete(key)
        entries.set(key, { value, until: currentTimeMillis() + options.keepMs })
        for (const [oldest, entry] of entries) {
          if (entries.size <= options.most) {
            break
          }
          expire(oldest, entry.value)
        }
        some.unsafeOpen()
      },
      has: (key) => entries.has(key),
      get: (key) => entries.get(key)?.value,
      take,
      takeAll: (which) =>
        Array.from(entries).flatMap(([key, { value }]) => which(value) && entries.delete(key) ? [value] : []),
      size: () => entries.size
    }
  })
