/**
 * A connection of a node that is carried on to a local socket: bytes both ways, each only as fast as it is taken, the end of
 * either direction passed on while the other goes on. It ends when both directions have, or one is lost. Both sides are reset
 * unless both directions ended in order, also where it is interrupted. The sockets stay with the scopes they were opened in.
 */
import * as duplex from "@tx3/node/Duplex"
import { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Reset from "@tx3/sockets/Reset"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as net from "node:net"
import type { Duplex } from "node:stream"
import { finished } from "node:stream/promises"
import * as Refusal from "./Refusal.js"

/**
 * A running passage.
 *
 * @since 0.1.0
 * @category models
 */
export interface Passage {
  /** The digest of the other end of the node's connection. */
  readonly peer: CertDigest

  /** Where that connection leads, with a numeric host: to the relay, or directly to the peer. */
  readonly via: Tx3Connection["remoteAddress"]

  /** Milliseconds since 1970. */
  readonly since: number

  /** Milliseconds since it began, by a monotonic clock. */
  readonly age: () => number

  /** Bytes carried so far, without what TLS adds. */
  readonly carried: () => { readonly fromPeer: number; readonly toPeer: number }
}

/**
 * A passage did not come to its end: a side was reset or cut off, or closed before all had been written to it.
 *
 * @since 0.1.0
 * @category errors
 */
export class Lost extends Data.TaggedError("Lost")<{ readonly side: "local" | "peer"; readonly cause: unknown }> {
  override get message() {
    return this.side === "local"
      ? "the local end closed or reset it"
      : this.cause instanceof ConnectionError && this.cause.cameOfRelay
      ? this.cause.message
      : "the peer or the relay closed or reset it"
  }
}

/**
 * The beginning and the end of a passage. `because` says that it was cut off, or that the other end refused this one.
 *
 * @since 0.1.0
 * @category models
 */
export type Event = Data.TaggedEnum<{
  Opened: { readonly passage: Passage }
  Closed: { readonly passage: Passage; readonly because: Lost | Refusal.Refused | undefined }
}>

/**
 * Constructors, `$is` and `$match` for {@link Event}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Event = Data.taggedEnum<Event>()

/**
 * Carries all there is to carry, and tells of it. With `ownDigest` the other end may refuse this one in place of sending
 * anything; then, as when a side is lost, both sides are reset. `onAnswer` runs, to its end, as soon as it has sent something else
 * than a relay sends.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (options: {
  readonly local: net.Socket
  readonly connection: Tx3Connection
  readonly onEvent: (event: Event) => Effect.Effect<void>
  readonly onAnswer?: Effect.Effect<void> | undefined
  readonly ownDigest?: CertDigest
}): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { connection, local, onEvent } = options
    const clock = yield* Effect.clock
    const currentTimeMillis = MonotonicTime.millis(clock)
    const began = currentTimeMillis()
    const behindEnd = watchEnd(local)
    const passage: Passage = {
      peer: connection.remoteDigest,
      via: connection.remoteAddress,
      since: clock.unsafeCurrentTimeMillis(),
      age: () => currentTimeMillis() - began,
      carried: () => ({ fromPeer: local.bytesWritten, toPeer: local.bytesRead + (behindEnd()?.bytes.length ?? 0) })
    }
    yield* Effect.acquireUseRelease(
      onEvent(Event.Opened({ passage })),
      () => Effect.either(carry(options, behindEnd)),
      (_, exit) =>
        onEvent(Event.Closed({
          passage,
          because: Exit.isSuccess(exit) && Either.isLeft(exit.value) ? exit.value.left : undefined
        }))
    )
  })

/** Looks behind a local socket's end when it comes, and returns what was there. */
const watchEnd = (local: net.Socket): () => Reset.BehindEnd | undefined => {
  // The kernel tells it only once, and a socket that has ended by now has not been asked.
  let behindEnd = local.readableEnded ? Reset.behindEnd(local) : undefined
  local.prependOnceListener("end", () => {
    behindEnd = Reset.behindEnd(local)
  })
  return () => behindEnd
}

const carry = (
  { connection, local, onAnswer = Effect.void, ownDigest }: Parameters<typeof run>[0],
  behindEnd: () => Reset.BehindEnd | undefined
): Effect.Effect<void, Lost | Refusal.Refused> => {
  const remote = connection.duplex
  const localEnded = Effect.suspend(() => {
    const { bytes, isReset } = behindEnd() ?? { bytes: Buffer.alloc(0), isReset: false }
    return isReset
      ? new Lost({ side: "local", cause: new Error("reset behind its last bytes") })
      : bytes.length === 0
      ? Effect.void
      : lostAt("peer", duplex.write(remote, bytes))
  })

  const outward = copied({ from: [local, "local"], to: [remote, "peer"] }).pipe(
    Effect.zipRight(localEnded),
    Effect.zipRight(lostAt("peer", duplex.end(remote)))
  )
  const begun = ownDigest === undefined
    ? Effect.void
    : Refusal.passOn(connection, {
      onAnswer,
      ownDigest,
      write: (bytes) => bytes.length === 0 ? Effect.void : lostAt("local", duplex.write(local, bytes))
    }).pipe(Effect.catchTag("ConnectionError", (cause) => new Lost({ side: "peer", cause })))
  const inward = begun.pipe(
    Effect.zipRight(copied({ from: [remote, "peer"], to: [local, "local"] })),
    Effect.zipRight(lostAt("local", duplex.end(local)))
  )
  // A socket that has ended is not read any more, and Node would not notice its reset. An empty write does; to a unix socket that
  // its program has closed it would fail.
  const probed = Effect.suspend(() =>
    local.remoteFamily !== undefined && local.readableEnded && !local.writableEnded && local.writableLength === 0
      ? lostAt("local", duplex.write(local, new Uint8Array()))
      : Effect.void
  )
  return Effect.all([outward, inward], { concurrency: "unbounded", discard: true }).pipe(
    Effect.raceFirst(Effect.forever(Effect.delay(probed, probeEveryMs))),
    // Neither side has sent the other's end where this is interrupted, as little as where one is lost.
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Effect.zipRight(resetLocal(local), connection.reset))
  )
}

/** How often a local socket is looked at that has ended its direction while the other goes on. */
const probeEveryMs = 10_000

type Side = readonly [Duplex, Lost["side"]]

/** All bytes of one side, until its end. */
const copied = ({ from: [from, fromSide], to: [to, toSide] }: { readonly from: Side; readonly to: Side }) =>
  Effect.sync(() => from.pipe(to, { end: false })).pipe(
    Effect.zipRight(Effect.raceFirst(
      lostAt(fromSide, Effect.tryPromise((signal) => finished(from, { writable: false, signal, cleanup: true }))),
      Effect.zipRight(duplex.closed(to), Effect.suspend(() => new Lost({ side: toSide, cause: to.errored })))
    )),
    Effect.ensuring(Effect.sync(() => from.unpipe(to)))
  )

const lostAt = <A>(side: Lost["side"], effect: Effect.Effect<A, unknown>) =>
  Effect.mapError(effect, (cause) => new Lost({ side, cause }))

/**
 * Resets a local socket, which tells its program that not all came through. A unix socket knows no reset: its program finds an
 * error only if it has sent what was not read, and otherwise an end.
 *
 * @since 0.1.0
 * @category running
 */
export const resetLocal = (local: net.Socket): Effect.Effect<void> => Effect.sync(() => Reset.reset(local))
