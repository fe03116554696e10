/**
 * A connection of the kernel transport, on the main thread: what its worker has told of it. The worker has the socket until
 * the preamble is complete; then it is here, until it goes into a splice, becomes a Node socket, or is closed.
 */
import * as Effect from "effect/Effect"
import type { Duplex } from "node:stream"
import { HungUp } from "../Transport.js"
import type { Arrived } from "./kernelMessages.js"
import type { Descriptor } from "./system.js"
import * as Tcp from "./tcp.js"
import { UndecidedConnection } from "./undecidedConnection.js"

/**
 * Where the socket is:
 *
 *     arriving -> arrived -> handed over -> closed
 *                         -> splicing    ->
 *
 * An arriving or arrived connection can also be closed. Every other transition is a defect.
 */
type State =
  /** With the worker, which reads the preamble. */
  | { readonly is: "arriving" }
  /** Here, and not read. */
  | { readonly is: "arrived"; readonly socket: Descriptor; readonly preamble: Uint8Array }
  | { readonly is: "handed over"; readonly duplex: Duplex }
  /** With the worker that carries the splice. */
  | { readonly is: "splicing"; readonly splice: EndableSplice }
  | { readonly is: "closed" }

const arriving: State = { is: "arriving" }
const closed: State = { is: "closed" }

interface EndableSplice {
  /** Ends it with a reset of both sides. Does nothing once it has ended. */
  readonly end: () => void
}

/** The thread of the worker that accepted a connection, for that connection. */
export interface AcceptingThread {
  /** Closes a connection that is arriving. */
  readonly close: (connection: number) => void
  readonly closeSocket: (connection: number, socket: Descriptor) => void
  /** Closes a socket so that the remote end finds a reset. */
  readonly resetSocket: (connection: number, socket: Descriptor) => void
  /** Makes a stream of a socket, which owns it from now on. */
  readonly toDuplex: (connection: number, socket: Descriptor) => Duplex
}

export class KernelConnection<Thread extends AcceptingThread = AcceptingThread> extends UndecidedConnection {
  /** Whether the remote end has reset it. */
  failed = false
  private state: State = arriving

  constructor(
    readonly thread: Thread,
    readonly id: number,
    readonly remoteAddress: string,
    readonly remotePort: number,
    arrived: Arrived | undefined
  ) {
    super()
    if (arrived !== undefined) {
      this.arrive(arrived)
    }
  }

  /** The state that it must be in to get into the next one. */
  private only<Is extends State["is"]>(is: Is, next: State["is"]): Extract<State, { readonly is: Is }> {
    if (this.state.is !== is) {
      throw new Error(`a connection that is ${this.state.is} cannot become ${next}`)
    }
    return this.state as Extract<State, { readonly is: Is }>
  }

  arrive([socket, preamble]: Arrived) {
    this.only("arriving", "arrived")
    this.state = { is: "arrived", socket, preamble: Buffer.from(preamble, "latin1") }
    this.checkDecision()
  }

  protected get hasPreamble() {
    return this.state.is === "arrived"
  }

  protected takePreamble() {
    return this.only("arrived", "arrived").preamble
  }

  /** The worker has noticed a hang-up. It may notice a reset behind one. */
  remoteEnded(failed: boolean) {
    this.failed = failed
    this.hangUp()
  }

  get toDuplex(): Effect.Effect<Duplex, HungUp> {
    return Effect.suspend(() => {
      if (this.hungUp || this.isClosed) {
        return new HungUp()
      }
      const { socket } = this.only("arrived", "handed over")
      const duplex = this.thread.toDuplex(this.id, socket)
      this.state = { is: "handed over", duplex }
      this.ignoreHangUp()
      duplex.on("error", Tcp.ignoreError)
      return Effect.succeed(duplex)
    })
  }

  /** Gives its socket to a splice. */
  join(splice: EndableSplice): Descriptor {
    const { socket } = this.only("arrived", "splicing")
    this.state = { is: "splicing", splice }
    this.ignoreHangUp()
    return socket
  }

  get isClosed() {
    return this.state.is === "closed"
  }

  closeNow() {
    const { state } = this
    this.state = closed
    this.ignoreHangUp()
    switch (state.is) {
      case "arriving": {
        this.thread.close(this.id)
        this.hangUp()
        return
      }
      case "arrived": {
        this.thread.closeSocket(this.id, state.socket)
        this.hangUp()
        return
      }
      case "handed over": {
        state.duplex.destroy()
        return
      }
      case "splicing": {
        state.splice.end()
        return
      }
      case "closed": {
        return
      }
    }
  }

  resetNow() {
    const { state } = this
    if (state.is !== "arrived") {
      return this.closeNow()
    }
    this.state = closed
    this.ignoreHangUp()
    this.thread.resetSocket(this.id, state.socket)
    this.hangUp()
  }

  /** The worker is gone, and no longer watches connections that are neither spliced nor Node's. */
  lost() {
    const { state } = this
    if (state.is === "arriving" || state.is === "arrived") {
      this.state = closed
      this.hangUp()
    }
    if (state.is === "arrived") {
      this.thread.closeSocket(this.id, state.socket)
    }
  }
}
