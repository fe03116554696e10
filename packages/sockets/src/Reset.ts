/**
 * Resets on sockets of node:net: detecting a reset behind an end that looks clean, and closing a socket with a reset. It owns
 * nothing.
 */
import * as fs from "node:fs"
import type * as net from "node:net"
import { descriptorOf } from "./SocketCalls.js"

/** As much as one read of libuv's takes. */
const readBytes = 64 * 1024
/** For all reads: each one's bytes are copied before the next begins. */
const readBuffer = Buffer.allocUnsafeSlow(readBytes)

/**
 * The cause of the end that a socket reports.
 *
 * @since 0.1.0
 * @category models
 */
export interface BehindEnd {
  /** Bytes that came before the end and that libuv has not read. */
  readonly bytes: Buffer
  /** Whether the end was a reset. */
  readonly isReset: boolean
}

/**
 * Asks the kernel what is behind the end that a socket reports now, once, in the 'end' event at the latest. libuv reports an
 * end too early in two cases: a reset right behind unread data passes for a clean end, and a read that urgent data cut short
 * passes for the last one when the socket's other direction has ended (POLLHUP in uv__stream_io). At most the kernel's
 * receive buffer is returned.
 *
 * @since 0.1.0
 * @category getters
 */
export const behindEnd = (socket: net.Socket): BehindEnd => {
  const fd = descriptorOf(socket)
  const pieces: Array<Buffer> = []
  const found = (isReset: boolean): BehindEnd => ({ bytes: Buffer.concat(pieces), isReset })
  if (fd === undefined) {
    return found(false)
  }
  for (;;) {
    try {
      const length = fs.readSync(fd, readBuffer)
      if (length === 0) {
        return found(false)
      }
      pieces.push(Buffer.copyBytesFrom(readBuffer, 0, length))
    } catch (cause) {
      return found((cause as NodeJS.ErrnoException).code !== "EAGAIN")
    }
  }
}

/**
 * Destroys a socket so that the other end finds a reset, whatever both have sent. A unix socket knows no reset: the other end
 * finds one only if it has sent what was not read, and otherwise an end. Does nothing to a socket that is destroyed.
 *
 * @since 0.1.0
 * @category closing
 */
export const reset = (socket: net.Socket): void => {
  if (socket.destroyed) {
    return
  }
  if (socket.connecting || socket.remoteFamily === undefined) {
    socket.destroy()
  } else if (socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished) {
    // libuv refuses a reset while it shuts the socket down, which takes a turn of the event loop.
    socket.once("finish", () => reset(socket))
  } else {
    socket.resetAndDestroy()
  }
}

/**
 * Gives a socket up: closes it if both directions have ended in order, and resets it otherwise, as its other end must not take
 * what it got for the whole.
 *
 * @since 0.1.0
 * @category closing
 */
export const abandon = (socket: net.Socket): void => {
  if (socket.readableEnded && socket.writableFinished) {
    socket.destroy()
  } else {
    reset(socket)
  }
}
