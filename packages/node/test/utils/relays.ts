/** A relay for this package's tests, which is looked at when everybody has gone. */
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as Relay from "@tx3/relay/Relay"
import * as RelayTest from "@tx3/relay/RelayTest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Runs a test's body with a relay's address, closes all that it opened, and finds the relay empty. */
export const withRelay = <A, E, R>(body: (relay: AddressWithDigest) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(RelayTest.layer({ maxShareOfNode: 1 }))
    const result = yield* Effect.scoped(body(Context.get(context, Relay.Relay).addresses[0]! as AddressWithDigest))
    yield* Effect.provide(RelayTest.empty, context)
    return result
  })
