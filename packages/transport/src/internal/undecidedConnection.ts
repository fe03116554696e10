/**
 * A connection of either transport before its owner decides about it: it waits for its preamble, and reports a hang-up. The
 * subclass owns the socket.
 */
import * as Effect from "effect/Effect"
import type { Duplex } from "node:stream"
import type { Connection } from "../Transport.js"
import { HungUp } from "../Transport.js"

export abstract class UndecidedConnection implements Connection {
  abstract readonly remoteAddress: string
  abstract readonly remotePort: number
  protected hungUp = false
  /** The one who waits until the preamble is complete or never will be. */
  private onDecided: (() => void) | undefined
  private hangUpListener: (() => void) | undefined

  protected abstract get hasPreamble(): boolean
  /** The preamble, which is complete. */
  protected abstract takePreamble(): Uint8Array

  abstract get toDuplex(): Effect.Effect<Duplex, HungUp>
  abstract closeNow(): void
  abstract resetNow(): void

  get close(): Effect.Effect<void> {
    return Effect.sync(() => this.closeNow())
  }

  get preamble(): Effect.Effect<Uint8Array, HungUp> {
    return Effect.async((resume) => {
      this.onPreamble((preamble) => resume(preamble === undefined ? new HungUp() : Effect.succeed(preamble)))
      return Effect.sync(() => this.onPreamble(undefined))
    })
  }

  onPreamble(listener: ((preamble: Uint8Array | undefined) => void) | undefined) {
    this.awaitDecision(listener && (() => listener(this.hasPreamble ? this.takePreamble() : undefined)))
    this.checkDecision()
  }

  private get isDecided() {
    return this.hungUp || this.hasPreamble
  }

  /** Registers one listener for the moment when the preamble is complete or never will be; `undefined` takes it off. */
  protected awaitDecision(listener: (() => void) | undefined) {
    this.onDecided = listener
  }

  /** Subclasses call this when bytes have come. */
  protected checkDecision() {
    if (this.onDecided !== undefined && this.isDecided) {
      const listener = this.onDecided
      this.onDecided = undefined
      listener()
    }
  }

  /** Notes that the remote end has ended or reset the connection, or that it is closed. */
  protected hangUp() {
    this.hungUp = true
    this.checkDecision()
    const listener = this.hangUpListener
    this.hangUpListener = undefined
    listener?.()
  }

  onHangUp(listener: (() => void) | undefined) {
    if (this.hungUp) {
      listener?.()
    } else {
      this.hangUpListener = listener
    }
  }

  /** Takes the listener off: hang-ups are another's business from now on. */
  protected ignoreHangUp() {
    this.hangUpListener = undefined
  }
}
