/**
 * What the members of a cluster know of each other: who answers for a subject now, and what members tell all others. It stores
 * nothing. An entry is there as long as the scope that it was made in, and as the process that made it.
 *
 * `layerMemory` is for several relays in one process; `NatsDirectory` for several machines.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

/**
 * Carries questions to the members that answer a subject, and announcements to all members. Subjects are letters, digits,
 * `-` and `_`, with dots between their parts.
 *
 * @since 0.1.0
 * @category services
 */
export class Directory extends Context.Tag("@tx3/cluster/Directory")<Directory, {
  /**
   * Answers the questions to a subject until the scope closes. A last part of `*` stands for any. Of several that answer one
   * question, the first reply counts.
   */
  readonly answer: (subject: string, answer: Answer) => Effect.Effect<void, never, Scope.Scope>

  /** Asks whoever answers a subject. Fails at once if nobody does, and within a bounded time in any case. */
  readonly ask: (subject: string, question: string) => Effect.Effect<string, NotAnswered>

  /** Tells all that listen to a subject. What is told while the engine is away is lost. */
  readonly tell: (subject: string, announcement: string) => Effect.Effect<void>

  /** Hears what is told, also what this process tells, until the scope closes. */
  readonly listen: (
    subject: string,
    listener: (announcement: string) => void
  ) => Effect.Effect<void, never, Scope.Scope>

  /** Waits a bounded time until what was done before this holds for the others. */
  readonly flush: Effect.Effect<void>

  /** Whether the engine is there. */
  readonly isConnected: () => boolean
}>() {}

/**
 * Answers a question.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer = (question: string) => Effect.Effect<string>

/**
 * A question without an answer: `nobody` answers its subject, or it is not known who does, since the engine is away or the member
 * that should answer does not (`unavailable`).
 *
 * @since 0.1.0
 * @category errors
 */
export class NotAnswered extends Data.TaggedError("NotAnswered")<{ readonly reason: "nobody" | "unavailable" }> {}

/**
 * A directory in this process, for relays that share the built layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Directory> = Layer.sync(Directory, () => {
  const answers = new Map<string, Set<Answer>>()
  const listeners = new Map<string, Set<(announcement: string) => void>>()
  return {
    answer: (subject, answer) => member(answers, subject, answer),
    ask: (subject, question) =>
      Effect.suspend(() => {
        const [answer] = answers.get(subject) ?? answers.get(subject.replace(/[^.]*$/, "*")) ?? []
        return answer === undefined ? new NotAnswered({ reason: "nobody" }) : answer(question)
      }),
    tell: (subject, announcement) =>
      Effect.sync(() => listeners.get(subject)?.forEach((listener) => listener(announcement))),
    listen: (subject, listener) => member(listeners, subject, listener),
    flush: Effect.void,
    isConnected: () => true
  }
})

/** One more in the set of a key, until the scope closes. */
const member = <A>(sets: Map<string, Set<A>>, key: string, item: A) =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => sets.set(key, (sets.get(key) ?? new Set()).add(item))),
    () =>
      Effect.sync(() => {
        const set = sets.get(key)
        if (set?.delete(item) === true && set.size === 0) {
          sets.delete(key)
        }
      })
  ))
