/**
 * The other ends of a relay's wire protocol as raw sockets, which can do all that a well-behaved node would not: for
 * probes and for tests. Everything is closed with the scope it was opened in.
 *
 * @since 0.1.0
 */
import type * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Handshake from "@tx3/protocol/Handshake"
import * as Identity from "@tx3/protocol/Identity"
import * as Preamble from "@tx3/protocol/Preamble"
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Tls from "@tx3/protocol/Tls"
import * as Dial from "@tx3/sockets/Dial"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Duplex } from "node:stream"

/**
 * The connection ended or failed before it gave what was asked of it.
 *
 * @since 0.1.0
 * @category errors
 */
export class Ended extends Data.TaggedError("Ended")<{
  readonly reset: boolean
  readonly received: Buffer
  /** The operating system's error, if there is one. */
  readonly cause?: unknown
}> {}

/**
 * One end of a connection, read and written by hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface RawStream {
  readonly stream: Duplex
  /** Writes, and waits until the system took it. */
  readonly send: (bytes: Uint8Array) => Effect.Effect<void, Ended>
  /** Exactly this many bytes. */
  readonly receive: (length: number) => Effect.Effect<Buffer, Ended>
  /** All bytes up to the other side's end. */
  readonly receiveAll: Effect.Effect<Buffer, Ended>
  /** Sends the end; reading goes on. */
  readonly end: Effect.Effect<void>
  /** Closes it at once: the other side sees an end, and a reset if it sends more. */
  readonly hangUp: Effect.Effect<void>
  /** Closes it at once with a reset, as the end of a process or machine does. */
  readonly reset: Effect.Effect<void>
  /** Waits until the other side ended or reset the connection without another byte. */
  readonly closed: Effect.Effect<"ended" | "reset", Ended>
}

/**
 * Takes over a Duplex, to read and write it by hand. Its errors no longer reach the process. A read that waits
 * fails with `Ended`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rawStream = (stream: Duplex): RawStream => {
  let failed = false
  stream.on("error", () => {
    failed = true
  })

  const ended = (received: Buffer) => new Ended({ reset: failed, received })

  /** Tries now, and again whenever there may be more to read. */
  const retry = (attempt: () => Effect.Effect<Buffer, Ended> | undefined) =>
    Effect.async<Buffer, Ended>((resume) => {
      const events = ["readable", "end", "error", "close"]
      const stop = () => events.forEach((event) => stream.off(event, onChange))
      const onChange = () => {
        const result = attempt()
        if (result !== undefined) {
          stop()
          resume(result)
        }
      }
      events.forEach((event) => stream.on(event, onChange))
      onChange()
      return Effect.sync(stop)
    })

  const isOver = () => stream.readableEnded || stream.destroyed

  const receive = (length: number): Effect.Effect<Buffer, Ended> =>
    retry(() => {
      const bytes: Buffer | null = stream.read(length)
      if (bytes !== null) {
        return bytes.length === length ? Effect.succeed(bytes) : ended(bytes)
      }
      return isOver() ? ended(Buffer.alloc(0)) : undefined
    })

  const receiveAll: Effect.Effect<Buffer, Ended> = Effect.suspend(() => {
    const chunks: Array<Buffer> = []
    return retry(() => {
      for (let chunk: Buffer | null = stream.read(); chunk !== null; chunk = stream.read()) {
        chunks.push(chunk)
      }
      if (!isOver()) {
        return undefined
      }
      const received = Buffer.concat(chunks)
      return failed ? ended(received) : Effect.succeed(received)
    })
  })

  return {
    stream,
    send: (bytes) =>
      Effect.async((resume) => {
        stream.write(bytes, (error) => resume(error ? ended(Buffer.alloc(0)) : Effect.void))
      }),
    receive,
    receiveAll,
    end: Effect.async((resume) => {
      stream.end(() => resume(Effect.void))
    }),
    hangUp: Effect.sync(() => stream.destroy()),
    reset: Effect.sync(() => stream instanceof Net.Socket ? stream.resetAndDestroy() : stream.destroy()),
    closed: Effect.matchEffect(receiveAll, {
      onFailure: (error) => error.received.length === 0 ? Effect.succeed("reset" as const) : error,
      onSuccess: (bytes) => bytes.length === 0 ? Effect.succeed("ended" as const) : ended(bytes)
    })
  }
}

