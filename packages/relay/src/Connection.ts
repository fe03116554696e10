/**
 * The program of one accepted connection: what its preamble says it is. Everything it takes goes into the connection's
 * scope. It ends when there is nothing left to decide: rejected, a control stream that ended, or, with the scope left open,
 * spliced, or a peer that waits for its node.
 *
 * A peer of a registered node and a connection that a node dialed back with are decided in one step, unless the access policy
 * has to wait: nearly all connections are one or the other. A control stream has a fiber.
 *
 * @since 0.1.0
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type * as Source from "@tx3/protocol/Source"
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Tls from "@tx3/protocol/Tls"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Accepted, Program, Referral } from "./Accepted.js"
import { Access } from "./Access.js"
import * as ControlSession from "./ControlSession.js"
import { ControlSessions } from "./ControlSessions.js"
import type { Membership } from "./Elsewhere.js"
import * as Deadlines from "./internal/deadlines.js"
import { outcomeOf } from "./internal/outcome.js"
import { Securing } from "./internal/securing.js"
import * as ThrottledLog from "./internal/throttledLog.js"
import { TokenBuckets } from "./internal/tokenBuckets.js"
import { Limiter } from "./Limiter.js"
import type { Pending } from "./PendingSplices.js"
import { PendingSplices } from "./PendingSplices.js"
import { RelayConfig } from "./RelayConfig.js"
import type { RejectionReason } from "./RelayError.js"
import { Rejected } from "./RelayError.js"
import { Splices } from "./Splices.js"
import { Statistics } from "./Statistics.js"

/**
 * A node says nothing on its control stream (protocol, section 4). This leaves room for a close_notify and a few records of TLS's
 * own, and none for a flood of them.
 */
const maxControlBytes = 1024

/**
 * Handshakes a second of one source, for each control stream that it may have. A handshake costs the event loop
 * some milliseconds, so a source takes a few percent of it by default.
 */
const handshakesPerControlStream = 2

/** Handshakes that a source can save up, in seconds: all nodes of a place may come back at once, and more than once. */
const handshakeBurstSeconds = 10

/**
 * The program, over the relay's components and its membership in a cluster, if it is in one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(membership: Membership | undefined): Effect.fn.Return<
  Program,
  never,
  Access | ControlSessions | Limiter | PendingSplices | RelayConfig | Scope.Scope | Splices | Statistics
> {
  const access = yield* Access
  const config = yield* RelayConfig
  const limiter = yield* Limiter
  const pendingSplices = yield* PendingSplices
  const sessions = yield* ControlSessions
  const splices = yield* Splices
  const statistics = yield* Statistics
  const log = yield* ThrottledLog.make
  const writeDeadlines = yield* Deadlines.make(() => config.controlWriteTimeoutMs, (stall: () => void) => stall())
  const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
  const rates = new TokenBuckets<Source.Source>(currentTimeMillis, handshakeBurstSeconds)
  const accept = yield* Securing
  const relay = config.identity.digest
  const tls = Tls.secureContext(config.identity)

  const secure = (connection: Accepted) =>
    connection.socket.toDuplex.pipe(
      Effect.flatMap((stream) => accept(stream, tls, { maxBytes: maxControlBytes })),
      Effect.mapError((error) =>
        error._tag === "HungUp" || error.reason === "closed"
          ? new Rejected({ reason: "hungUp" })
          : new Rejected({ reason: "handshakeFailed", detail: error.message })
      )
    )

  /** Counts the processor time of handshakes to their source. */
  const handshakeRate = (source: Source.Source) =>
    Effect.suspend(() =>
      rates.take(source, handshakesPerControlStream * config.maxControlStreamsPerIp)
        ? Effect.void
        : new Rejected({ reason: "maxHandshakesPerIp" })
    )

  /** Proves who a node is, and asks whether it may register. */
  const authenticated = (connection: Accepted) => {
    const { address } = connection
    return Effect.zipRight(
      access.controlStream(address),
      limiter.handshake(connection.source)(
        Effect.sync(() => connection.enter("handshake")).pipe(
          Effect.zipRight(handshakeRate(connection.source)),
          Effect.zipRight(secure(connection)),
          Effect.tap(({ digest }) => access.node(digest, address))
        )
      )
    )
  }

  const controlStream = Effect.fnUntraced(function*(connection: Accepted) {
    const { digest: node, socket: stream } = yield* authenticated(connection)
    if (stream.destroyed) {
      // While it was asked whether it may register; its predecessor must not end for it.
      return yield* new Rejected({ reason: "hungUp" })
    }
    const session = yield* ControlSession.make({
      accepted: connection,
      node,
      stream,
      writeDeadlines
    })
    yield* sessions.register(session)
    connection.enter("control")
    statistics.controlStreamBegan(session)
    session.onEnd((reason) => statistics.controlStreamEnded(session, reason))
    const who = { connection: connection.id, node: CertDigest.short(node), source: connection.source }
    if (membership !== undefined) {
      yield* membership.announce(session)
    }
    log.info("control stream registered", who)
    yield* Effect.catchAll(
      session.serve,
      ({ reason }) => Effect.sync(() => log.info("control stream ended", { ...who, reason }))
    )
  })

  const peer = (connection: Accepted, session: ControlSession.ControlSession) => {
    const answer = access.peer(session.node, connection.address)
    const outcome = outcomeOf(answer)
    return outcome === undefined
      ? Effect.flatMap(answer, () => offer(connection, session))
      : Exit.isSuccess(outcome)
      ? offer(connection, session)
      : outcome
  }

  const offer = (connection: Accepted, session: ControlSession.ControlSession) => {
    if (connection.referral === undefined) {
      const place = connection.scope.hold(limiter.relay(session, connection.source))
      if (typeof place === "string") {
        return rejected(place)
      }
    }
    pendingSplices.offer(connection, session)
    return Exit.void
  }

  const dialBack = (connection: Accepted, { peer, session }: Pending) => {
    peer.enter("spliced")
    connection.enter("spliced")
    splices.begin(peer, connection, session)
    return Exit.void
  }

  /** Takes in a connection that another relay has forwarded, after a time in which all may have changed. */
  const referred = (connection: Accepted, { host, preamble }: Referral): ReturnType<Program> => {
    if (host !== undefined) {
      const session = sessions.find(CertDigest.fromBytes(preamble))
      // Its place as a guest is of the source that had registered the node.
      return session?.source === host ? peer(connection, session) : rejected("controlStreamEnded")
    }
    const pending = pendingSplices.claim(SpliceToken.fromBytes(preamble))
    return pending === undefined ? rejected("unknownPreamble") : dialBack(connection, pending)
  }

  const accepted = (connection: Accepted, preamble: Uint8Array): ReturnType<Program> => {
    const digest = CertDigest.fromBytes(preamble)
    if (digest === relay) {
      return controlStream(connection)
    }
    const session = sessions.find(digest)
    if (session !== undefined) {
      return peer(connection, session)
    }
    const pending = pendingSplices.claim(SpliceToken.fromBytes(preamble))
    if (pending !== undefined) {
      return dialBack(connection, pending)
    }
    return membership === undefined ? rejected("unknownPreamble") : membership.forward(connection, preamble)
  }

  return (connection, preamble) =>
    connection.referral === undefined ? accepted(connection, preamble) : referred(connection, connection.referral)
})

const rejected = (reason: RejectionReason) => Exit.fail(new Rejected({ reason }))
