/**
 * The TLS handshake over a stream that is already open, in both roles. The TLS socket it makes, and with it the stream
 * below, ends with the scope; nothing else is acquired. Deadlines are the caller's (protocol, section 3).
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as net from "node:net"
import type { Duplex } from "node:stream"
import * as tls from "node:tls"
import type * as CertDigest from "./CertDigest.js"
import * as flight from "./internal/flight.js"
import { Tap } from "./internal/tap.js"
import * as PeerCertificate from "./PeerCertificate.js"
import * as Tls from "./Tls.js"

/**
 * A TLS connection and whom it is with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Secured {
  /** Paused until it has a reader. Half-close works if the stream below allows half-open. */
  readonly socket: tls.TLSSocket
  /** The digest of the certificate the other end proved to own. */
  readonly digest: CertDigest.CertDigest
}

/**
 * TLS did not come about: `closed` (the other end went away), `untrusted` (its certificate is refused; `cause` is a
 * `PeerCertificate.Refused` that says why), `oversized` (it sent more than 8 KiB before the handshake was done), `failed` (TLS
 * itself, as `cause` says; RFC 8446, section 6).
 *
 * @since 0.1.0
 * @category errors
 */
export class HandshakeError extends Schema.TaggedError<HandshakeError>("@tx3/protocol/HandshakeError")(
  "HandshakeError",
  { reason: Schema.Literal("closed", "untrusted", "oversized", "failed"), cause: Schema.optional(Schema.Defect) }
) {
  override get message(): string {
    switch (this.reason) {
      case "closed":
        return "the other end closed the connection during the TLS handshake"
      case "untrusted":
        return `the other end's certificate is not one of tx3: ${textOf(this.cause)}`
      case "oversized":
        return `the other end sent more than ${flight.maxBytes} bytes before the TLS handshake was done`
      case "failed":
        return `the TLS handshake failed: ${textOf(this.cause)}`
    }
  }
}

const textOf = (cause: unknown) => cause instanceof Error ? cause.message : String(cause)

/**
 * A connection ended without the other end's close_notify (RFC 8446, section 6.1): the other end failed or was ended, or a relay
 * or the network cut the connection off. The bytes before it may be a part of what was sent: `nothing`, `data`, or one byte of
 * 0, the `all-clear` of a relay that took this end for a node (protocol, section 4).
 *
 * @since 0.1.0
 * @category errors
 */
export class Truncated extends Schema.TaggedError<Truncated>("@tx3/protocol/Truncated")("Truncated", {
  came: Schema.Literal("nothing", "all-clear", "data")
}) {
  override get message(): string {
    return "the connection ended without TLS's close_notify"
  }
}

/**
 * After the handshake the other end sent more than it may: too many records without data, such as KeyUpdates, or more than
 * `maxBytes`. The socket is destroyed with this.
 *
 * @since 0.1.0
 * @category errors
 */
export class Flood extends Schema.TaggedError<Flood>("@tx3/protocol/Flood")("Flood", {}) {
  override get message(): string {
    return "the other end sent too many TLS records without data"
  }
}

/**
 * The options of a connection after its handshake.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How many bytes may come from the other end after the handshake, as they are on the wire. Default: any number. In any case records
   * without data are bounded: 64, and one more for every 16 records with data and every KiB of data.
   */
  readonly maxBytes?: number | undefined

  /**
   * Whether it ends as one that the other end has ended. Default false: when all bytes have been read, its socket is destroyed
   * with {@link Truncated}.
   */
  readonly allowTruncated?: boolean | undefined
}

/**
 * Waits for the other end to begin TLS.
 *
 * @since 0.1.0
 * @category constructors
 */
export const accept = (
  stream: Duplex,
  context: tls.SecureContext,
  options: Options = {}
): Effect.Effect<Secured, HandshakeError, Scope.Scope> =>
  secured(stream, options, roles.server, (tap) => new tls.TLSSocket(tap, Tls.serverOptions(context)))

/**
 * Begins TLS. Whether the digest is the expected one is for the caller to say.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = (
  stream: Duplex,
  context: tls.SecureContext,
  options: Options = {}
): Effect.Effect<Secured, HandshakeError, Scope.Scope> =>
  secured(stream, options, roles.client, (tap) => tls.connect({ socket: tap, ...Tls.clientOptions(context) }))

/** The event that ends the handshake, and the secret of what the other end sends in it, as key logs name it. */
const roles = {
  client: { secureEvent: "secureConnect", secretOfOther: "SERVER_HANDSHAKE_TRAFFIC_SECRET" },
  server: { secureEvent: "secure", secretOfOther: "CLIENT_HANDSHAKE_TRAFFIC_SECRET" }
} as const

type Role = typeof roles[keyof typeof roles]

