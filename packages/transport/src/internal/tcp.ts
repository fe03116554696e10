/** What is set on every TCP socket of this project (protocol section 5). */
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import { descriptorOf } from "@tx3/sockets/SocketCalls"
import * as Fs from "node:fs"
import type * as Net from "node:net"

/**
 * Connections the kernel may hold between two turns of the event loop. Node's default of 511 drops some of a burst that
 * a relay of this size takes easily; the kernel lowers it to net.core.somaxconn.
 */
export const backlog = 4096

const keepAliveMs = 7_000
const keepAliveProbes = 3

/** `setKeepAlive` as Node 26 has it; older ones ignore the interval and the count and probe 10 times, every second. */
type SetKeepAlive = (enable: boolean, initialDelayMs: number, intervalMs: number, count: number) => void

export const keepAlive = (socket: Net.Socket) =>
  (socket.setKeepAlive as SetKeepAlive)(true, keepAliveMs, keepAliveMs, keepAliveProbes)

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

const oneByte = Buffer.alloc(1)

/**
 * Whether the 'end' that a socket emits now is a reset: libuv reports one right behind unread data as a clean end, and
 * the kernel has the error for whoever reads once more. A write would bring it out too, but only later, after the end
 * has been passed on, and not from a socket that has been shut down.
 */
export const endedByReset = (socket: Net.Socket): boolean => {
  const fd = descriptorOf(socket)
  if (fd === undefined) {
    return false
  }
  try {
    Fs.readSync(fd, oneByte)
    return false
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code !== "EAGAIN"
  }
}
