/**
 * Tries a relay end to end, as a node and its peer would use it: registers a node, comes as its peer, is spliced, and sends bytes both ways. Everything it opens is closed when it is over.
 *
 * @since 0.1.0
 */
import type * as Address from "@tx3/protocol/Address"
import type * as Identity from "@tx3/protocol/Identity"
import * as WireClient from "@tx3/relay/WireClient"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"

/**
 * The steps of a probe, in this order:
 *
 * - `controlStream`: connect, TLS, and the relay's all-clear,
 * - `peer`: connect with the node's digest, until the node has the splice token,
 * - `splice`: dial back with the token, until the peer's first byte is here,
 * - `echo`: 64 bytes there and back.
 *
 * @since 0.1.0
 * @category models
 */
export const steps = ["controlStream", "peer", "splice", "echo"] as const

/**
 * One of {@link steps}.
 *
 * @since 0.1.0
 * @category models
 */
export type Step = typeof steps[number]

/**
 * A step that did not succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProbeError extends Schema.TaggedError<ProbeError>("@tx3/operate/ProbeError")("ProbeError", {
  step: Schema.Literal(...steps),
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.step}: ${this.problem}`
  }
}

/**
 * Milliseconds of each step.
 *
 * @since 0.1.0
 * @category models
 */
export type Times = Readonly<Record<Step, number>>

const echoBytes = 64

/**
 * Takes all steps, one after the other, and tells how long each took. Fails at the first that goes wrong, or is not
 * done within `timeoutMs`.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  relay: Address.AddressWithDigest,
  /** Of the node to register. */
  identity: Identity.Identity,
  /** Of each step. */
  timeoutMs: number
): Effect.Effect<Times, ProbeError> =>
  Effect.gen(function*() {
    const times: Record<Step, number> = { controlStream: 0, peer: 0, splice: 0, echo: 0 }

    const timed = <A, E, R>(step: Step, effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const start = performance.now()
        return Effect.tap(effect, () =>
          Effect.sync(() => {
            times[step] = performance.now() - start
          }))
      }).pipe(
        Effect.timeout(timeoutMs),
        Effect.mapError((error) => new ProbeError({ step, problem: problemIn(error, timeoutMs) }))
      )

    const node = yield* timed("controlStream", register(relay, identity)).pipe(
      Effect.mapError((error) =>
        new ProbeError({
          step: error.step,
          problem:
            `${error.problem}; is the relay up, and is ${relay.digest.value} its digest? tx3-relay check prints it`
        })
      )
    )
    const { peer, token } = yield* timed("peer", meet(node))
    const inside = yield* timed(
      "splice",
      Effect.tap(
        WireClient.dialBack(relay, token),
        (inside) => Effect.zipRight(peer.send(new Uint8Array(1)), inside.receive(1))
      )
    )
    yield* timed("echo", echo(peer, inside))
    return times
  }).pipe(Effect.scoped)

/** The relay answered, but not as it should. */
class Wrong extends Data.TaggedError("Wrong")<{ readonly message: string }> {}

const register = (relay: Address.AddressWithDigest, identity: Identity.Identity) =>
  Effect.filterOrFail(
    WireClient.register(relay, { identity }),
    ({ relayDigest }) => relayDigest === relay.digest.value,
    ({ relayDigest }) => new Wrong({ message: `another relay answered, ${relayDigest}` })
  )

/** A peer comes, and the node hears of it, unless the relay turns the peer away. */
const meet = (node: WireClient.RawNode) =>
  Effect.gen(function*() {
    const peer = yield* node.peer
    const token = yield* Effect.raceFirst(node.token, Effect.zipRight(peer.receive(1), Effect.never))
    return { peer, token }
  })

const echo = (peer: WireClient.RawStream, inside: WireClient.RawStream) =>
  Effect.gen(function*() {
    const sent = randomBytes(echoBytes)
    yield* peer.send(sent)
    yield* inside.send(yield* inside.receive(echoBytes))
    const received = yield* peer.receive(echoBytes)
    if (!received.equals(sent)) {
      return yield* new Wrong({ message: "other bytes came back than were sent" })
    }
  })

const problemIn = (error: unknown, timeoutMs: number): string => {
  if (Cause.isTimeoutException(error)) {
    return `not done within ${timeoutMs} ms`
  }
  if (error instanceof WireClient.Ended) {
    return error.cause === undefined ? "the relay closed the connection" : problemIn(error.cause, timeoutMs)
  }
  return error instanceof Error ? error.message : String(error)
}