/**
 * Where a connection comes from.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  /** Another source for the relay: 127.0.0.2 and its like are loopback addresses too. */
  readonly localAddress?: string | undefined
}

const dial = (options: Dial.Options, localAddress: string | undefined) =>
  localAddress === undefined ? Proxy.connect(options) : Dial.connect({ ...options, localAddress })

/**
 * A TCP connection to the relay that has not said anything. It goes through the `Proxy` of the context, unless it has a local
 * address of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = (
  relay: Pick<Address.Address, "host" | "port">,
  { localAddress }: ConnectOptions = {}
): Effect.Effect<RawStream, Ended, Scope.Scope> =>
  dial({ host: relay.host, port: relay.port, attemptTimeoutMs: Dial.timeoutMs }, localAddress).pipe(
    Effect.mapBoth({
      onFailure: (cause) => new Ended({ reset: true, received: Buffer.alloc(0), cause }),
      onSuccess: ({ socket }) => rawStream(socket)
    })
  )

/**
 * A registered node.
 *
 * @since 0.1.0
 * @category models
 */
export interface RawNode {
  readonly identity: Identity.Identity
  /** Of the certificate that the relay has shown. */
  readonly relayDigest: CertDigest.CertDigest
  /** The control stream, inside TLS. */
  readonly control: RawStream
  /** The connection below it. */
  readonly tcp: RawStream
  /** The next splice token. */
  readonly token: Effect.Effect<SpliceToken.SpliceToken, Ended>
  /** Takes the next token and dials back with it. */
  readonly accept: Effect.Effect<RawStream, Ended, Scope.Scope>
  /** A peer of this node that has sent its preamble. */
  readonly peer: Effect.Effect<RawStream, Ended, Scope.Scope>
}

/**
 * Registers a node and waits for the all-clear.
 *
 * @since 0.1.0
 * @category constructors
 */
export const register = (
  relay: Address.Address,
  options: ConnectOptions & { readonly identity?: Identity.Identity } = {}
): Effect.Effect<RawNode, Ended | Handshake.HandshakeError, Scope.Scope> =>
  Effect.gen(function*() {
    const identity = options.identity ?? (yield* Identity.generate)
    const tcp = yield* sendPreamble(relay, CertDigest.toBytes(Option.getOrThrow(relay.digest)), options)
    const { digest, socket } = yield* Handshake.connect(tcp.stream, Tls.secureContext(identity))
    const control = rawStream(socket)
    yield* control.receive(Preamble.allClear.length)
    const token = Effect.map(control.receive(Preamble.length), SpliceToken.fromBytes)
    return {
      identity,
      relayDigest: digest,
      control,
      tcp,
      token,
      accept: Effect.flatMap(token, (token) => dialBack(relay, token)),
      peer: sendPreamble(relay, CertDigest.toBytes(identity.digest))
    }
  })

/**
 * A connection that has sent these bytes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sendPreamble = (
  relay: Pick<Address.Address, "host" | "port">,
  bytes: Uint8Array,
  options?: ConnectOptions
): Effect.Effect<RawStream, Ended, Scope.Scope> => Effect.tap(connect(relay, options), (stream) => stream.send(bytes))

/**
 * A node's connection that has presented a splice token.
 *
 * @since 0.1.0
 * @category constructors
 */
export const dialBack = (
  relay: Address.Address,
  token: SpliceToken.SpliceToken
): Effect.Effect<RawStream, Ended, Scope.Scope> => sendPreamble(relay, SpliceToken.toBytes(token))

/**
 * A peer and the node's connection, joined by the relay.
 *
 * @since 0.1.0
 * @category constructors
 */
export const splice = (
  node: RawNode
): Effect.Effect<{ readonly peer: RawStream; readonly node: RawStream }, Ended, Scope.Scope> =>
  Effect.all({ peer: node.peer, node: node.accept })
