/**
 * As much of a relay as a node can tell apart from one (protocol, section 4), for a test to play it, well or badly:
 * what arrives is handed over as it is. A connection whose preamble is the relay's digest becomes a control stream, any
 * other is taken for a node dialing back.
 */
import * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Handshake from "@tx3/protocol/Handshake"
import type { Identity } from "@tx3/protocol/Identity"
import * as Tls from "@tx3/protocol/Tls"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import type { TLSSocket } from "node:tls"

export interface FakeRelay {
  /** How many connections it has accepted. */
  readonly accepted: () => number
  readonly address: Address.AddressWithDigest
  /** The next control stream. It waits for the all-clear. */
  readonly control: Effect.Effect<TLSSocket>
  /** Resets every connection, as the end of its machine does. */
  readonly resetAll: () => void
  /** The next connection with another preamble. */
  readonly dialBack: Effect.Effect<{ readonly preamble: string; readonly socket: net.Socket }>
}

export const allClear = Uint8Array.of(0)

export const make = (options: {
  readonly identity: Identity
  /** Default: any free one. */
  readonly port?: number
  /** Whether control streams are closed as soon as they say that they are. */
  readonly refuses?: boolean
}): Effect.Effect<FakeRelay, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = Tls.secureContext(options.identity)
    const controls = yield* Mailbox.make<TLSSocket>()
    const dialBacks = yield* Mailbox.make<{ readonly preamble: string; readonly socket: net.Socket }>()
    const run = yield* FiberSet.makeRuntime()
    let accepted = 0
    const sockets = new Set<net.Socket>()

    const connection = (socket: net.Socket) =>
      Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        const preamble = yield* read32(socket)
        if (preamble !== options.identity.digest) {
          yield* dialBacks.offer({ preamble, socket })
        } else if (options.refuses) {
          return
        } else {
          yield* controls.offer((yield* Handshake.accept(socket, context)).socket)
        }
        yield* Effect.async<void>((resume) => void socket.once("close", () => resume(Effect.void)))
      }).pipe(Effect.scoped, Effect.ignore)

    const server = yield* Effect.acquireRelease(
      Effect.async<net.Server>((resume) => {
        const server = net.createServer({ allowHalfOpen: true }, (socket) => {
          accepted++
          sockets.add(socket)
          socket.once("close", () => sockets.delete(socket))
          socket.on("error", () => {})
          run(connection(socket))
        })
        server.listen({ host: "127.0.0.1", port: options.port ?? 0 }, () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    const { port } = server.address() as net.AddressInfo
    return {
      accepted: () => accepted,
      address: new Address.Address({ scheme: "tx3-rst", host: "127.0.0.1", port, digest: Option.none() }).withDigest(
        options.identity.digest
      ),
      resetAll: () => sockets.forEach((socket) => socket.resetAndDestroy()),
      control: Effect.orDie(controls.take),
      dialBack: Effect.orDie(dialBacks.take)
    }
  })

const read32 = (socket: net.Socket) =>
  Effect.async<string>((resume) => {
    const attempt = () => {
      const bytes = socket.read(32)
      if (bytes !== null) {
        socket.off("readable", attempt)
        resume(Effect.succeed(CertDigest.fromBytes(bytes)))
      }
    }
    socket.on("readable", attempt)
  })
