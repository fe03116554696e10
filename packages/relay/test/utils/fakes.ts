/**
 * A control session and a peer that do nothing of their own and keep what is done to them.
 */
import type { SpliceToken } from "@tx3/protocol"
import { CertDigest, Source } from "@tx3/protocol"
import type { Accepted, ControlSession, RelayError, RelayEvents } from "@tx3/relay"
import type { Transport } from "@tx3/transport"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { ConnectionScope } from "../../src/internal/connectionScope.js"

export const fakeSession = (options: {
  readonly node?: CertDigest.CertDigest
  readonly address?: string
} = {}) => {
  const delivered: Array<SpliceToken.SpliceToken> = []
  const listeners = new Set<(reason: RelayEvents.EndReason) => void>()
  const ended: Array<RelayEvents.EndReason> = []
  const session: ControlSession.ControlSession = {
    node: options.node ?? CertDigest.fromBytes(randomBytes(32)),
    connection: 1,
    since: 0,
    source: Source.fromAddress(options.address ?? "192.0.2.1"),
    deliver: (token) => {
      delivered.push(token)
    },
    // All are written at once.
    withdraw: () => false,
    onEnd: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    end: (reason) => {
      ended.push(reason)
      listeners.forEach((listener) => listener(reason))
    },
    serve: Effect.never
  }
  return { delivered, ended, listeners, session }
}

export const fakePeer = Effect.sync(() => {
  let listener: (() => void) | undefined
  let hungUp = false
  const socket: Transport.Connection = {
    remoteAddress: "192.0.2.2",
    remotePort: 1,
    preamble: Effect.never,
    onPreamble: () => {},
    onHangUp: (next) => {
      listener = next
      if (hungUp) {
        listener?.()
      }
    },
    toDuplex: Effect.never,
    close: Effect.void,
    closeNow: () => {},
    resetNow: () => {}
  }
  const turnedAway: Array<RelayError.RejectionReason> = []
  let leave: (() => void) | undefined
  const enter = (stage: Accepted.Stage, onLeave?: () => void) => {
    leave?.()
    leave = onLeave
    entered.push(stage)
  }
  const entered: Array<Accepted.Stage> = []
  const peer: Accepted.Accepted = {
    id: 1,
    source: Source.fromAddress("192.0.2.2"),
    address: "192.0.2.2",
    socket,
    referral: undefined,
    since: 0,
    sinceMonotonicMs: 0,
    scope: new ConnectionScope(),
    stage: "preamble",
    enter,
    turnAway: (reason) => {
      turnedAway.push(reason)
      leave?.()
      leave = undefined
    },
    end: Effect.void,
    endNow: () => {}
  }
  return {
    entered,
    peer,
    turnedAway,
    hangUp: () => {
      hungUp = true
      listener?.()
    },
    isWatched: () => listener !== undefined
  }
})
