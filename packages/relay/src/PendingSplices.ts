/**
 * The peers that wait for a node to dial back, each under its splice token. A token is taken once. A peer waits without a
 * fiber, until it is claimed, hangs up, is closed, at its deadline for one, or the node's control stream ends.
 *
 * It notices nodes that do not dial back any more, and ends their control streams: internal/suspicion.ts. A fiber counts
 * the seconds for that while peers wait, until the layer's scope closes.
 *
 * @since 0.1.0
 */
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Accepted } from "./Accepted.js"
import type { ControlSession } from "./ControlSession.js"
import { Elsewhere } from "./Elsewhere.js"
import { Suspicion } from "./internal/suspicion.js"
import { Limiter } from "./Limiter.js"
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

  /** Whether a peer waits under a token. */
  readonly has: (token: SpliceToken.SpliceToken) => boolean

  /** Removes and returns the entry of a token, if there is one. The caller splices or closes the peer. */
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

/** A peer that waits, and for how many seconds. */
interface Entry extends Pending {
  seconds: number
}

/** The watch on a control stream's node: whether it is suspected, and the tokens that it may still come back with. */
interface Watch {
  readonly suspicion: Suspicion
  readonly void: Set<SpliceToken.SpliceToken>
}

/**
 * Void tokens remembered of each control stream. A node takes them in their order, so the first of them are those that it
 * comes back with next.
 */
const voidTokensMax = 64

/**
 * Begins without waiting peers. It counts unclaimed tokens in `Statistics`, and ends the control stream of a node that does
 * not dial back any more, as `unresponsive`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<PendingSplices, never, Limiter | Statistics> = Layer.scoped(
  PendingSplices,
  Effect.gen(function*() {
    const limiter = yield* Limiter
    const { tokenPrefix } = yield* Elsewhere
    const statistics = yield* Statistics
    const entries = new Map<SpliceToken.SpliceToken, Entry>()
    const watches = new Map<ControlSession, Watch>()
    const voidTokens = new Map<SpliceToken.SpliceToken, ControlSession>()
    const someToWatch = Effect.unsafeMakeLatch(false)

    const forget = (tokens: Set<SpliceToken.SpliceToken>) => {
      tokens.forEach((token) => voidTokens.delete(token))
      tokens.clear()
    }

    const watch = (session: ControlSession) => {
      if (!watches.has(session)) {
        const watch = { suspicion: new Suspicion(), void: new Set<SpliceToken.SpliceToken>() }
        watches.set(session, watch)
        session.onEnd(() => {
          watches.delete(session)
          forget(watch.void)
        })
      }
    }

    const remember = (token: SpliceToken.SpliceToken, session: ControlSession) => {
      const watch = watches.get(session)
      if (watch !== undefined && watch.void.size < voidTokensMax) {
        watch.void.add(token)
        voidTokens.set(token, session)
      }
    }

    const answered = (session: ControlSession) => {
      const watch = watches.get(session)
      if (watch !== undefined) {
        watch.suspicion.answered()
        forget(watch.void)
      }
    }

    const hasSplices = ({ node }: ControlSession) => {
      let peers = limiter.counts().relays.get(node) ?? 0
      for (const { session } of entries.values()) {
        peers -= session.node === node ? 1 : 0
      }
      return peers > 0
    }

    const tick = () => {
      for (const entry of entries.values()) {
        watches.get(entry.session)?.suspicion.waited(++entry.seconds)
      }
      let open = entries.size > 0
      for (const [session, { suspicion }] of watches) {
        if (suspicion.tick(() => hasSplices(session))) {
          session.end("unresponsive")
        }
        open ||= suspicion.isOpen
      }
      if (!open) {
        someToWatch.unsafeClose()
      }
    }

    yield* someToWatch.await.pipe(
      Effect.zipRight(Effect.sleep("1 second")),
      Effect.zipRight(Effect.sync(tick)),
      Effect.forever,
      Effect.forkScoped
    )

    return {
      offer: (peer, session) => {
        const token = SpliceToken.random(tokenPrefix)
        const waiting = () => entries.has(token)
        let delivered = false
        let stopWatching = () => {}
        peer.enter("pending", () => {
          if (entries.delete(token) && delivered && !session.withdraw(token, peer.source)) {
            statistics.tokenUnclaimed()
            remember(token, session)
          }
          peer.socket.onHangUp(undefined)
          stopWatching()
        })
        entries.set(token, { peer, session, seconds: 0 })
        peer.socket.onHangUp(() => peer.turnAway("hungUp"))
        if (waiting()) {
          watch(session)
          stopWatching = session.onEnd(() => peer.turnAway("controlStreamEnded"))
        }
        if (waiting()) {
          session.deliver(token, peer.source)
          delivered = true
          someToWatch.unsafeOpen()
        }
      },

      has: (token) => entries.has(token),

      claim: (token) => {
        const entry = entries.get(token)
        entries.delete(token)
        const session = entry?.session ?? voidTokens.get(token)
        if (session !== undefined) {
          answered(session)
        }
        return entry
      },

      all: () => entries.values()
    }
  })
)
