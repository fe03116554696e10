/**
 * A node's registration at one relay, as an actor: it registers, waits for the all-clear, dials back for every splice
 * token, and registers again with backoff when the control stream is lost, earlier if the machine's network changes.
 * It runs until its scope closes; it logs a defect and registers again. Connections that came through the relay are not its
 * own and survive the loss of the registration.
 */
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Preamble from "@tx3/protocol/Preamble"
import type * as Dial from "@tx3/sockets/Dial"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Subscribable from "effect/Subscribable"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { SecureContext } from "node:tls"
import * as duplex from "./Duplex.js"
import { connect } from "./internal/connect.js"
import type { Inbound } from "./internal/inbound.js"
import * as network from "./internal/network.js"
import type { NodeConfigOptions } from "./NodeConfig.js"
import { type ConnectionError, RegistrationError } from "./NodeError.js"
import type * as Tx3Connection from "./Tx3Connection.js"

/**
 * Where a registration stands:
 *
 * - `Connecting`: registering, for the `attempt`th time (from 1) since the start or since it was last live;
 * - `Live`: registered since `since`; `age` returns the milliseconds since then, by a monotonic clock. `contested` is the error
 *   of the registration before, where that error says that another machine seems to use the identity. It is kept until this
 *   registration has been live for `reconnectStableMs`;
 * - `Lost`: not registered, why, and when the next try begins at the latest.
 *
 * @since 0.1.0
 * @category models
 */
export type State = Data.TaggedEnum<{
  Connecting: { readonly attempt: number }
  Live: {
    readonly since: DateTime.Utc
    readonly age: () => number
    readonly contested: RegistrationError | undefined
  }
  Lost: { readonly because: RegistrationError; readonly nextTryAt: DateTime.Utc }
}>

/**
 * Constructors, `$is` and `$match` for {@link State}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const State = Data.taggedEnum<State>()

/**
 * A running registration.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayRegistration {
  /** The relay's own address, with the relay's digest. */
  readonly relay: AddressWithDigest

  /** `get` is the present state; `changes` is that and every later one. */
  readonly state: Subscribable.Subscribable<State>
}

