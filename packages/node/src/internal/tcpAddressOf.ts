import type * as SocketServer from "@effect/platform/SocketServer"
import type * as Tx3Node from "../Tx3Node.js"

/** As much of where a node is as platform's servers can say. */
export const tcpAddressOf = (node: Tx3Node.Tx3Node["Type"]): SocketServer.TcpAddress => {
  const { host, port } = node.addresses[0] ?? { host: "0.0.0.0", port: 0 }
  return { _tag: "TcpAddress", hostname: host, port }
}
