/** The options of every TCP socket of this project (protocol section 5). */
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import type * as Net from "node:net"
import { keepAliveProbes, keepAliveSeconds } from "./keepAlive.js"

/**
 * Connections the kernel may hold between two turns of the event loop. Node's default of 511 drops some of a burst that
 * a relay of this size takes easily; the kernel lowers it to net.core.somaxconn.
 */
export const backlog = 4096

/** `setKeepAlive` as Node 26 has it; older ones ignore the interval and the count and probe 10 times, every second. */
type SetKeepAlive = (enable: boolean, initialDelayMs: number, intervalMs: number, count: number) => void

export const keepAlive = (socket: Net.Socket) =>
  (socket.setKeepAlive as SetKeepAlive)(true, 1_000 * keepAliveSeconds, 1_000 * keepAliveSeconds, keepAliveProbes)

/**
 * For a socket that becomes a handshake and a control stream: its end is dead that leaves bytes unacknowledged as long as
 * an idle one may be silent. The node never pauses, so nothing holds its acknowledgements back.
 */
export const limitSilence = (socket: Net.Socket) => {
  DeadPeers.limitUnacknowledged(socket)
  DeadPeers.watch(socket)
}

/** For 'error' on a socket whose 'close' is listened to: it follows, and says that there was an error. */
export const ignoreError = () => {}
