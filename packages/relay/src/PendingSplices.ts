/**
 * The peers that wait for a node to dial back, each under its splice token. A token is taken once. An entry ends when it
 * is claimed, when the peer hangs up, when the node's control stream ends, or when the peer's fiber is interrupted,
 * which is how its deadline comes.
 *
 * @since 0.1.0
 */
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Accepted } from "./Accepted.js"
import type { ControlSession } from "./ControlSession.js"
import { Rejected } from "./RelayError.js"

/**
 * @since 0.1.0
 * @category services
 */
export class PendingSplices extends Context.Tag("@tx3/relay/PendingSplices")<PendingSplices, {
  /** Sends the node a new token and waits until it is claimed. */
  readonly offer: (peer: Accepted, session: ControlSession) => Effect.Effect<void, Rejected>

  /** Takes the entry of a token out, if there is one: whoever gets it splices. */
  readonly claim: (token: SpliceToken.SpliceToken) => Pending | undefined

  readonly all: () => Iterable<Pending>
}>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Pending {
  readonly peer: Accepted
  readonly session: ControlSession
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<PendingSplices> = Layer.sync(PendingSplices, () => {
  const entries = new Map<SpliceToken.SpliceToken, Pending & { readonly claimed: () => void }>()

  return {
    offer: (peer, session) =>
      Effect.async<void, Rejected>((resume) => {
        const token = SpliceToken.random()
        const withdraw = () => {
          entries.delete(token)
          peer.socket.onHangUp(undefined)
          stopWatching()
        }
        const settle = (result: Effect.Effect<void, Rejected>) => {
          withdraw()
          resume(result)
        }
        const stopWatching = session.onEnd(() => settle(new Rejected({ reason: "controlStreamEnded" })))
        entries.set(token, { peer, session, claimed: () => settle(Effect.void) })
        peer.socket.onHangUp(() => settle(new Rejected({ reason: "hungUp" })))
        if (entries.has(token) && !session.deliver(token)) {
          settle(new Rejected({ reason: "controlStreamBusy" }))
        }
        return Effect.sync(withdraw)
      }),

    claim: (token) => {
      const entry = entries.get(token)
      entry?.claimed()
      return entry
    },

    all: () => entries.values()
  }
})
