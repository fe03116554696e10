/** TCP urgent data (RFC 6093), which Node cannot send. Through the descriptors of sockets that their callers own; Linux only. */
import koffi from "koffi"
import type * as net from "node:net"

const libc = koffi.load(null)
const send = libc.func("intptr_t send(int fd, void *buffer, size_t length, int flags)") as (
  fd: number,
  buffer: Uint8Array,
  length: number,
  flags: number
) => number
const shutdown = libc.func("int shutdown(int fd, int how)") as (fd: number, how: number) => number

const [msgOob, shutWr] = [1, 1]

/**
 * Sends bytes, an urgent one, more bytes and the end, so that a receiver in this process finds all of it at once. What is sent
 * must fit into the kernel's buffers.
 */
export const sendUrgentAndEnd = (socket: net.Socket, before: Uint8Array, behind: Uint8Array): void => {
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle
  const sent = [
    send(fd, before, before.length, 0),
    send(fd, Uint8Array.of(0xff), 1, msgOob),
    send(fd, behind, behind.length, 0),
    shutdown(fd, shutWr)
  ]
  if (sent.join() !== [before.length, 1, behind.length, 0].join()) {
    throw new Error(`not all was sent: ${sent.join(", ")}`)
  }
}
