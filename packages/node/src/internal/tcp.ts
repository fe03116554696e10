/**
 * A node's listeners. A listener ends with the scope it was opened in; its callback takes over each accepted socket, which is
 * half-open and prepared as an outgoing one is.
 */
import { type Connection, type Endpoint, prepare } from "@tx3/sockets/Dial"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import { BindError } from "../NodeError.js"

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
        server.listen({ host, port, ipv6Only: true, backlog }, () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    server.on("error", (error) => void runFork(Effect.logWarning("accept failed", error)))
    return server.address() as net.AddressInfo
  })

/** Connections that the kernel holds until they are accepted: more than come within a long turn of the event loop. */
const backlog = 4_096
