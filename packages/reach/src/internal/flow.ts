/**
 * One flow of datagrams between a connection and a local UDP socket, from its first datagram until it has been idle, or the
 * connection has ended. It owns neither.
 */
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type { Datagrams } from "../Datagrams.js"
import * as Passage from "../Passage.js"

/** A flow that has carried nothing for so long has ended: a NAT keeps one for two minutes (RFC 4787, section 4.3). */
export const idleMs = 120_000

/** What a flow has carried, and when last. */
export class Flow {
  fromPeer = 0
  toPeer = 0
  lastAt: number
  readonly now: () => number

  constructor(readonly clock: Clock.Clock) {
    this.now = MonotonicTime.millis(clock)
    this.lastAt = this.now()
  }

  countFromPeer({ length }: Uint8Array) {
    this.fromPeer += length
    this.lastAt = this.now()
  }

  countToPeer({ length }: Uint8Array) {
    this.toPeer += length
    this.lastAt = this.now()
  }

  /** Waits until nothing has been carried for `idleMs`. */
  readonly idle: Effect.Effect<void> = Effect.suspend(() => {
    const left = this.lastAt + idleMs - this.now()
    return left <= 0 ? Effect.void : Effect.zipRight(Effect.sleep(left), this.idle)
  })
}

/** Delivers what comes until the flow is idle, `ended` succeeds, or the connection has ended. */
export const run = (options: {
  readonly connection: Tx3Connection
  readonly datagrams: Datagrams
  readonly flow: Flow
  readonly ended: Effect.Effect<void>
  readonly deliver: (datagram: Uint8Array) => Promise<void> | undefined
  readonly onEvent: (event: Passage.Event) => Effect.Effect<void>
}): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { connection, datagrams, deliver, ended, flow, onEvent } = options
    const began = flow.now()
    const passage: Passage.Passage = {
      peer: connection.remoteDigest,
      via: connection.remoteAddress,
      since: flow.clock.unsafeCurrentTimeMillis(),
      age: () => flow.now() - began,
      carried: () => ({ fromPeer: flow.fromPeer, toPeer: flow.toPeer })
    }
    const received = Effect.mapError(
      datagrams.receive((datagram) => {
        flow.countFromPeer(datagram)
        return deliver(datagram)
      }),
      (cause: ConnectionError) => new Passage.Lost({ side: "peer", cause })
    )
    return Effect.acquireUseRelease(
      onEvent(Passage.Event.Opened({ passage })),
      () => Effect.either(Effect.raceFirst(received, Effect.raceFirst(flow.idle, ended))),
      (_, exit) =>
        onEvent(Passage.Event.Closed({
          passage,
          because: Exit.isSuccess(exit) && Either.isLeft(exit.value) ? exit.value.left : undefined
        }))
    )
  })
