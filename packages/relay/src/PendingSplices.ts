/**
 * The peers that wait for a node to dial back, each under its splice token. A token is taken once. A peer waits without a
 * fiber, until it is claimed, hangs up, is closed, at its deadline for one, or the node's control stream ends.
 *
 * @since 0.1.0
 */
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Accepted } from "./Accepted.js"
import type { ControlSession } from "./ControlSession.js"
import { Statistics } from "./Statistics.js"

/**
 * The peers that wait for their nodes to dial back.
 *
 * @since 0.1.0
 * @category services
 */
export class PendingSplices extends Context.Tag("@tx3/relay/PendingSplices")<PendingSplices, {
  /** Sends the node a new token. The peer is `pending` until that is claimed, or is turned away. */
  readonly offer: (peer: Accepted, session: ControlSession) => void

  /** Takes the entry of a token out, if there is one: whoever gets it splices, or closes the peer. */
  readonly claim: (token: SpliceToken.SpliceToken) => Pending | undefined

  /** All that wait, the longest first. */
  readonly all: () => Iterable<Pending>
}>() {}

/**
 * A peer that waits, and the control session of the node it waits for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pending {
  readonly peer: Accepted
  readonly session: ControlSession
}

/**
 * Begins with nobody waiting. Tokens that nobody came back with are told to `Statistics`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<PendingSplices, never, Statistics> = Layer.effect(
  PendingSplices,
  Effect.map(Statistics, (statistics) => {
    const entries = new Map<SpliceToken.SpliceToken, Pending>()

    return {
      offer: (peer, session) => {
        const token = SpliceToken.random()
        const waiting = () => entries.has(token)
        let stopWatching = () => {}
        peer.enter("pending", () => {
          if (entries.delete(token)) {
            statistics.tokenUnclaimed()
          }
          peer.socket.onHangUp(undefined)
          stopWatching()
        })
        entries.set(token, { peer, session })
        peer.socket.onHangUp(() => peer.turnAway("hungUp"))
        if (waiting()) {
          stopWatching = session.onEnd(() => peer.turnAway("controlStreamEnded"))
        }
        if (waiting() && !session.deliver(token)) {
          peer.turnAway("controlStreamBusy")
        }
      },

      claim: (token) => {
        const entry = entries.get(token)
        entries.delete(token)
        return entry
      },

      all: () => entries.values()
    }
  })
)
