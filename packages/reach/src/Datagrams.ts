/**
 * Datagrams over a connection between two nodes. The exposing end, which has accepted the connection, begins with a line of ASCII
 * that has the peer's digest in it; the peer answers with the same line and the exposing end's digest. Then both send frames: a length
 * of 2 bytes, big-endian, and a datagram. An end sends nothing before the other's line but its own, so that a service of the other
 * kind gets no byte where one end is for TCP and the other for UDP (docs/protocol.md, section 10). It owns what waits to be sent;
 * the connection stays with the scope it was opened in.
 *
 * @since 0.1.0
 */
import * as duplex from "@tx3/node/Duplex"
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { readExactly } from "./internal/bytes.js"
import { Decoder } from "./internal/datagramFrames.js"
import { Outbox } from "./internal/outbox.js"
import * as Refusal from "./Refusal.js"

/**
 * Datagrams both ways. Those that come are read by `receive` or `received`, one reader at a time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Datagrams {
  /**
   * Sends a datagram of up to 65535 bytes; a longer one is dropped. It never waits: where the connection takes no more, up to
   * 256 KiB wait, and the oldest are dropped.
   */
  readonly send: (datagram: Uint8Array) => void

  /**
   * Calls the handler for each datagram until the other end ends. It reads on when the promise that a handler returns is
   * settled, and meanwhile the other end's datagrams wait there.
   */
  readonly receive: (
    handler: (datagram: Uint8Array) => Promise<void> | undefined
  ) => Effect.Effect<void, ConnectionError>

  /** The datagrams that come, until the other end ends. Read only as fast as it is pulled. */
  readonly received: Stream.Stream<Uint8Array, ConnectionError>

  /** How many datagrams this end has dropped. */
  readonly dropped: () => number
}

/**
 * The other end does not exchange datagrams: it is no UDP service, or no forwarding to one.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoDatagrams extends Data.TaggedError("NoDatagrams")<{ readonly end: "exposing" | "forwarding" }> {
  override get message() {
    return this.end === "forwarding"
      ? "the other end does not expose a UDP service; forward it with --listen HOST:PORT, or have its owner expose it with " +
        "tx3 expose udp:HOST:PORT; if the address is that of a relay, use the one that tx3 expose printed"
      : "the other end connected as to a TCP service, and the service is a UDP one"
  }
}

/** How long an end waits for the other's line: longer than a connection takes to be resumed after a lost packet. */
const lineMs = 10_000

/**
 * Begins as the exposing end. Fails with {@link NoDatagrams} where the peer is none that forwards datagrams; it has been told.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { Datagrams } from "@tx3/reach"
 * import { Effect, Stream } from "effect"
 *
 * // Sends back every datagram.
 * export const program = (relay: string) =>
 *   Effect.gen(function*() {
 *     const node = yield* Tx3Node.make({ bind: [relay] })
 *     return yield* node.serve((connection) =>
 *       Effect.gen(function*() {
 *         const { received, send } = yield* Datagrams.accept(connection, node.digest)
 *         yield* Stream.runForEach(received, (datagram) => Effect.sync(() => send(datagram)))
 *       })
 *     )
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category beginning
 */
export const accept = (
  connection: Tx3Connection,
  ownDigest: CertDigest
): Effect.Effect<Datagrams, ConnectionError | NoDatagrams, Scope.Scope> =>
  Effect.gen(function*() {
    const noDatagrams = new NoDatagrams({ end: "exposing" })
    yield* connection.write(Buffer.from(Refusal.datagramsLine(connection.remoteDigest)))
    const expected = Buffer.from(Refusal.datagramsLine(ownDigest))
    const line = yield* readExactly(connection.duplex, expected.length, lineMs).pipe(
      Effect.timeoutFail({ duration: lineMs, onTimeout: () => noDatagrams }),
      Effect.catchTag("Short", () => noDatagrams)
    )
    return expected.equals(line) ? yield* over(connection) : yield* noDatagrams
  })

/**
 * Begins as the peer, on a connection that it has opened. Fails with {@link NoDatagrams} where the other end does not exchange
 * datagrams, and with `Refused` where it refuses this end; neither has got a byte then.
 *
 * @since 0.1.0
 * @category beginning
 */
export const open = (
  connection: Tx3Connection,
  ownDigest: CertDigest
): Effect.Effect<Datagrams, ConnectionError | NoDatagrams | Refusal.Refused, Scope.Scope> =>
  Effect.gen(function*() {
    const noDatagrams = new NoDatagrams({ end: "forwarding" })
    yield* Refusal.pass(connection, ownDigest).pipe(
      Effect.timeoutFail({ duration: lineMs, onTimeout: () => noDatagrams }),
      Effect.zipRight(noDatagrams),
      Effect.catchIf((error) => error._tag === "Refused" && error.reason === "datagrams", () => Effect.void)
    )
    yield* connection.write(Buffer.from(Refusal.datagramsLine(connection.remoteDigest)))
    return yield* over(connection)
  })

const over = (connection: Tx3Connection): Effect.Effect<Datagrams, never, Scope.Scope> =>
  Effect.gen(function*() {
    const outbox = new Outbox()
    yield* Effect.acquireRelease(
      Effect.sync(() => outbox.attach(connection.duplex)),
      (detach) => Effect.sync(detach)
    )
    const decoder = new Decoder()
    const next = Effect.map(duplex.read(connection.duplex), (chunk) => decoder.push(chunk))
    const receive: Datagrams["receive"] = (handler) =>
      next.pipe(
        Effect.flatMap((datagrams) => Effect.promise(() => handleEach(datagrams, handler))),
        Effect.forever,
        Effect.catchAll(Option.match({ onNone: () => Effect.void, onSome: Effect.fail }))
      )
    return {
      send: (datagram) => outbox.offer(datagram),
      receive,
      received: Stream.flattenIterables(Stream.repeatEffectOption(next)),
      dropped: () => outbox.dropped
    }
  })

const handleEach = async (datagrams: ReadonlyArray<Uint8Array>, handler: Parameters<Datagrams["receive"]>[0]) => {
  for (const datagram of datagrams) {
    const held = handler(datagram)
    if (held !== undefined) {
      await held
    }
  }
}
