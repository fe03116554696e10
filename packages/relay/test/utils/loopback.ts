/**
 * The loopback interface of this machine, and connections over it. A connection ends with the scope that it was opened in.
 */
import { Effect } from "effect"
import * as net from "node:net"
import * as os from "node:os"

/** Whether this machine has IPv6, loopback at least. */
export const hasIpv6 = Object.values(os.networkInterfaces()).flat().some((address) => address?.family === "IPv6")

/**
 * Opens connections for tests of ports that outgoing connections have. The system chooses their ports: a port that was asked for
 * could be shared with a listener. They use IPv6 if they can. Over IPv4 other tests make thousands of connections, and
 * connections to different places may share a port.
 */
export const outgoingConnections = (count: number) =>
  Effect.gen(function*() {
    const host = hasIpv6 ? "::1" : "127.0.0.1"
    const server = yield* Effect.acquireRelease(
      Effect.async<net.Server>((resume) => {
        const server = net.createServer((socket) => void socket.on("error", () => {}))
          .listen(0, host, () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    const { port } = server.address() as net.AddressInfo
    const connection = Effect.acquireRelease(
      Effect.async<net.Socket>((resume) => {
        const socket = net.connect(port, host, () => resume(Effect.succeed(socket)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
    return yield* Effect.replicateEffect(
      Effect.map(connection, (socket) => ({ socket, at: `${hasIpv6 ? "[::1]" : host}:${socket.localPort}` })),
      count
    )
  })
