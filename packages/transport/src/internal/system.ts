/**
 * The calls of the system that a worker of the kernel transport makes, and the numbers in them. `descriptors.ts` makes them
 * to Linux; tests make them to a simulated kernel.
 *
 * Results are Linux's: a count, or the negative errno.
 */
import type { TcpInfo } from "@tx3/sockets/TcpInfo"

/** A file descriptor. The code that calls the system keeps it and passes it on, and never looks into it. */
export type Descriptor = number & { readonly Descriptor: unique symbol }

/** A thread that may own descriptors. */
export type Owner = number

/** The thread that decides. */
export const mainThread: Owner = 255

/** A pipe, and the bytes that it holds. */
export interface Pipe {
  readonly from: Descriptor
  readonly to: Descriptor
  bytes: number
}

/** An accepted connection. */
export interface Incoming {
  readonly socket: Descriptor
  readonly host: string
  readonly port: number
}

/** `EAGAIN`: not now. */
export const again = -11
/** `ECONNABORTED`, `EINTR`, `EPROTO`: who wanted to connect has gone again. */
export const goneAgain: ReadonlyArray<number> = [-103, -4, -71]
/** `EMFILE`, `ENFILE`: the process, or the system, has no descriptor left. */
export const noDescriptors: ReadonlyArray<number> = [-24, -23]

// Bits of epoll events.
export const epollIn = 0x1
/** TCP urgent data have come (RFC 6093). */
export const epollUrgent = 0x2
export const epollOut = 0x4
export const epollErr = 0x8
export const epollHup = 0x10
export const epollRdHup = 0x2000
/** The remote end has sent its end, or is gone. */
export const hangUps = epollRdHup | epollHup | epollErr

/** The bytes that a direction moves at a time. More saves no time any more, and less costs some. */
export const pipeBytes = 1024 * 1024

/** The calls that one thread makes with descriptors that it owns. */
export interface DescriptorCalls {
  readonly accept: (listener: Descriptor) => Incoming | number
  /** A socket that connects to a numeric address, and can send when it has; or the negative errno. */
  readonly connect: (host: string, port: number) => Descriptor | number
  /** Bytes read into the buffer, `most` of them, 0 at the end. */
  readonly receive: (socket: Descriptor, into: Uint8Array, most?: number) => number
  /** The same, and the bytes stay in the socket. */
  readonly peek: (socket: Descriptor, into: Uint8Array) => number
  readonly send: (socket: Descriptor, bytes: Uint8Array, length: number) => number
  /** Sends the end of the stream. */
  readonly shutdown: (socket: Descriptor) => number
  /**
   * Moves what a socket has received into an empty pipe: bytes moved, 0 at the end. splice(2) does not get past urgent
   * data: there it moves nothing, and says so as at an end or as if nothing had come. `receive` does.
   */
  readonly fill: (pipe: Pipe, from: Descriptor, most: number) => number
  /** Moves what a pipe holds to a socket. */
  readonly drain: (pipe: Pipe, to: Descriptor) => number
  /** A pipe for bytes on their way; undefined when as many are lent as may be, or there is no descriptor for it. */
  readonly lendPipe: () => Pipe | undefined
  readonly takePipeBack: (pipe: Pipe) => void
  readonly close: (descriptor: Descriptor) => void
  /** Closes a socket so that the remote end sees a reset. */
  readonly reset: (socket: Descriptor) => void
  /** Passes a descriptor on. */
  readonly give: (descriptor: Descriptor, to: Owner) => void
  /** A descriptor that is good for nothing but being closed when another is needed; undefined if there is none. */
  readonly spare: () => Descriptor | undefined
  /** The kernel's information on a connection; undefined if it gives none. */
  readonly tcpInfo: (socket: Descriptor) => TcpInfo | undefined
  /** Bytes sent to a socket that its other end has not acknowledged. */
  readonly unacknowledged: (socket: Descriptor) => number
}

/** A thread's epoll, with a bell that other threads ring. An event carries the key that its descriptor is watched by. */
export interface Poll {
  /** Events of a connection: bytes, urgent ones, its end, its failure; each once. 0, or the negative errno. */
  readonly watchConnection: (socket: Descriptor, key: number) => number
  /** The same, and room to send after there was none. Reports at once what is already the case. */
  readonly watchRoomToo: (socket: Descriptor, key: number) => void
  /** Connections that wait to be accepted, for one of several threads. */
  readonly watchListener: (listener: Descriptor, key: number) => void
  /** Each ring of the bell, once. */
  readonly watchBell: (key: number) => void
  /** No more events, but for those that have been fetched. */
  readonly unwatch: (descriptor: Descriptor) => void
  /** Waits for events, -1: as long as it takes, and passes each on. */
  readonly wait: (timeoutMs: number, onEvent: (key: number, bits: number) => void) => void
}

/** Neither of its readings goes back. Their differences count. */
export interface Clock {
  readonly nowMs: () => number
  /** The time by which all threads keep rates. */
  readonly nowNs: () => number
}
