/**
 * UDP sockets of this machine, each closed with the scope it was opened in. A datagram that cannot be sent is lost, as on any
 * other part of its way.
 */
import { Lookup } from "@tx3/sockets/Lookup"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as dgram from "node:dgram"

interface Endpoint {
  readonly host: string
  readonly port: number
}

/** A socket could not be opened, as `cause` says. */
export class UdpError extends Data.TaggedError("UdpError")<{ readonly cause: unknown }> {}

/** What the system may not have taken yet. Behind it, reading waits, and the other end's oldest datagrams make room. */
const maxUnsentBytes = 256 * 1024

/** Of a numeric host: the socket's type, and a look-up that asks nobody. */
const open = (address: string): Effect.Effect<dgram.Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const isIPv6 = address.includes(":")
      return dgram.createSocket({
        type: isIPv6 ? "udp6" : "udp4",
        ipv6Only: isIPv6,
        lookup: (host, _, callback) => callback(null, host, isIPv6 ? 6 : 4)
      }).on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.close())
  )

const settled = (socket: dgram.Socket, begin: (done: () => void) => void) =>
  Effect.async<void, UdpError>((resume) => {
    const onError = (cause: Error) => resume(Effect.fail(new UdpError({ cause })))
    socket.once("error", onError)
    const done = () => {
      socket.off("error", onError)
      resume(Effect.void)
    }
    begin(done)
  })

/** Binds a socket to a numeric address. */
export const bind = (
  { host, port }: Endpoint,
  onDatagram: (socket: dgram.Socket, datagram: Buffer, from: dgram.RemoteInfo) => void
): Effect.Effect<{ readonly port: number }, UdpError, Scope.Scope> =>
  Effect.gen(function*() {
    const socket = yield* open(host)
    yield* settled(socket, (done) => socket.bind({ address: host, port, exclusive: true }, done))
    socket.on("message", (datagram, from) => onDatagram(socket, datagram, from))
    return { port: socket.address().port }
  })

/** Opens a socket that sends to one endpoint and takes from no other. Of a name it is the first address. */
export const connect = (
  { host, port }: Endpoint,
  timeoutMs: number
): Effect.Effect<dgram.Socket, UdpError, Scope.Scope> =>
  Effect.gen(function*() {
    const resolve = yield* Lookup
    const [found] = yield* Effect.mapError(resolve(host), ({ cause }) => new UdpError({ cause }))
    if (found === undefined) {
      return yield* new UdpError({ cause: new Error("the name has no address") })
    }
    const socket = yield* open(found.address)
    yield* settled(socket, (done) => {
      socket.connect(port, found.address, (error?: Error) => error ? socket.emit("error", error) : done())
    })
    return socket
  }).pipe(Effect.timeoutFail({
    duration: timeoutMs,
    onTimeout: () => new UdpError({ cause: new Error(`no answer within ${timeoutMs} ms`) })
  }))

/** Sends a datagram. Returns a promise where the system has enough for now; it never rejects. */
export const send = (
  socket: dgram.Socket,
  datagram: Uint8Array,
  { onError, to }: { readonly onError?: (cause: Error) => void; readonly to?: dgram.RemoteInfo } = {}
): Promise<void> | undefined => {
  let sent: (() => void) | undefined
  const done = (error: Error | null) => {
    if (error !== null) {
      onError?.(error)
    }
    sent?.()
  }
  try {
    if (to === undefined) {
      socket.send(datagram, done)
    } else {
      socket.send(datagram, to.port, to.address, done)
    }
    return socket.getSendQueueSize() <= maxUnsentBytes ? undefined : new Promise((resolve) => {
      sent = resolve
    })
  } catch {
    // The socket is closed: its flow ends.
    return undefined
  }
}