const secured = (stream: Duplex, options: Options, role: Role, open: (tap: Tap) => tls.TLSSocket) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const inFlight = new flight.Flight(role.secretOfOther)
      const tap = new Tap(stream, inFlight, options.maxBytes ?? Infinity)
      const socket = open(tap)
      const onKeyLog = (line: Buffer) => {
        inFlight.onKeyLog(line)
        process.nextTick(tap.passFlight)
      }
      socket.on("keylog", onKeyLog).once(role.secureEvent, () => socket.off("keylog", onKeyLog))
      tap.onRefused = (error) => socket.destroy(error)
      tap.onOversized = () => socket.destroy(new HandshakeError({ reason: "oversized" }))
      tap.dataRead = () => socket.bytesRead
      tap.onFlood = () => socket.destroy(new Flood())
      endInNextTurn(socket)
      tellEnds(socket, tap, options.allowTruncated ?? false)
      nameEnds(socket, stream)
      return { inFlight, socket, tap }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.flatMap(({ inFlight, socket, tap }) =>
      untilSecure(socket, tap, role.secureEvent, (certificate) => inFlight.check(certificate)).pipe(
        // It may have been destroyed in the meantime.
        Effect.filterOrFail(() => !socket.destroyed, () => new HandshakeError({ reason: "closed" })),
        Effect.map((digest): Secured => ({ socket, digest }))
      )
    )
  )

/**
 * To end a TLS socket Node lets OpenSSL look for the other end's end, which drops what was received and not decrypted yet.
 * There is such when a socket is ended between two records of one piece, so it is ended in the next turn of the event loop.
 */
const endInNextTurn = (socket: tls.TLSSocket) => {
  const end = socket._final
  socket._final = (callback) => void setImmediate(() => end.call(socket, callback))
}

/**
 * Node does not say whether a TLS socket ends because of a close_notify or because the stream below it has ended. It has ended
 * because of the first if the second has not happened yet. In the other case the socket fails where it would have ended, which
 * is when its reader has all bytes.
 */
const tellEnds = (socket: tls.TLSSocket, tap: Tap, allowTruncated: boolean) => {
  const { emit, push } = socket
  let received = 0
  let came: Truncated["came"] = "nothing"
  socket.push = (chunk: Buffer | null, encoding) => {
    if (chunk !== null) {
      tap.gaveData(chunk.length)
      received += chunk.length
      came = received === 1 && chunk[0] === 0 ? "all-clear" : "data"
    }
    if (chunk === null && tap.secured && tap.readableEnded) {
      const error = tap.failure ?? (allowTruncated ? undefined : new Truncated({ came }))
      if (error !== undefined) {
        socket.emit = (event: string, ...args: Array<unknown>) =>
          event === "end" ? socket.destroy(error).destroyed : Reflect.apply(emit, socket, [event, ...args])
      }
    }
    return push.call(socket, chunk, encoding)
  }
}

/**
 * Over another stream than a TCP socket, Node's TLS socket does not know where it leads. One prototype for all of them, since six
 * getters of its own take 3 KB of each.
 */
const nameEnds = (socket: tls.TLSSocket, stream: Duplex) =>
  Object.assign(Object.setPrototypeOf(socket, named), { [streamBelow]: stream })

const streamBelow = Symbol("streamBelow")

const ends = ["remoteAddress", "remoteFamily", "remotePort", "localAddress", "localFamily", "localPort"] as const

const named = Object.create(
  tls.TLSSocket.prototype,
  Object.fromEntries(ends.map((name) => [name, {
    get(this: { readonly [streamBelow]: net.Socket }) {
      return this[streamBelow][name]
    }
  }]))
)

const untilSecure = (
  socket: tls.TLSSocket,
  tap: Tap,
  secureEvent: Role["secureEvent"],
  check: (certificate: Buffer) => Either.Either<CertDigest.CertDigest, PeerCertificate.Refused>
) =>
  Effect.async<CertDigest.CertDigest, HandshakeError>((resume) => {
    const onSecure = () => {
      const checked = Option.map(Tls.peerCertificate(socket), check)
      tap.secure()
      settle(Option.match(checked, {
        onNone: () => new HandshakeError({ reason: "closed" }),
        onSome: Either.mapLeft((cause) => new HandshakeError({ reason: "untrusted", cause }))
      }))
    }
    const onClose = () => settle(new HandshakeError({ reason: "closed" }))
    const onError = (cause: Error) => settle(errorOf(cause))
    // A TLS socket without a reader does not notice that the other end went away; this reads nothing but its end.
    const noticeEnd = () => void socket.read(0)
    const release = () => {
      socket.off(secureEvent, onSecure).off("close", onClose).off("end", onClose).off("error", onError)
      socket.off("readable", noticeEnd).on("error", ignoreError)
    }
    const settle = (exit: Effect.Effect<CertDigest.CertDigest, HandshakeError>) => {
      release()
      resume(exit)
    }
    socket.on(secureEvent, onSecure).on("close", onClose).on("end", onClose).on("error", onError)
    socket.on("readable", noticeEnd)
    return Effect.sync(release)
  })

const errorOf = (cause: Error): HandshakeError =>
  cause instanceof HandshakeError
    ? cause
    : cause instanceof PeerCertificate.Refused
    ? new HandshakeError({ reason: "untrusted", cause })
    : (cause as NodeJS.ErrnoException).code === "ECONNRESET"
    ? new HandshakeError({ reason: "closed" })
    : new HandshakeError({ reason: "failed", cause })

/** An error after the handshake ends the socket; its owner hears of it by 'close'. */
const ignoreError = () => {}
