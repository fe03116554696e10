/**
 * The other members, as they tell of themselves: each for a few seconds after its last word. It says this member's words to all,
 * numbered, so that a member knows when it has missed one. It ends with its scope, and says so.
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type { Member, View } from "@tx3/relay/Elsewhere"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Directory } from "../Directory.js"
import * as Messages from "./messages.js"

/** How often a member says that it is there: what went wrong while the engine was away is noticed so soon. */
const presentEvery = "1 second"

/** A member that has not said anything for so long is not listed. Whether it has a node does not depend on that. */
const silentMs = 5_000

/** How often a member is asked something, to learn how long that takes. */
const roundTripEveryMs = 5_000

export interface Members {
  /** Tells all members. */
  readonly say: (saying: Messages.Saying) => Effect.Effect<void>
  /** Tells what this member is now. */
  readonly present: Effect.Effect<void>
  /** Tells so at once, and again and again until the scope closes. */
  readonly appear: Effect.Effect<void, never, Scope.Scope>
  /** The others that are there, and how long a question to each takes. */
  readonly others: () => View["members"]
}

export const make = (
  directory: Directory["Type"],
  subject: string,
  options: {
    readonly self: () => Member
    readonly subjectOf: (name: string) => string
    readonly onWord: (word: Messages.Word) => void
    /** A word of another member was lost. */
    readonly onMissed: () => void
  }
): Effect.Effect<Members, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const currentTimeMillis = MonotonicTime.millis(clock)
    const known = new Map<string, Known>()
    const run = yield* FiberSet.makeRuntime()
    const from = options.self().name
    let number = 0

    const say = (saying: Messages.Saying) =>
      Effect.suspend(() =>
        directory.tell(subject, Messages.word.encode({ ...saying, from, number: ++number } as Messages.Word))
      )

    const present = Effect.suspend(() => {
      const { link, state, version } = options.self()
      return say({ _tag: "Present", link, state, version })
    })

    const forgetSilent = () => {
      const now = currentTimeMillis()
      for (const [name, { heardAt }] of known) {
        if (now - heardAt > silentMs) {
          known.delete(name)
        }
      }
    }

    const note = (word: Messages.Word) => {
      forgetSilent()
      const before = known.get(word.from)
      if (before === undefined) {
        // So that it knows this member at once.
        run(present)
      }
      if (word.number > (before?.number ?? 0) + 1) {
        options.onMissed()
      }
      if (word._tag === "Left") {
        known.delete(word.from)
        return
      }
      const now = currentTimeMillis()
      const other: Known = before ??
        { askedAt: -Infinity, heardAt: now, member: undefined, number: 0, roundTripMs: undefined }
      known.set(word.from, other)
      other.heardAt = now
      other.number = Math.max(word.number, other.number)
      if (word._tag === "Present") {
        const { from: name, link, state, version } = word
        other.member = { link, name, state, version }
        if (now - other.askedAt >= roundTripEveryMs) {
          other.askedAt = now
          run(measure(name, other))
        }
      }
    }

    const measure = (name: string, other: Known) =>
      Effect.suspend(() => {
        const started = clock.unsafeCurrentTimeNanos()
        return Effect.match(directory.ask(options.subjectOf(name), ping), {
          onFailure: () => {
            other.roundTripMs = undefined
          },
          onSuccess: () => {
            other.roundTripMs = Number(clock.unsafeCurrentTimeNanos() - started) / 1e6
          }
        })
      })

    yield* directory.listen(subject, (announcement) => {
      const word = Messages.word.decode(announcement)
      if (word !== undefined && word.from !== from) {
        note(word)
        options.onWord(word)
      }
    })

    return {
      say,
      present,
      appear: Effect.gen(function*() {
        yield* present
        yield* Effect.forkScoped(Effect.forever(Effect.delay(present, presentEvery)))
        yield* Effect.addFinalizer(() => Effect.zipRight(say({ _tag: "Left" }), directory.flush))
      }),
      others: () => {
        forgetSilent()
        return Array.from(known.values()).flatMap(({ member, roundTripMs }) =>
          member === undefined ? [] : [{ ...member, roundTripMs }]
        )
      }
    }
  })

/** The shortest question. */
const ping = Messages.question.encode({ _tag: "Stamp" })

interface Known {
  member: Member | undefined
  /** Of its last word. */
  number: number
  heardAt: number
  /** When it was asked last, and how long it took to answer. */
  askedAt: number
  roundTripMs: number | undefined
}
