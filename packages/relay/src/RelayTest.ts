/**
 * For tests: a relay on a free port of 127.0.0.1, the raw sockets of `WireClient`, and what a relay must look like when
 * all connections are closed.
 *
 * @since 0.1.0
 */
import type * as KernelTransport from "@tx3/transport/KernelTransport"
import type * as Transport from "@tx3/transport/Transport"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { layer as relayLayer, openPolicies, Relay } from "./Relay.js"
import * as RelayConfig from "./RelayConfig.js"

export * from "./WireClient.js"

/**
 * A relay on 127.0.0.1, on a port of the system's choice, with these settings changed; open, unless given other policies. All
 * clients of a test are one source, so it may open any number of connections a second.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  settings: Partial<Parameters<typeof RelayConfig.layer>[0]> = {},
  policies: typeof openPolicies = openPolicies
): Layer.Layer<
  Relay | RelayConfig.RelayConfig,
  KernelTransport.KernelUnavailable | RelayConfig.RelayConfigError | Transport.ListenError
> =>
  Layer.provide(relayLayer, policies).pipe(
    Layer.provideMerge(
      RelayConfig.layer({ bind: ["tx3-rst://127.0.0.1:0"], connectionRatePerIp: 1_000_000, ...settings })
    )
  )

/**
 * Waits until the relay satisfies a condition that another process or the network brings about.
 *
 * @since 0.1.0
 * @category assertions
 */
export const eventually = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  condition.pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("5 millis") }),
    Effect.asVoid
  )

/**
 * Waits until the relay has no connection left, and dies if its counters do not agree that there is none.
 *
 * @since 0.1.0
 * @category assertions
 */
export const empty: Effect.Effect<void, never, Relay> = Effect.gen(function*() {
  const relay = yield* Relay
  yield* eventually(
    Effect.map(relay.snapshot, ({ connections }) => Object.values(connections).every((count) => count === 0))
  )
  const inconsistencies = yield* relay.inconsistencies
  if (inconsistencies.length > 0) {
    return yield* Effect.dieMessage(`the relay is not empty: ${inconsistencies.join("; ")}`)
  }
})
