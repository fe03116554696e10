/**
 * A connection to another node: TLS bytes in both directions, and the digest of the other end. It ends when both sides have
 * ended their writing, when it is lost, when it is closed, and at the latest with a scope: the caller's for an outgoing
 * connection, the node's for an incoming one.
 */
import * as Socket from "@effect/platform/Socket"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Secured } from "@tx3/protocol/Handshake"
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import * as Reset from "@tx3/sockets/Reset"
import * as Effect from "effect/Effect"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as net from "node:net"
import type { Duplex } from "node:stream"
import * as duplex from "./Duplex.js"
import * as internalSocket from "./internal/socket.js"
import { ConnectionError } from "./NodeError.js"

/**
 * An open connection. Use one way of reading it, `readable`, `socket` or `duplex`, and one reader at a time; ways of
 * writing may be mixed. In all of them a reader that does not read makes the other end's writing wait.
 *
 * @example
 * ```ts
 * import type { Tx3Connection } from "@tx3/node"
 * import { Effect, Stream } from "effect"
 *
 * // Reads a request, up to the other end's end, and answers it.
 * export const handle = (connection: Tx3Connection.Tx3Connection) =>
 *   Effect.gen(function*() {
 *     const request = yield* Stream.mkString(Stream.decodeText(connection.readable))
 *     yield* connection.write(new TextEncoder().encode(`${connection.remoteDigest} asks ${request}`))
 *     yield* connection.end
 *   })
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface Tx3Connection {
  /** The digest of the certificate the other end proved to own. */
  readonly remoteDigest: CertDigest

  /** The other end of the TCP connection, with a numeric host: of a relayed connection, the relay. Through a proxy, the host that it was asked for. */
  readonly remoteAddress: { readonly host: string; readonly port: number }

  /**
   * 32 bytes that both ends of this TLS connection have, and no other connection: `tls-exporter` (RFC 9266). Ends that prove to
   * each other that they have the same are sure that nobody between them has opened the one and continued it in another. Fails when
   * the connection is closed.
   */
  readonly channelBinding: Effect.Effect<Uint8Array, ConnectionError>

  /**
   * The bytes that the other end sends, until its `end`. The stream reads only as fast as it is pulled. A consumer that leaves
   * early loses only the chunk at hand; running the stream again continues behind it. A connection that ends without the other
   * end's `end`, which TLS sends as close_notify, fails with `truncated` behind its last byte, unless
   * `NodeConfig.allowTruncated` accepts that as an end.
   */
  readonly readable: Stream.Stream<Uint8Array, ConnectionError>

  /** Sends bytes. Done when the operating system has them all, which is how the other end holds the sender back. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, ConnectionError>

  /** Sends all bytes of a stream, each by `write`. The writing side stays open after it; `end` is separate. */
  readonly writable: Sink.Sink<void, Uint8Array, never, ConnectionError>

  /**
   * Ends the writing side, once everything written is the operating system's; the other end may go on. Idempotent. To
   * be sure that the other end got everything, read on until it ends too.
   */
  readonly end: Effect.Effect<void, ConnectionError>

  /**
   * Closes the connection in order: everything written goes out, and then the end, so that the other end finds a complete
   * transfer. Done when the operating system has it all. Bytes that the other end still sends are dropped, and reads and writes
   * fail with `closed`. A peer that takes nothing for 5 s finds a reset; one that does not end is closed after 5 s. Idempotent.
   */
  readonly close: Effect.Effect<void>

  /**
   * Closes both sides at once, whatever has not been read or is still under way, so that the other end finds its connection
   * reset and not ended. Idempotent.
   */
  readonly reset: Effect.Effect<void>

  /**
   * The connection as @effect/platform's `Socket`. Handlers of `run` begin in the order of their chunks, up to 64 at a
   * time; when so many are not done, nothing more is read. `run` ends with the other end's `end`, once every handler is
   * done, and closes nothing. The scope of a `writer` ends the writing side, and a `CloseEvent` closes the connection.
   */
  readonly socket: Socket.Socket

  /**
   * The Node stream below, for code that wants one: half-open and paused. Its `error` is a {@link ConnectionError}; it emits
   * `end` only after the other end's. To destroy it before it has sent its own end resets the connection.
   */
  readonly duplex: Duplex
}

/** The length that RFC 9266 gives a channel binding. */
const bindingBytes = 32

/**
 * A connection over a TLS handshake that is done, and the TCP socket below it. It owns neither: both stay with the
 * scopes they were opened in, which reset the connection unless it has ended or been closed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { digest, socket: tlsSocket }: Secured,
  tcp: { readonly socket: net.Socket; readonly remoteAddress: Tx3Connection["remoteAddress"] }
): Tx3Connection => {
  DeadPeers.watch(tcp.socket)
  const write = (bytes: Uint8Array) => duplex.write(tlsSocket, bytes)
  const { destroy } = tlsSocket
  // Also where Node destroys it. An end that this end has not sent must not look like one.
  tlsSocket.destroy = (error) => {
    if (!tlsSocket.writableFinished) {
      Reset.reset(tcp.socket)
    }
    return destroy.call(tlsSocket, error && duplex.failureOf(error))
  }
  const close = duplex.close(tlsSocket, () => tcp.socket.bytesWritten - tcp.socket.writableLength)
  const reset = Effect.sync(() => {
    Reset.reset(tcp.socket)
    tlsSocket.destroy()
  })

  const readable = Stream.repeatEffectOption(duplex.read(tlsSocket))

  const run: Socket.Socket["run"] = (handler, options) =>
    Effect.zipRight(options?.onOpen ?? Effect.void, internalSocket.read(readable, handler))

  const socket = Socket.Socket.of({
    [Socket.TypeId]: Socket.TypeId,
    run,
    runRaw: run,
    writer: Effect.acquireRelease(
      Effect.succeed((chunk) => internalSocket.write({ write, close }, chunk)),
      // A scope that closes does not wait for a peer that does not read.
      () => Effect.sync(() => void tlsSocket.end())
    )
  })

  return {
    remoteDigest: digest,
    remoteAddress: tcp.remoteAddress,
    channelBinding: Effect.try({
      try: () => tlsSocket.exportKeyingMaterial(bindingBytes, "EXPORTER-Channel-Binding", Buffer.alloc(0)),
      catch: () => new ConnectionError({ reason: "closed" })
    }),
    readable,
    write,
    writable: Sink.forEach(write),
    end: duplex.end(tlsSocket),
    close,
    reset,
    socket,
    duplex: tlsSocket
  }
}
