/**
 * Ends connections whose other end is dead although data wait for its acknowledgement, where TCP keep-alive does not run.
 * It looks at `struct tcp_info` every two seconds and applies `TcpInfo.isDead`.
 *
 * `Watch` owns the set of sockets that it watches and one timer for all of them. A socket leaves the set when it closes, or when the
 * first look finds that it is not a TCP socket. The timer runs while the set is not empty and does not keep the process alive. Where
 * `SocketCalls` cannot be loaded, nothing is watched, and keep-alive alone finds dead ends.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import type { SocketCalls } from "./SocketCalls.js"
import { descriptorOf, load } from "./SocketCalls.js"
import { deadAfterMs, isDead, lookEveryMs, probeIntervalMs } from "./TcpInfo.js"

/** Sockets looked at before the event loop gets its turn: about a millisecond. */
const looksPerTurn = 256

/** The error that the kernel reports when keep-alive finds an end dead. */
const timedOut = (): NodeJS.ErrnoException =>
  Object.assign(new Error("read ETIMEDOUT: the other end has acknowledged nothing for half a minute"), {
    code: "ETIMEDOUT",
    errno: -110,
    syscall: "read"
  })

/**
 * Watches sockets with these calls. `watch`, below, is one for the whole process; tests make others.
 *
 * @since 0.1.0
 * @category models
 */
export class Watch {
  /** The sockets that are watched, and whether they have been looked at: most close before that, and cost no system call. */
  readonly sockets = new Map<Net.Socket, boolean>()
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly calls: SocketCalls,
    private readonly options: { readonly deadAfterMs: number; readonly lookEveryMs: number } = {
      deadAfterMs,
      lookEveryMs
    }
  ) {}

  /** Watches a connected socket until it closes. Destroys it with ETIMEDOUT, and so that the other end sees a reset. */
  add(socket: Net.Socket) {
    if (descriptorOf(socket) === undefined || this.sockets.has(socket)) {
      return
    }
    this.sockets.set(socket, false)
    this.timer ??= setInterval(() => this.look(Array.from(this.sockets.keys())), this.options.lookEveryMs).unref()
    socket.once("close", () => this.forget(socket))
  }

  private forget(socket: Net.Socket) {
    this.sockets.delete(socket)
    if (this.sockets.size === 0) {
      clearInterval(this.timer)
      this.timer = undefined
    }
  }

  private look(sockets: ReadonlyArray<Net.Socket>) {
    for (const socket of sockets.slice(0, looksPerTurn)) {
      const fd = descriptorOf(socket)
      if (fd === undefined) {
        continue
      }
      const info = this.calls.tcpInfo(fd)
      if (info === undefined) {
        this.forget(socket)
      } else if (isDead(info, this.options.deadAfterMs)) {
        this.calls.resetOnClose(fd)
        socket.destroy(timedOut())
      } else if (this.sockets.get(socket) === false) {
        this.calls.setProbeInterval(fd, probeIntervalMs)
        this.sockets.set(socket, true)
      }
    }
    if (sockets.length > looksPerTurn) {
      setImmediate(() => this.look(sockets.slice(looksPerTurn)))
    }
  }
}

let processWatch: Watch | undefined

/**
 * Watches a connected TCP socket, or a TLSSocket over one, until it closes, and ends it if its other end is dead: it is
 * destroyed with an ETIMEDOUT error. A reader that has paused is alive as long as its system answers window probes.
 * Does nothing for other sockets, and where `SocketCalls` cannot be loaded.
 *
 * @since 0.1.0
 * @category combinators
 */
export const watch = (socket: Net.Socket): void => {
  const calls = load()
  if (calls !== undefined) {
    processWatch ??= new Watch(calls)
    processWatch.add(socket)
  }
}

/**
 * Sets TCP_USER_TIMEOUT to `TcpInfo.deadAfterMs` on a connected socket. Only for control streams and handshakes, whose
 * receivers never pause: it ends a live receiver that keeps its window closed for that long.
 *
 * @since 0.1.0
 * @category combinators
 */
export const limitUnacknowledged = (socket: Net.Socket): void => {
  const fd = descriptorOf(socket)
  if (fd !== undefined) {
    load()?.setUserTimeout(fd, deadAfterMs)
  }
}

let explained = false

/**
 * Logs, once in a process, that dead ends with data in flight are found late, if nothing can be watched here.
 *
 * @since 0.1.0
 * @category combinators
 */
export const explain: Effect.Effect<void> = Effect.flatMap(Effect.sync(load), (calls) => {
  if (calls !== undefined || explained) {
    return Effect.void
  }
  explained = true
  return Effect.logInfo(
    process.platform === "linux"
      ? "a connection whose other end dies with data in flight is noticed only after up to 16 minutes: the optional " +
        "package koffi cannot be loaded; npm install koffi"
      : "a connection whose other end dies with data in flight is noticed only when this system gives up retransmitting"
  )
})
