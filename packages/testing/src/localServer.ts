/** A server of a test's own. The scope that it was made in closes it and destroys the sockets that it accepted. */
import type { Scope } from "effect"
import { Effect } from "effect"
import * as net from "node:net"

/**
 * Listens at a free port of 127.0.0.1, or at a unix socket's path. Errors of its sockets are not the test's: `onConnection` may
 * look at them.
 */
export const localServer = (
  onConnection: (socket: net.Socket) => void,
  { path, ...options }: net.ServerOpts & { readonly path?: string | undefined } = {}
): Effect.Effect<net.Server, never, Scope.Scope> =>
  Effect.suspend(() => {
    const sockets = new Set<net.Socket>()
    return Effect.acquireRelease(
      Effect.async<net.Server>((resume) => {
        const server = net.createServer(options, (socket) => {
          sockets.add(socket.on("error", () => {}).once("close", () => sockets.delete(socket)))
          onConnection(socket)
        })
        server.listen(path === undefined ? { host: "127.0.0.1", port: 0 } : { path }, () =>
          resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          sockets.forEach((socket) =>
            socket.destroy()
          )
        })
    )
  })

export const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port
