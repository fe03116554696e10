/**
 * The TLS handshake over a stream that is already open, in both roles. The TLS socket it makes, and with it the stream
 * below, ends with the scope; nothing else is acquired. Deadlines are the caller's (protocol, section 3).
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import * as tls from "node:tls"
import type * as CertDigest from "./CertDigest.js"
import * as Tls from "./Tls.js"

/**
 * A TLS connection and whom it is with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Secured {
  /** Paused: it reads once somebody listens, and half-close works if the stream below allows half-open. */
  readonly socket: tls.TLSSocket
  /** The digest of the certificate the other end proved to own. */
  readonly digest: CertDigest.CertDigest
}

/**
 * TLS did not come about: `closed` (the other end went away), `untrusted` (its certificate is not the well-known CA's),
 * `failed` (TLS itself, as `cause` says; RFC 8446, section 6).
 *
 * @since 0.1.0
 * @category errors
 */
export class HandshakeError extends Schema.TaggedError<HandshakeError>("@tx3/protocol/HandshakeError")(
  "HandshakeError",
  { reason: Schema.Literal("closed", "untrusted", "failed"), cause: Schema.optional(Schema.Defect) }
) {
  override get message(): string {
    switch (this.reason) {
      case "closed":
        return "the other end closed the connection during the TLS handshake"
      case "untrusted":
        return "the other end's certificate is not issued by the well-known CA: it does not speak tx3"
      case "failed":
        return `the TLS handshake failed: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
    }
  }
}

/**
 * Waits for the other end to begin TLS.
 *
 * @since 0.1.0
 * @category constructors
 */
export const accept = (
  stream: Duplex,
  context: tls.SecureContext
): Effect.Effect<Secured, HandshakeError, Scope.Scope> =>
  secured("secure", () => new tls.TLSSocket(stream, Tls.serverOptions(context)))

/**
 * Begins TLS. Whether the digest is the expected one is for the caller to say.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = (
  stream: Duplex,
  context: tls.SecureContext
): Effect.Effect<Secured, HandshakeError, Scope.Scope> =>
  secured("secureConnect", () => tls.connect({ socket: stream, ...Tls.clientOptions(context) }))

const secured = (secureEvent: "secure" | "secureConnect", open: () => tls.TLSSocket) =>
  Effect.acquireRelease(
    Effect.sync(() => endingInNextTurn(open())),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.tap((socket) => untilSecure(socket, secureEvent)),
    Effect.flatMap((socket) =>
      Option.match(Tls.peerDigest(socket), {
        onNone: () => Effect.fail(new HandshakeError({ reason: "untrusted" })),
        onSome: (digest) => Effect.succeed<Secured>({ socket, digest })
      })
    )
  )

/**
 * To end a TLS socket Node lets OpenSSL look for the other end's end, which drops what was received and not decrypted yet.
 * There is such when a socket is ended between two records of one piece, so it is ended in the next turn of the event loop.
 */
const endingInNextTurn = (socket: tls.TLSSocket) => {
  const end = socket._final
  socket._final = (callback) => void setImmediate(() => end.call(socket, callback))
  return socket
}

const untilSecure = (socket: tls.TLSSocket, secureEvent: "secure" | "secureConnect") =>
  Effect.async<void, HandshakeError>((resume) => {
    const onSecure = () => settle(Effect.void)
    const onClose = () => settle(new HandshakeError({ reason: "closed" }))
    const onError = (cause: NodeJS.ErrnoException) =>
      settle(new HandshakeError(cause.code === "ECONNRESET" ? { reason: "closed" } : { reason: "failed", cause }))
    // A TLS socket that nobody reads does not notice that the other end went away; this reads nothing but its end.
    const noticeEnd = () => void socket.read(0)
    const release = () => {
      socket.off(secureEvent, onSecure).off("close", onClose).off("end", onClose).off("error", onError)
      socket.off("readable", noticeEnd).on("error", ignoreError)
    }
    const settle = (exit: Effect.Effect<void, HandshakeError>) => {
      release()
      resume(exit)
    }
    socket.on(secureEvent, onSecure).on("close", onClose).on("end", onClose).on("error", onError)
    socket.on("readable", noticeEnd)
    return Effect.sync(release)
  })

/** An error after the handshake ends the socket; its owner hears of it by 'close'. */
const ignoreError = () => {}
