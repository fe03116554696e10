/**
 * TCP as a node uses it, out and in (protocol, section 5). A socket or a listener ends with the scope it was opened in;
 * an accepted socket belongs to whoever is called with it. Sockets are half-open, and no 'error' on one goes unhandled.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as dns from "node:dns"
import * as net from "node:net"
import { BindError, DialError } from "../NodeError.js"
import { closeOnFailure } from "./closeOnFailure.js"

/** An open socket that nobody has read from, and where it leads, which a socket forgets when it closes. */
export interface Connection {
  readonly socket: net.Socket
  readonly remoteAddress: Endpoint
}

/** A host, without brackets, and a port. */
export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** Resolves a name to all its addresses, in the order to try them. The system's resolver, unless a test replaces it. */
export class Lookup extends Context.Reference<Lookup>()("@tx3/node/internal/Lookup", {
  defaultValue: () => (host: string): Promise<ReadonlyArray<dns.LookupAddress>> =>
    dns.promises.lookup(host, { all: true })
}) {}

/** `setKeepAlive` as Node 26 has it; older ones ignore the interval and the count and probe 10 times, every second. */
type SetKeepAlive = (enable: boolean, initialDelayMs: number, intervalMs: number, count: number) => void

const prepare = (socket: net.Socket) => {
  ;(socket.setKeepAlive as SetKeepAlive)(true, 7_000, 7_000, 3)
  // What went wrong is told to whoever reads or writes at the time; this keeps it from ending the process.
  return socket.on("error", () => {})
}

const destroy = (socket: net.Socket) => Effect.sync(() => socket.destroy())

/** Connects to the first address of a host that answers. */
export const dial = (
  { host, port }: Endpoint,
  attemptTimeoutMs: number
): Effect.Effect<Connection, DialError, Scope.Scope> =>
  Effect.gen(function*() {
    const lookup = yield* Lookup
    const addresses = yield* Effect.tryPromise({
      try: () => lookup(host),
      catch: (cause) => new DialError({ host, port, failures: [{ address: host, cause }] })
    })
    const failures: Array<DialError["failures"][number]> = []
    for (const { address } of addresses) {
      const attempt = yield* Effect.either(dialAddress(address, port, attemptTimeoutMs))
      if (attempt._tag === "Right") {
        return attempt.right
      }
      failures.push({ address, cause: attempt.left.cause })
    }
    return yield* new DialError({ host, port, failures })
  })

class AttemptError extends Data.TaggedError("AttemptError")<{ readonly cause: Error }> {}

const dialAddress = (host: string, port: number, timeoutMs: number) =>
  Effect.acquireRelease(
    Effect.sync(() => prepare(net.connect({ host, port, allowHalfOpen: true, noDelay: true }))),
    destroy
  ).pipe(
    Effect.tap(untilConnected),
    Effect.timeoutFail({
      duration: timeoutMs,
      onTimeout: () => new AttemptError({ cause: new Error(`no answer within ${timeoutMs} ms`) })
    }),
    closeOnFailure,
    Effect.map((socket): Connection => ({ socket, remoteAddress: { host, port } }))
  )

const untilConnected = (socket: net.Socket) =>
  Effect.async<void, AttemptError>((resume) => {
    const onConnect = () => resume(Effect.void)
    const onError = (cause: Error) => resume(new AttemptError({ cause }))
    socket.once("connect", onConnect).once("error", onError)
    return Effect.sync(() => socket.off("connect", onConnect).off("error", onError))
  })

/**
 * Listens until the scope closes, which leaves accepted sockets alone. An accept that fails is logged and listening
 * goes on. `[::]` means IPv6 only, so that a node may bind both families on one port and is reached as it publishes.
 */
export const listen = (
  { host, port }: Endpoint,
  onConnection: (connection: Connection) => void
): Effect.Effect<net.AddressInfo, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const server = yield* Effect.acquireRelease(
      Effect.async<net.Server, BindError>((resume) => {
        const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
          prepare(socket)
          if (socket.remoteAddress === undefined || socket.remotePort === undefined) {
            socket.destroy()
          } else {
            onConnection({ socket, remoteAddress: { host: socket.remoteAddress, port: socket.remotePort } })
          }
        })
        server.once("error", (cause) => resume(new BindError({ host, port, cause })))
        server.listen({ host, port, ipv6Only: true }, () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    server.on("error", (error) => void runFork(Effect.logWarning("accept failed", error)))
    return server.address() as net.AddressInfo
  })
