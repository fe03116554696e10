/**
 * The other members, as they tell of themselves: each for a few seconds after its last word. It says this member's words to all,
 * numbered, so that a member knows when it has missed one. It ends with its scope, and says so.
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Directory } from "../Directory.js"
import * as Messages from "./messages.js"

/** How often a member says that it is there: what went wrong while the engine was away is noticed so soon. */
const presentEvery = "1 second"

/** A member that has not said anything for so long is not listed. Whether it has a node does not depend on that. */
const silentMs = 5_000

/** Another member. */
export interface Member {
  readonly name: string
  readonly link: Messages.Place
  readonly state: "listening" | "draining"
  readonly version: string
}

export interface Members {
  /** Tells all members. */
  readonly say: (saying: Messages.Saying) => Effect.Effect<void>
  /** Tells what this member is now. */
  readonly present: Effect.Effect<void>
  /** Tells so at once, and again and again until the scope closes. */
  readonly appear: Effect.Effect<void, never, Scope.Scope>
  /** The others that are there. */
  readonly others: () => ReadonlyArray<Member>
}

export const make = (
  directory: Directory["Type"],
  subject: string,
  options: {
    readonly self: () => Member
    readonly onWord: (word: Messages.Word) => void
    /** A word of another member was lost. */
    readonly onMissed: () => void
  }
): Effect.Effect<Members, never, Scope.Scope> =>
  Effect.gen(function*() {
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    const known = new Map<string, { member: Member | undefined; number: number; heardAt: number }>()
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
      } else {
        known.set(word.from, {
          member: word._tag === "Present" ? { ...word, name: word.from } : before?.member,
          number: Math.max(word.number, before?.number ?? 0),
          heardAt: currentTimeMillis()
        })
      }
    }

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
        return Array.from(known.values()).flatMap(({ member }) => member === undefined ? [] : [member])
      }
    }
  })
