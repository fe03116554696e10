/**
 * Reads the PROXY header of one socket of Node, which is this module's until the header is complete, wrong or late, or the
 * socket closed.
 */
import type * as Net from "node:net"
import type { Header } from "./proxyProtocol.js"
import * as ProxyProtocol from "./proxyProtocol.js"
import * as Tcp from "./tcp.js"

export interface Named {
  readonly source: Header["source"]
  /** The bytes that have been read behind the header. */
  readonly rest: Buffer
}

/**
 * Calls back once, with what is wrong if it is a text, or undefined if nothing was and nothing is to come of it. Returns
 * how to give up, which calls back too.
 */
export const readHeader = (
  socket: Net.Socket,
  timeoutMs: number,
  onOver: (outcome: Named | string | undefined) => void
): () => void => {
  let received = Buffer.alloc(0)
  const over = (outcome: Named | string | undefined) => {
    clearTimeout(timer)
    socket.off("data", onData).off("end", onHangUp).off("close", onHangUp)
    onOver(outcome)
  }
  const onData = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    const header = ProxyProtocol.parse(received)
    if (header !== undefined) {
      over(typeof header === "string" ? header : { source: header.source, rest: received.subarray(header.length) })
    }
  }
  // The health check of a proxy connects and hangs up.
  const onHangUp = () => over(received.length === 0 ? undefined : ProxyProtocol.hungUp)
  const timer = setTimeout(() => over(ProxyProtocol.late(timeoutMs)), timeoutMs)
  socket.on("data", onData).on("end", onHangUp).on("close", onHangUp).on("error", Tcp.ignoreError)
  return () => over(undefined)
}
