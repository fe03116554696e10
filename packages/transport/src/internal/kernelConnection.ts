/**
 * A connection of the kernel transport, on the main thread: what its worker has told of it. The worker has the socket until
 * the preamble is complete; then it is here, until it goes into a splice, becomes a Node socket, or is closed.
 */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import type { Connection } from "../Transport.js"
import { HungUp } from "../Transport.js"
import type { Descriptor } from "./descriptors.js"
import type { Arrived } from "./kernelMessages.js"
import type { KernelThread } from "./kernelThread.js"
import * as Tcp from "./tcp.js"

export class KernelConnection implements Connection {
  /** The splice that its socket went into. */
  splice: { readonly end: () => void } | undefined
  closed = false
  /** Whether it hung up by a reset. */
  failed = false
  private socket: Descriptor | undefined
  private bytes: Uint8Array | undefined
  private duplex: Net.Socket | undefined
  private hungUp = false
  private onPreamble: (() => void) | undefined
  private hangUpListener: (() => void) | undefined

  constructor(
    readonly thread: KernelThread,
    readonly id: number,
    readonly remoteAddress: string,
    readonly remotePort: number,
    arrived: Arrived | undefined
  ) {
    if (arrived !== undefined) {
      this.preambleCame(arrived)
    }
  }

  preambleCame([socket, preamble]: Arrived) {
    this.socket = socket
    this.bytes = Buffer.from(preamble, "latin1")
    this.onPreamble?.()
  }

  hangUp() {
    this.hungUp = true
    this.onPreamble?.()
    const listener = this.hangUpListener
    this.hangUpListener = undefined
    listener?.()
  }

  get preamble(): Effect.Effect<Uint8Array, HungUp> {
    return Effect.suspend(() => this.decided() ?? this.decision)
  }

  private decided() {
    return this.bytes !== undefined ? Effect.succeed(this.bytes) : this.hungUp ? new HungUp() : undefined
  }

  private get decision() {
    return Effect.async<Uint8Array, HungUp>((resume) => {
      this.onPreamble = () => {
        this.onPreamble = undefined
        resume(this.decided()!)
      }
      return Effect.sync(() => {
        this.onPreamble = undefined
      })
    })
  }

  onHangUp(listener: (() => void) | undefined) {
    if (this.hungUp) {
      listener?.()
    } else {
      this.hangUpListener = listener
    }
  }

  get toDuplex(): Effect.Effect<Net.Socket, HungUp> {
    return Effect.suspend(() => {
      if (this.hungUp || this.socket === undefined) {
        return new HungUp()
      }
      this.hangUpListener = undefined
      this.duplex = new Net.Socket({ allowHalfOpen: true, fd: this.thread.giveAway(this) })
      this.duplex.on("error", Tcp.ignoreError)
      Tcp.limitSilence(this.duplex)
      return Effect.succeed(this.duplex)
    })
  }

  /** The socket, which is its taker's from now on. */
  takeSocket(): Descriptor {
    const socket = this.socket!
    this.socket = undefined
    this.bytes = undefined
    this.hangUpListener = undefined
    return socket
  }

  get close(): Effect.Effect<void> {
    return Effect.sync(() => this.closeNow())
  }

  closeNow() {
    if (this.closed) {
      return
    }
    this.closed = true
    this.hangUpListener = undefined
    if (this.splice !== undefined) {
      this.splice.end()
    } else if (this.duplex !== undefined) {
      this.duplex.destroy()
    } else if (this.socket !== undefined) {
      this.thread.closeSocket(this)
    } else {
      this.thread.close(this)
      this.hangUp()
    }
  }

  /** Closes it so that the remote end sees a reset; its preamble has been read. */
  resetNow() {
    if (!this.closed) {
      this.closed = true
      this.thread.resetSocket(this)
    }
  }

  /** The worker is gone, and nobody watches the connection any more. */
  lost() {
    this.closed = true
    this.hangUp()
    if (this.socket !== undefined) {
      this.thread.closeSocket(this)
    }
  }
}
