/**
 * The directory of registered nodes: for each digest its one live control session. The newest wins, and a session takes
 * only itself out, never its successor. An entry ends with the scope it was registered in.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { ControlSession } from "./ControlSession.js"
import type { ControlPlace } from "./Limiter.js"
import { hold, Limiter } from "./Limiter.js"
import type { Rejected } from "./RelayError.js"

/**
 * The nodes that are registered now. One that registers again has only its newest session.
 *
 * @since 0.1.0
 * @category services
 */
export class ControlSessions extends Context.Tag("@tx3/relay/ControlSessions")<ControlSessions, {
  /** Enters a session that the limits allow, and ends the one it replaces. */
  readonly register: (session: ControlSession) => Effect.Effect<void, Rejected, Scope.Scope>

  /** The session of a node, if it is registered. */
  readonly find: (node: CertDigest) => ControlSession | undefined

  /** The sessions of all registered nodes. */
  readonly all: () => Iterable<ControlSession>
}>() {}

/**
 * Begins without sessions. `register` takes a place from the `Limiter` and fails if there is none left.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ControlSessions, never, Limiter> = Layer.effect(
  ControlSessions,
  Effect.gen(function*() {
    const limiter = yield* Limiter
    const entries = new Map<CertDigest, { readonly session: ControlSession; readonly place: ControlPlace }>()

    const enter = (session: ControlSession, place: ControlPlace) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const predecessor = entries.get(session.node)
          entries.set(session.node, { session, place })
          predecessor?.session.end("replaced")
        }),
        () =>
          Effect.sync(() => {
            if (entries.get(session.node)?.session === session) {
              entries.delete(session.node)
            }
          })
      )

    return {
      register: (session) =>
        hold(() => limiter.controlStream(session.source, entries.get(session.node)?.place)).pipe(
          Effect.flatMap((place) => enter(session, place)),
          Effect.uninterruptible
        ),
      find: (node) => entries.get(node)?.session,
      *all() {
        for (const { session } of entries.values()) {
          yield session
        }
      }
    }
  })
)
