/**
 * The TCP underneath a relay: listens, accepts, reads each connection's 32-byte preamble, dials, notices hang-ups, hands a
 * connection over as a Node Duplex, and splices two connections into one. It knows nothing of digests, limits or nodes.
 *
 * It owns every descriptor it opens until the connection is closed. Listeners end with the scope they were opened in;
 * accepted connections end when their owner closes them, dialed ones also with the scope they were dialed in, and both when
 * the splice they were given to ends.
 *
 * Two things are callbacks on purpose. An accept cannot wait for a fiber, and an idle splice must not hold one: a
 * relay keeps thousands of them. Everything that is awaited is an Effect.
 *
 * @since 0.1.0
 */
import { hostPort } from "@tx3/protocol/Address"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type { Rate } from "./Rate.js"

/**
 * The TCP beneath a relay. Its methods have the same meaning in every implementation.
 *
 * @since 0.1.0
 * @category services
 */
export class Transport extends Context.Tag("@tx3/transport/Transport")<Transport, {
  /** Which implementation this is, for logs and metrics: `portable` or `kernel`. */
  readonly kind: "portable" | "kernel"

  /** Descriptors that it may hold at a time beside one for each connection and each listener. */
  readonly ownDescriptors: number

  /**
   * Listens until the scope closes, which stops accepting and leaves accepted connections alone. The callback owns
   * each connection that it gets, and has to close it.
   */
  readonly listen: (options: ListenOptions) => Effect.Effect<Bound, ListenError, Scope.Scope>

  /**
   * Connects to a numeric address, sends the first bytes, and gives a connection that has no preamble to read: its
   * `preamble` is empty. The scope closes it. Interruption and the deadline close it at once.
   */
  readonly dial: (options: DialOptions) => Effect.Effect<Connection, DialError, Scope.Scope>

  /**
   * Joins two connections whose preambles have been read: bytes that followed a preamble go first, half-close is
   * passed on, a reset on one side resets the other, and closing either connection ends both. Returns at once;
   * `onEnd` is called exactly once, when both sockets are closed, and never before this has returned.
   */
  readonly splice: (
    left: Connection,
    right: Connection,
    options: SpliceOptions,
    onEnd: (report: SpliceReport) => void
  ) => Splice
}>() {}

/**
 * Where to listen, and the callbacks for connections and errors.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListenOptions {
  /** A numeric IPv4 or IPv6 address. */
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
  /** Whether `::` leaves IPv4 to another listener. False: `::` takes both families. */
  readonly ipv6Only: boolean
  /**
   * Addresses and CIDR ranges of proxies. A connection from one of them must begin with a header of the PROXY protocol,
   * version 1 or 2, and is not reported before that is complete. A connection from any other address must have none: its
   * bytes are its preamble. An entry that is not an address is a defect.
   */
  readonly proxies?: ReadonlyArray<string> | undefined
  /** Called in the event loop for each accepted connection; it must not throw. */
  readonly onConnection: (connection: Connection) => void
  /** Called for each accept that failed and each proxy's connection that was refused; listening goes on. */
  readonly onAcceptError: (error: AcceptError) => void
}

/**
 * The address a listener got.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bound {
  readonly host: string
  readonly port: number
}

/**
 * Where to connect to, for how long to try, and the first bytes to send.
 *
 * @since 0.1.0
 * @category models
 */
export interface DialOptions extends Bound {
  /** The bytes that the other end reads first: at least one, and few enough to fit into an empty socket. */
  readonly first: Uint8Array
  /** Milliseconds from the call until the other end must have accepted. */
  readonly timeoutMs: number
}

/**
 * One TCP connection, accepted or dialed. TCP_NODELAY is set, and keep-alive, which finds a dead end within half a minute while
 * nothing is unacknowledged. Where something is, on a splice or a Duplex, Linux' tcp_info tells within the same time,
 * on either implementation, if koffi can be loaded (`DeadPeers` of @tx3/sockets).
 *
 * @since 0.1.0
 * @category models
 */
export interface Connection {
  /**
   * Numeric, as the socket gives it: an IPv4 peer of a dual-stack listener is `::ffff:192.0.2.1`. Through a proxy it is
   * the address in the PROXY header, or the proxy's own if the header has none.
   */
  readonly remoteAddress: string
  readonly remotePort: number

  /** The first 32 bytes, once. The bytes behind them stay with the connection for the next stage. */
  readonly preamble: Effect.Effect<Uint8Array, HungUp>

  /**
   * The same for a caller without a fiber: calls `listener` once, immediately if it can, with the preamble, or with `undefined`
   * if the remote end has hung up before. There is one listener at a time; `undefined` removes it.
   */
  readonly onPreamble: (listener: ((preamble: Uint8Array | undefined) => void) | undefined) => void

