/**
 * A TCP connection over loopback to test with.
 */
import { Effect } from "effect"
import type { AddressInfo } from "node:net"
import * as net from "node:net"

/** Two ends of a TCP connection over loopback, destroyed with the scope. */
export const socketPair = Effect.acquireRelease(
  Effect.async<readonly [net.Socket, net.Socket]>((resume) => {
    const listener = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1", () => {
      const near = net.connect({
        allowHalfOpen: true,
        host: "127.0.0.1",
        port: (listener.address() as AddressInfo).port
      })
      listener.once("connection", (far) => {
        listener.close()
        resume(Effect.succeed([near, far]))
      })
    })
  }),
  (sockets) => Effect.sync(() => sockets.forEach((socket) => socket.destroy()))
)
