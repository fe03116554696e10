/**
 * The nodes that are registered with this member, as the others know them: it answers for each until the node's control stream
 * ends. Of two registrations of one node, the newer ends the older, wherever they are: each has a stamp, and the higher stays.
 *
 * Announcements can be lost. A member that has missed one of another's tells its own registrations again: who has a newer one
 * replies with it.
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { ControlSession } from "@tx3/relay/ControlSession"
import type { Here } from "@tx3/relay/Elsewhere"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type { Answer, Directory } from "../Directory.js"
import * as Messages from "./messages.js"

/** Registrations that are told again in one go, so that all those of a member do not come at once. */
const toldPerTurn = 100

const turnEvery = "100 millis"

interface Registration {
  readonly session: ControlSession
  readonly stamp: number
}

export interface Registrations {
  /** Makes a node known. Its registrations that are older end. Takes a question's time at most. */
  readonly announce: (session: ControlSession) => Effect.Effect<void, never, Scope.Scope>
  /** Another member has a node. */
  readonly heard: (word: Extract<Messages.Word, { readonly _tag: "Registered" }>) => void
  readonly stampOf: (node: CertDigest) => number
  /** All will be told again. */
  readonly tellAgain: () => void
}

export const make = (options: {
  readonly directory: Directory["Type"]
  readonly here: Pick<Here, "session">
  readonly name: string
  readonly say: (saying: Messages.Saying) => Effect.Effect<void>
  readonly subjectOf: (node: CertDigest) => string
  readonly answerFor: (node: CertDigest) => Answer
}): Effect.Effect<Registrations, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { directory, here, name, say } = options
    const run = Runtime.runFork(yield* Effect.runtime())
    const registrations = new Map<CertDigest, Registration>()
    const someMissed = Effect.unsafeMakeLatch(false)

    const stampOf = (node: CertDigest) => registrations.get(node)?.stamp ?? 0

    const tell = (node: CertDigest) =>
      Effect.suspend(() => {
        const registration = registrations.get(node)
        return registration === undefined ? Effect.void : say({ _tag: "Registered", node, stamp: registration.stamp })
      })

    const askStamp = (node: CertDigest) =>
      directory.ask(options.subjectOf(node), Messages.question.encode({ _tag: "Stamp" })).pipe(
        Effect.map((text) => {
          const answer = Messages.answer.decode(text)
          return answer?._tag === "Stamped" ? answer.stamp : 0
        }),
        // A member that was cut off has an old stamp, so the time decides as well.
        Effect.orElseSucceed(() => 0)
      )

    /** Enters a session that is still the node's newest here; false if another has come meanwhile. */
    const enter = (session: ControlSession, asked: number) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            if (here.session(session.node) !== session) {
              return undefined
            }
            const registration = { session, stamp: Math.max(asked + 1, stampOf(session.node) + 1, now) }
            registrations.set(session.node, registration)
            return registration
          }),
          (registration) =>
            Effect.sync(() => {
              if (registration !== undefined && registrations.get(session.node) === registration) {
                registrations.delete(session.node)
              }
            })
        ))

    yield* Effect.gen(function*() {
      yield* someMissed.await
      someMissed.unsafeClose()
      for (const nodes of Arr.chunksOf(registrations.keys(), toldPerTurn)) {
        yield* Effect.forEach(nodes, tell, { discard: true })
        yield* Effect.sleep(turnEvery)
      }
    }).pipe(Effect.forever, Effect.forkScoped)

    return {
      announce: (session) =>
        Effect.gen(function*() {
          const { node } = session
          const registration = yield* enter(session, yield* askStamp(node))
          if (registration !== undefined) {
            yield* directory.answer(options.subjectOf(node), options.answerFor(node))
            yield* tell(node)
            yield* directory.flush
          }
        }),
      heard: ({ from, node, stamp }) => {
        const registration = registrations.get(node)
        if (registration === undefined) {
          return
        }
        if (stamp > registration.stamp || stamp === registration.stamp && from > name) {
          registration.session.end("replaced")
        } else {
          run(tell(node))
        }
      },
      stampOf,
      tellAgain: () => someMissed.unsafeOpen()
    }
  })