/**
 * Starts a registration. `accept` is given each peer's dial-back, to be run in a scope of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly relay: AddressWithDigest
  readonly context: SecureContext
  readonly config: NodeConfigOptions
  readonly accept: Inbound["accept"]
}): Effect.Effect<RelayRegistration, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { accept, config, context, relay } = options
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    const from = { kind: "relay", name: relay.toString() } as const
    const state = yield* SubscriptionRef.make<State>(State.Connecting({ attempt: 1 }))
    const fail = (reason: RegistrationError["reason"]) => (cause?: unknown) =>
      new RegistrationError({ relay: relay.toString(), reason, cause })

    /** How often in a row the relay has ended the stream before the registration was stable. */
    let endsInARow = 0
    const lost = (end: Option.Option<ConnectionError>) => {
      if (Option.isNone(end)) {
        // Only a close_notify gives an end. A relay of ours sends it to a node that has registered anew, and to no other.
        return fail("replaced")()
      }
      const endedByRelay = end.value.reason === "truncated"
      endsInARow = endedByRelay ? endsInARow + 1 : 0
      return new RegistrationError({
        relay: relay.toString(),
        reason: "lost",
        cause: endedByRelay ? undefined : end.value,
        endsInARow
      })
    }

    const register = connect(relay, context, { ...config, allowTruncated: false }).pipe(
      Effect.catchTags({
        DialError: fail("unreachable"),
        ProxyError: fail("unreachable"),
        TimedOut: fail("unreachable"),
        HandshakeError: fail("untrusted"),
        DigestMismatch: fail("untrusted"),
        PeerUnavailable: fail("refused")
      })
    )

    const allClear = (control: Tx3Connection.Tx3Connection) =>
      duplex.read(control.duplex, Preamble.allClear.length).pipe(
        Effect.mapError((end) => fail("full")(Option.getOrUndefined(end))),
        Effect.timeoutFail({ duration: config.allClearTimeoutMs, onTimeout: fail("silent") }),
        Effect.filterOrFail((byte) => Buffer.compare(byte, Preamble.allClear) === 0, () => fail("violation")())
      )

    // Not by the relay's name, which may stand for several relays: only this one knows the token. A proxy keeps the address it took
    // to itself, and the name is all there is.
    const dialBack = (relayAddress: Dial.Endpoint, token: Uint8Array) =>
      Effect.gen(function*() {
        const connection = yield* Proxy.connect({ ...relayAddress, attemptTimeoutMs: config.attemptTimeoutMs })
        connection.socket.write(token)
        return connection
      })

    const nextToken = (control: Tx3Connection.Tx3Connection) =>
      duplex.read(control.duplex, Preamble.length).pipe(
        // Half a token is an end that the next read tells.
        Effect.filterOrElse((token) => token.length === Preamble.length, () => duplex.read(control.duplex)),
        Effect.mapError(lost)
      )

    let attempt = 1
    let waitMs = config.reconnectMinMs
    let contested: RegistrationError | undefined

    const live = Effect.gen(function*() {
      attempt = 0
      const since = yield* DateTime.now
      const began = currentTimeMillis()
      const age = () => currentTimeMillis() - began
      yield* SubscriptionRef.set(state, State.Live({ since, age, contested }))
      yield* Effect.logInfo("registered")
      yield* Effect.gen(function*() {
        yield* Effect.sleep(config.reconnectStableMs)
        waitMs = config.reconnectMinMs
        endsInARow = 0
        if (contested !== undefined) {
          contested = undefined
          yield* SubscriptionRef.set(state, State.Live({ since, age, contested }))
        }
      }).pipe(Effect.forkScoped)
    })

    const session: Effect.Effect<never, RegistrationError, Scope.Scope> = Effect.gen(function*() {
      const control = yield* register
      yield* allClear(control)
      yield* live
      while (true) {
        accept({ from, open: dialBack(control.remoteAddress, yield* nextToken(control)) })
      }
    })

    const ofDefect = (cause: Cause.Cause<RegistrationError>) =>
      Effect.as(Effect.logError("a registration died", cause), fail("defect")(Cause.squash(cause)))

    const tryAndWait = Effect.gen(function*() {
      const because = yield* Effect.scoped(session).pipe(
        Effect.catchAllCause((cause) =>
          Option.match(Cause.failureOption(cause), { onNone: () => ofDefect(cause), onSome: Effect.succeed })
        )
      )
      if (because.reason === "replaced") {
        // The newest registration wins, and two that fight for it would serve no peer.
        waitMs = config.reconnectMaxMs
      }
      const wait = yield* Random.nextRange(waitMs / 2, waitMs)
      const nextTryAt = DateTime.add(yield* DateTime.now, { millis: wait })
      yield* SubscriptionRef.set(state, State.Lost({ because, nextTryAt }))
      const message = `${because.message}; next try at ${DateTime.formatIso(nextTryAt)}`
      yield* because.isContested && contested !== undefined ? Effect.logDebug(message) : Effect.logWarning(message)
      contested = because.isContested ? because : undefined
      waitMs = yield* Effect.raceFirst(
        Effect.as(Effect.sleep(wait), Math.min(waitMs * 2, config.reconnectMaxMs)),
        Effect.as(network.changed, config.reconnectMinMs)
      )
      attempt += 1
      yield* SubscriptionRef.set(state, State.Connecting({ attempt }))
    })
    yield* tryAndWait.pipe(
      // Nothing but the scope's end may end the loop.
      Effect.catchAllDefect((defect) =>
        Effect.zipRight(Effect.logError("a registration's wait died", defect), Effect.sleep(config.reconnectMaxMs))
      ),
      Effect.forever,
      Effect.annotateLogs({ package: "@tx3/node", module: "RelayRegistration", relay: relay.toString() }),
      Effect.interruptible,
      Effect.forkScoped
    )
    return { relay, state }
  })

/**
 * Waits until a registration is live. Fails with the reason if it is lost, or the first try fails, before.
 *
 * @since 0.1.0
 * @category combinators
 */
export const untilLive = (registration: RelayRegistration): Effect.Effect<void, RegistrationError> =>
  registration.state.changes.pipe(
    Stream.filterEffect(State.$match({
      Connecting: () => Effect.succeed(false),
      Live: () => Effect.succeed(true),
      Lost: ({ because }) => Effect.fail(because)
    })),
    Stream.runHead,
    Effect.asVoid
  )
