import { portOf } from "@tx3/testing/localServer"
import { Effect } from "effect"
import * as http from "node:http"
import * as net from "node:net"

/** Joins a client to a port of this machine, as every name of these tests is. */
export const joined = (client: net.Socket, port: number, begin: () => void) => {
  const far = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true }, begin)
  client.pipe(far).pipe(client)
  for (const [one, other] of [[client, far], [far, client]] as const) {
    one.on("error", () => other.destroy()).on("close", () => other.destroy())
  }
}

/** An HTTP proxy that wants me:pass%word. */
export const httpProxy = Effect.gen(function*() {
  const targets: Array<string> = []
  const server = http.createServer()
  server.on("connect", (request, socket: net.Socket) => {
    const wanted = `Basic ${Buffer.from("me:pass%word").toString("base64")}`
    if (request.headers["proxy-authorization"] !== wanted) {
      socket.end("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
    } else {
      targets.push(request.url!)
      joined(socket, Number(request.url!.split(":")[1]), () => socket.write("HTTP/1.1 200 OK\r\n\r\n"))
    }
  })
  const sockets = new Set<net.Socket>()
  server.on("connection", (socket) => void sockets.add(socket))
  yield* Effect.acquireRelease(
    Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.sync(() => {
        server.close()
        sockets.forEach((socket) => socket.destroy())
      })
  )
  return { targets, port: portOf(server) }
})
