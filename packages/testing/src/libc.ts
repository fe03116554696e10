/**
 * System calls for what Node cannot do: send(2) and shutdown(2) send TCP urgent data (RFC 6093) and several pieces at once,
 * setsockopt(2) bounds a receive buffer. They act on the descriptors of sockets that their callers own. The numbers are Linux's.
 */
import { descriptorOf } from "@tx3/sockets/SocketCalls"
import koffi from "koffi"
import type * as net from "node:net"

const libc = koffi.load(null)

/** Returns how many bytes the kernel took, or -1. */
export const send = libc.func("intptr_t send(int fd, void *buffer, size_t length, int flags)") as (
  fd: number,
  bytes: Uint8Array,
  length: number,
  flags: number
) => number

export const shutdown = libc.func("int shutdown(int fd, int how)") as (fd: number, how: number) => number

const setsockopt = libc.func("int setsockopt(int fd, int level, int option, void *value, uint32_t length)") as (
  fd: number,
  level: number,
  option: number,
  value: Int32Array,
  length: number
) => number

const [solSocket, soRcvbuf] = [1, 8]

/** Gives a socket a receive buffer of a fixed size, which the system enlarges by need otherwise (up to `net.ipv4.tcp_rmem`). */
export const boundReceiveBuffer = (socket: net.Socket, bytes: number): void => {
  if (setsockopt(descriptorOf(socket)!, solSocket, soRcvbuf, Int32Array.of(bytes), 4) !== 0) {
    throw new Error("SO_RCVBUF cannot be set")
  }
}

export const [msgOob, msgDontWait] = [0x1, 0x40]
export const shutWr = 1

/** The byte that tests send as urgent data. The bytes around it are different. */
export const urgentByte = Buffer.of(0xff)

/**
 * Bytes without urgent ones. Whether such a byte is part of the stream depends on when it is read: the receiver leaves the
 * last one out (RFC 6093, section 2).
 */
export const withoutUrgent = (bytes: Buffer): Buffer =>
  bytes.includes(urgentByte) ? Buffer.from(bytes.filter((byte) => byte !== urgentByte[0])) : bytes

/**
 * Sends an urgent byte if the kernel takes it at once, and returns whether it did. A call that fails for any other reason takes
 * the socket's error with it: later reads give an end. `onError` hears of it.
 */
export const sendUrgentByte = (socket: net.Socket, onError?: () => void): boolean => {
  const isSent = send(descriptorOf(socket)!, urgentByte, 1, msgOob | msgDontWait) === 1
  if (!isSent && koffi.errno() !== koffi.os.errno["EAGAIN"]) {
    onError?.()
  }
  return isSent
}

/**
 * Sends bytes, an urgent one, more bytes and the end, so that a receiver in this process finds all of it at once. They must
 * fit into the kernel's buffers.
 */
export const sendUrgentAndEnd = (socket: net.Socket, before: Uint8Array, behind: Uint8Array): void => {
  const fd = descriptorOf(socket)!
  const sent = [
    send(fd, before, before.length, 0),
    send(fd, urgentByte, 1, msgOob),
    send(fd, behind, behind.length, 0),
    shutdown(fd, shutWr)
  ]
  if (sent.join() !== [before.length, 1, behind.length, 0].join()) {
    throw new Error(`not all was sent: ${sent.join(", ")}`)
  }
}