  /**
   * Registers `listener` for the remote end's FIN or reset before the connection is read. Calls it once, immediately if
   * either has already happened. There is one listener at a time; `undefined` removes it. Bytes sent meanwhile are kept,
   * up to a bound behind which a hang-up may go unnoticed until the connection is used.
   */
  readonly onHangUp: (listener: (() => void) | undefined) => void

  /** Gives the connection away as a Duplex whose first bytes are those behind the preamble. `close` still ends it. */
  readonly toDuplex: Effect.Effect<Duplex, HungUp>

  /** Closes the socket whatever it is used for; a spliced one is reset, and its splice with it. Idempotent. */
  readonly close: Effect.Effect<void>

  /** The same for a caller without a fiber. */
  readonly closeNow: () => void

  /** The same, and the remote end finds a reset if the socket is neither spliced nor a Duplex. */
  readonly resetNow: () => void
}

/**
 * When a splice ends by itself, and how fast it may be.
 *
 * Silent is a splice that carries no byte and of whose bytes no receiver acknowledges one. A slow reader that never
 * pauses is not cut, though the kernel holds all that it has still to read. The kernel is asked only when the time is
 * over, so with bytes in its queue a silence may last twice as long before the splice ends. Where it cannot be asked
 * (without koffi, or not on Linux), a splice does not end while bytes wait in this process for a receiver.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpliceOptions {
  /** Milliseconds of silence after which a half-closed splice ends. */
  readonly lingerTimeoutMs: number
  /** Milliseconds of silence after which a splice that is open both ways ends; undefined: never. */
  readonly idleTimeoutMs: number | undefined
  /**
   * The rates that bound the splice. It takes bytes only when each of them has some to give, and each counts them. A splice
   * that waits for a rate is not silent.
   */
  readonly rates: ReadonlyArray<Rate>
}

/**
 * A running splice.
 *
 * @since 0.1.0
 * @category models
 */
export interface Splice {
  /** Bytes taken from each side so far, to be given to the other. */
  readonly carried: () => Carried

  /** Puts a splice that began without rates under these. */
  readonly limit: (rates: ReadonlyArray<Rate>) => void
}

/**
 * Byte counts of a splice, by the side that sent them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Carried {
  readonly fromLeft: number
  readonly fromRight: number
}

/**
 * How a splice ended: `completed` (both sides sent their end), `reset` (one side's connection failed), `lingered` (half-closed
 * and silent too long), `idle` (silent too long), `closed` (by this end), or `failed` (what carried it died, which is
 * reported by itself).
 *
 * @since 0.1.0
 * @category models
 */
export type SpliceOutcome = "completed" | "reset" | "lingered" | "idle" | "closed" | "failed"

/**
 * How a splice ended, and what it carried from begin to end.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpliceReport extends Carried {
  readonly outcome: SpliceOutcome
}

/**
 * The remote end closed or reset the connection before it came to anything.
 *
 * @since 0.1.0
 * @category errors
 */
export class HungUp extends Data.TaggedError("HungUp") {
  override readonly message = "the remote end hung up"
}

/**
 * An address could not be listened on.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenError extends Data.TaggedError("ListenError")<{
  readonly host: string
  readonly port: number
  readonly cause: NodeJS.ErrnoException
}> {
  override get message() {
    return `cannot listen on ${hostPort(this.host, this.port)}: ${
      listenAdvice[this.cause.code ?? ""] ?? this.cause.message
    }`
  }
}

/**
 * An address did not take a connection: refused, unreachable, no answer in time (`ETIMEDOUT`), or no descriptor left.
 *
 * @since 0.1.0
 * @category errors
 */
export class DialError extends Data.TaggedError("DialError")<{
  readonly host: string
  readonly port: number
  readonly cause: NodeJS.ErrnoException
}> {
  override get message() {
    return `cannot connect to ${hostPort(this.host, this.port)}: ${this.cause.message}`
  }
}

const listenAdvice: Record<string, string> = {
  EADDRINUSE:
    "another program listens there already, or has a connection from that port; stop it or choose another port",
  EADDRNOTAVAIL: "this machine has no such address; bind one of its own, or 0.0.0.0 or [::] for all of them",
  EACCES: "not permitted; ports below 1024 need privileges, choose a higher one",
  EAFNOSUPPORT: "this machine does not support that address family"
}

/**
 * A connection could not be accepted, for want of descriptors or memory, or because a proxy did not say in time and in
 * proper form for whom it connected. On the portable transport libuv closes what comes in beyond the descriptor limit
 * (EMFILE) without a word.
 *
 * @since 0.1.0
 * @category errors
 */
export class AcceptError extends Data.TaggedError("AcceptError")<{ readonly cause: NodeJS.ErrnoException }> {
  override get message() {
    return `accept failed: ${this.cause.message}`
  }
}
