/**
 * Opens outgoing TCP connections. All are opened here but those that a relay's `Transport` dials: a name is resolved by
 * {@link Lookup}, and its addresses are tried as RFC 8305 (Happy Eyeballs) says. A socket is closed with the scope it was
 * opened in, and an attempt that is not taken is closed before the connect returns.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { LookupAddress } from "node:dns"
import * as net from "node:net"
import { firstOf } from "./FirstOf.js"
import { Lookup } from "./Lookup.js"

/**
 * A host, without brackets, and a port.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint {
  readonly host: string
  readonly port: number
}

/**
 * An open socket that has not been read from, and the numeric address it leads to, which a socket forgets when it closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connection {
  readonly socket: net.Socket
  readonly remoteAddress: Endpoint
}

const problems: Record<string, string> = {
  EADDRNOTAVAIL: "this machine has no address to connect from",
  EAI_AGAIN: "no name server answered",
  ECONNREFUSED: "connection refused",
  EHOSTUNREACH: "no route to this host",
  EMFILE: "too many open files in this process; raise ulimit -n",
  ENETUNREACH: "no route to this network",
  ENOTFOUND: "the name has no address",
  ETIMEDOUT: "no answer"
}

const problemOf = (cause: unknown) => {
  const { code, message } = cause as NodeJS.ErrnoException
  return problems[code ?? ""] ?? message
}

/**
 * No address of a host took a TCP connection. `failures` has each address that was tried, in that order; for a name that did
 * not resolve it has the name itself.
 *
 * @since 0.1.0
 * @category errors
 */
export class DialError extends Schema.TaggedError<DialError>("@tx3/sockets/DialError")("DialError", {
  host: Schema.String,
  port: Schema.Int,
  failures: Schema.Array(Schema.Struct({ address: Schema.String, cause: Schema.Defect }))
}) {
  /** Each address with its reason, as `reasonOf` says it; the reason alone where the host is the one address. */
  reasons(reasonOf: (cause: unknown) => string = problemOf): string {
    return this.failures.map(({ address, cause }) =>
      address === this.host ? reasonOf(cause) : `${address}: ${reasonOf(cause)}`
    ).join("; ")
  }

  override get message(): string {
    const host = net.isIPv6(this.host) ? `[${this.host}]` : this.host
    return `cannot connect to ${host}:${this.port} (${this.reasons()}); is it running and reachable?`
  }
}

/**
 * Where to connect to, and for how long to try.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Endpoint {
  /** How long one address may take, in milliseconds from the start of its attempt. */
  readonly attemptTimeoutMs: number

  /** How long all of it may take, the name's lookup included, in milliseconds. Default {@link timeoutMs}. */
  readonly timeoutMs?: number | undefined

  /** The address to connect from. Default: what the system takes. */
  readonly localAddress?: string | undefined
}

/**
 * The deadline of a connect that gives none: 20 s, the `connectionTimeoutMs` of a relay, which has no use for a connection
 * that comes later.
 *
 * @since 0.1.0
 * @category defaults
 */
export const timeoutMs = 20_000

/** The Connection Attempt Delay that RFC 8305, section 5, recommends. */
const attemptDelayMs = 250

/**
 * Connects to the first address of a host that answers. The next attempt starts 250 ms after the one before it, or at once
 * when that failed. The socket is half-open, has TCP_NODELAY and keep-alive, and an 'error' on it ends no process.
 *
 * @since 0.1.0
 * @category connecting
 */
export const connect = (options: Options): Effect.Effect<Connection, DialError, Scope.Scope> =>
  Effect.suspend(() => {
    const { host, port } = options
    const limitMs = options.timeoutMs ?? timeoutMs
    const failures: Array<{ readonly address: string; cause: Error | undefined }> = [{
      address: host,
      cause: undefined
    }]
    const fail = (missing: string) =>
      new DialError({
        host,
        port,
        failures: failures.map(({ address, cause }) => ({ address, cause: cause ?? new Error(missing) }))
      })

    return Effect.gen(function*() {
      const resolve = yield* Lookup
      const found = yield* Effect.tapError(resolve(host), ({ cause }) => Effect.sync(() => failures[0]!.cause = cause))
      const addresses = interleaved(found)
      if (Arr.isNonEmptyReadonlyArray(addresses)) {
        failures.splice(0, 1, ...addresses.map((address) => ({ address, cause: undefined })))
        return yield* firstOf(
          Arr.map(
            addresses,
            (address, index) =>
              Effect.tapError(
                attempt(address, options),
                ({ cause }) => Effect.sync(() => failures[index]!.cause = cause)
              )
          ),
          attemptDelayMs
        )
      }
      return yield* new AttemptError({ cause: new Error() })
    }).pipe(
      Effect.mapError(() => fail("the name has no address")),
      // One attempt has its own deadline.
      net.isIP(host) !== 0 && options.attemptTimeoutMs <= limitMs
        ? identity
        : Effect.timeoutFail({ duration: limitMs, onTimeout: () => fail(`no answer within ${limitMs} ms`) })
    )
  })

/** The addresses in the resolver's order with the families in turns, the first one's first (RFC 8305, section 4). */
const interleaved = (found: ReadonlyArray<LookupAddress>): ReadonlyArray<string> => {
  const family = found[0]?.family
  const [others, preferred] = Arr.partition(found, (address) => address.family === family)
  return Arr.dedupe(
    Array.from({ length: Math.max(preferred.length, others.length) }, (_, index) => [preferred[index], others[index]])
      .flat().flatMap((address) => address === undefined ? [] : [address.address])
  )
}

class AttemptError extends Data.TaggedError("AttemptError")<{ readonly cause: Error }> {}

const attempt = (address: string, { attemptTimeoutMs, localAddress, port }: Options) =>
  Effect.acquireRelease(
    Effect.sync(() => prepare(net.connect({ host: address, port, localAddress, allowHalfOpen: true, noDelay: true }))),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.tap(untilConnected),
    Effect.timeoutFail({
      duration: attemptTimeoutMs,
      onTimeout: () => new AttemptError({ cause: new Error(`no answer within ${attemptTimeoutMs} ms`) })
    }),
    Effect.map((socket): Connection => ({ socket, remoteAddress: { host: address, port } }))
  )

const untilConnected = (socket: net.Socket) =>
  Effect.async<void, AttemptError>((resume) => {
    const onConnect = () => resume(Effect.void)
    const onError = (cause: Error) => resume(new AttemptError({ cause }))
    socket.once("connect", onConnect).once("error", onError)
    return Effect.sync(() => socket.off("connect", onConnect).off("error", onError))
  })

/** `setKeepAlive` as Node 26 has it; older ones ignore the interval and the count and probe 10 times, every second. */
type SetKeepAlive = (enable: boolean, initialDelayMs: number, intervalMs: number, count: number) => void

/**
 * Gives a socket the keep-alive times of the protocol (section 5), and an error listener: a failed read or write
 * reports its error to its own caller.
 *
 * @since 0.1.0
 * @category connecting
 */
export const prepare = (socket: net.Socket): net.Socket => {
  ;(socket.setKeepAlive as SetKeepAlive)(true, 7_000, 7_000, 3)
  return socket.on("error", () => {})
}
