/**
 * What comes in, from a listener or through a relay. Each connection has one fiber and one scope, from its first byte
 * until it is closed; those that are through TLS wait in a backlog until the application takes them. All of it ends
 * with the scope this was made in.
 */
import type { HandshakeError } from "@tx3/protocol/Handshake"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { NodeConfigOptions } from "../NodeConfig.js"
import { type DialError, TimedOut } from "../NodeError.js"
import type { Tx3Connection } from "../Tx3Connection.js"
import * as duplex from "./duplex.js"

export interface Inbound {
  /** Takes a connection through its handshake into the backlog. Returns at once. */
  readonly accept: (handshake: Effect.Effect<Tx3Connection, HandshakeError | DialError, Scope.Scope>) => void

  /** The backlog, taken one at a time. Ends with the scope. */
  readonly connections: Stream.Stream<Tx3Connection>
}

export const make = (config: NodeConfigOptions): Effect.Effect<Inbound, never, Scope.Scope> =>
  Effect.gen(function*() {
    const backlog = yield* Effect.acquireRelease(
      Mailbox.make<Tx3Connection>({ capacity: config.maxBacklog, strategy: "dropping" }),
      (backlog) => backlog.shutdown
    )
    const run = yield* FiberSet.makeRuntime()

    // In the order they began.
    const handshakes = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
    const bounded = <A, E, R>(handshake: Effect.Effect<A, E, R>) =>
      Effect.withFiberRuntime<A, E, R>((fiber) => {
        handshakes.add(fiber)
        const program = Effect.ensuring(handshake, Effect.sync(() => handshakes.delete(fiber)))
        const [oldest] = handshakes
        if (oldest === undefined || handshakes.size <= config.maxHandshakes) {
          return program
        }
        handshakes.delete(oldest)
        oldest.unsafeInterruptAsFork(fiber.id())
        return Effect.zipRight(Effect.logDebug("too many handshakes in progress: gave up the oldest"), program)
      })

    const timeoutMs = config.handshakeTimeoutMs
    const accept: Inbound["accept"] = (handshake) => {
      const connected = Effect.gen(function*() {
        const connection = yield* handshake.pipe(
          Effect.timeoutFail({ duration: timeoutMs, onTimeout: () => new TimedOut({ stage: "handshake", timeoutMs }) }),
          bounded
        )
        if (!backlog.unsafeOffer(connection)) {
          return yield* Effect.logDebug("too many connections wait to be taken: closed the newest")
        }
        yield* duplex.closed(connection.duplex)
      })
      run(connected.pipe(
        Effect.scoped,
        Effect.catchAll((error) => Effect.logDebug("an inbound connection failed", error)),
        Effect.catchAllDefect((defect) => Effect.logError("an inbound connection died", defect)),
        Effect.annotateLogs({ package: "@tx3/node", module: "Tx3Node" }),
        Effect.interruptible
      ))
    }

    return { accept, connections: Stream.repeatEffectOption(Effect.mapError(backlog.take, () => Option.none())) }
  })
