/**
 * How a socket of node:net ends other than in order: telling a reset that looks like an end, and ending so that the other end
 * finds a reset. Nothing is acquired here.
 */
import * as fs from "node:fs"
import type * as net from "node:net"
import { descriptorOf } from "./SocketCalls.js"

const oneByte = Buffer.alloc(1)

/**
 * Whether the end that a socket reports now is a reset: libuv reports one right behind unread data as a clean end, and the
 * kernel has the error for whoever reads once more. To be asked in the 'end' event at the latest.
 *
 * @since 0.1.0
 * @category getters
 */
export const endedByReset = (socket: net.Socket): boolean => {
  const fd = descriptorOf(socket)
  if (fd === undefined) {
    return false
  }
  try {
    fs.readSync(fd, oneByte)
    return false
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code !== "EAGAIN"
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
