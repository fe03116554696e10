/**
 * System calls on TCP sockets that Node does not offer, on Linux, through the optional package koffi. They act on a
 * descriptor that its caller owns; this module owns none.
 *
 * @since 0.1.0
 */
import type * as Net from "node:net"
import { linuxCalls } from "./internal/linuxCalls.js"
import type { TcpInfo } from "./TcpInfo.js"

/**
 * The calls. Each returns undefined, or false, for a descriptor that is no TCP socket, and where the kernel lacks it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SocketCalls {
  /** Reads `struct tcp_info`: what the kernel knows of the connection. */
  readonly tcpInfo: (fd: number) => TcpInfo | undefined
  /** Returns how many written bytes the other end has not acknowledged, sent or not (SIOCOUTQ). */
  readonly unacknowledgedBytes: (fd: number) => number | undefined
  /**
   * Ends the connection when written bytes stay unacknowledged for so many milliseconds, those included that a closed
   * window holds back (TCP_USER_TIMEOUT, RFC 5482). For streams whose receiver never pauses.
   */
  readonly setUserTimeout: (fd: number, ms: number) => boolean
  /**
   * Bounds the time between two retransmissions or two window probes (TCP_RTO_MAX_MS, Linux 6.15). Without it that time
   * doubles up to two minutes.
   */
  readonly setProbeInterval: (fd: number, ms: number) => boolean
  /** Makes close(2) discard what has not been sent and send a reset (SO_LINGER with 0 s). */
  readonly resetOnClose: (fd: number) => boolean
}

let calls: SocketCalls | undefined
let isLoaded = false

/**
 * Loads the calls, once in a process. Undefined on other systems than Linux on x64 and arm64, and without koffi.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = (): SocketCalls | undefined => {
  if (!isLoaded) {
    isLoaded = true
    try {
      calls = process.platform === "linux" && ["arm64", "x64"].includes(process.arch) ? linuxCalls() : undefined
    } catch {
      // There is no koffi.
    }
  }
  return calls
}

/**
 * Returns the descriptor of an open socket. A TLSSocket has that of the TCP socket below it.
 *
 * @since 0.1.0
 * @category getters
 */
export const descriptorOf = (socket: Net.Socket): number | undefined => {
  const fd = (socket as unknown as { readonly _handle: { readonly fd?: number } | null })._handle?.fd
  return fd !== undefined && fd >= 0 ? fd : undefined
}

/**
 * Returns how many bytes the kernel has for a socket's other end that it has not acknowledged; undefined where the system
 * does not tell, or `load` cannot load the calls.
 *
 * @since 0.1.0
 * @category getters
 */
export const unacknowledgedBytes = (socket: Net.Socket): number | undefined => {
  const fd = descriptorOf(socket)
  return fd === undefined ? undefined : load()?.unacknowledgedBytes(fd)
}
