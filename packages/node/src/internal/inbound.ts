/**
 * Inbound connections, from a listener or through a relay. Each has one fiber and one scope, from its first byte until it is
 * closed. Connections that have completed TLS wait in a backlog until the application takes them. All end with the scope in
 * which this was made.
 */
import * as Handshake from "@tx3/protocol/Handshake"
import * as DescriptorLimit from "@tx3/sockets/DescriptorLimit"
import type * as Dial from "@tx3/sockets/Dial"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as net from "node:net"
import type { SecureContext } from "node:tls"
import * as duplex from "../Duplex.js"
import type { NodeConfigOptions } from "../NodeConfig.js"
import { type DialError, type ProxyError, TimedOut } from "../NodeError.js"
import * as Tx3Connection from "../Tx3Connection.js"
import * as Admission from "./admission.js"
import { ThrottledLog } from "./throttledLog.js"

/** A connection that comes in, before TLS. */
export interface Arrival {
  readonly from: Admission.Party
  /** The TCP connection: the accepted one, or one that is dialed back. */
  readonly open: Effect.Effect<Dial.Connection, DialError | ProxyError, Scope.Scope>
}

export interface Inbound {
  /** Takes a connection through its handshake into the backlog. Returns at once, and whether it was admitted. */
  readonly accept: (arrival: Arrival) => boolean

  /** The backlog, taken one at a time. Ends with the scope. */
  readonly connections: Stream.Stream<Tx3Connection.Tx3Connection>
}

interface Waiting {
  readonly from: Admission.Party
  readonly connection: Tx3Connection.Tx3Connection
  /** Reads nothing but its end. */
  readonly noticeEnd: () => void
}

export const make = (
  config: NodeConfigOptions,
  context: SecureContext
): Effect.Effect<Inbound, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const now = () => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)
    const descriptors = Option.getOrElse(yield* DescriptorLimit.descriptorLimit, () => Infinity)
    const admission = Admission.make(config, descriptors, now)

    // In the order they came.
    const backlog = new Set<Waiting>()
    const available = Effect.unsafeMakeLatch(false)
    let ended = false
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        ended = true
        available.unsafeOpen()
      })
    )
    const run = yield* FiberSet.makeRuntime()
    const annotated = Effect.annotateLogs({ package: "@tx3/node", module: "Tx3Node" })
    const log = new ThrottledLog(now, (effect) => void run(annotated(effect)))

    const wait = (waiting: Waiting) => {
      const most = admission.shareOf(config.maxBacklog)
      const { connection: { remoteDigest }, from } = waiting
      const others = [...backlog]
      const isFull = others.length >= config.maxBacklog ||
        others.filter(({ connection }) => connection.remoteDigest === remoteDigest).length >= most ||
        (from.kind === "source" && others.filter((other) => other.from.name === from.name).length >= most)
      if (!isFull) {
        backlog.add(waiting)
        available.unsafeOpen()
        // It has no reader, and Node would not notice a reset.
        waiting.connection.duplex.on("readable", waiting.noticeEnd)
      }
      return !isFull
    }

    const leave = (waiting: Waiting) => {
      backlog.delete(waiting)
      waiting.connection.duplex.off("readable", waiting.noticeEnd)
      if (backlog.size === 0 && !ended) {
        available.unsafeClose()
      }
    }

    const take: Effect.Effect<Tx3Connection.Tx3Connection, Option.Option<never>> = Effect.suspend(() => {
      const [first] = backlog
      if (ended) {
        return Effect.fail(Option.none())
      }
      if (first === undefined) {
        return Effect.zipRight(available.await, take)
      }
      leave(first)
      return Effect.succeed(first.connection)
    })

    const timeoutMs = config.handshakeTimeoutMs
    const secured = (place: Admission.Place, open: Arrival["open"]) =>
      Effect.withFiberRuntime<
        Tx3Connection.Tx3Connection,
        Handshake.HandshakeError | DialError | ProxyError | TimedOut,
        Scope.Scope
      >(
        (fiber) => {
          let socket: net.Socket | undefined
          place.begin({
            received: () => socket?.bytesRead ?? 0,
            giveUp: () => {
              log.warn("too many handshakes in progress: gave up one that made no progress")
              fiber.unsafeInterruptAsFork(fiber.id())
            }
          })
          return Effect.gen(function*() {
            const connection = yield* open
            socket = connection.socket
            return Tx3Connection.make(yield* Handshake.accept(socket, context, config), connection)
          }).pipe(
            Effect.timeoutFail({
              duration: timeoutMs,
              onTimeout: () => new TimedOut({ stage: "handshake", timeoutMs })
            }),
            Effect.ensuring(Effect.sync(place.secured))
          )
        }
      )

    const serve = (place: Admission.Place, { from, open }: Arrival) =>
      Effect.gen(function*() {
        const connection = yield* secured(place, open)
        const waiting: Waiting = { from, connection, noticeEnd: () => void connection.duplex.read(0) }
        if (!wait(waiting)) {
          return log.warn("too many connections wait to be taken: closed the newest", { from: from.name })
        }
        yield* Effect.ensuring(duplex.closed(connection.duplex), Effect.sync(() => leave(waiting)))
      })

    const accept: Inbound["accept"] = (arrival) => {
      const place = admission.enter(arrival.from)
      if (typeof place === "string") {
        log.warn(refusals[place], { from: arrival.from.name })
        return false
      }
      const fiber = run(
        serve(place, arrival).pipe(
          Effect.scoped,
          Effect.catchAll((error) => Effect.logDebug("an inbound connection failed", error)),
          Effect.catchAllDefect((defect) => Effect.logError("an inbound connection died", defect)),
          Effect.annotateLogs({ package: "@tx3/node", module: "Tx3Node" }),
          Effect.interruptible
        )
      )
      // Not in the fiber, which may be interrupted before it begins.
      fiber.addObserver(place.leave)
      return true
    }

    return { accept, connections: Stream.repeatEffectOption(take) }
  })

const refusals: Record<Admission.Refusal, string> = {
  maxInbound: "refused a connection: there are maxInbound of them",
  descriptors: "refused a connection: the descriptor limit leaves no room for more; raise it (ulimit -n)",
  maxInboundPerSource: "refused a connection: its source has maxInboundPerSource of them",
  maxShareOfSource: "refused a connection: its relay has maxShareOfSource of maxInbound"
}
