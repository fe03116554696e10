/**
 * Runs a test's body against a relay with all that an operator puts around it, on the ports of the system's choice, and
 * looks at what the body leaves behind.
 */
import { HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { AdminServer, OperatedRelay, RelayActions, RelayHistory } from "@tx3/operate"
import { OperatorConfig } from "@tx3/policy"
import type { Address } from "@tx3/protocol"
import { Identity } from "@tx3/protocol"
import { Relay, RelayTest } from "@tx3/relay"
import type { Scope } from "effect"
import { Effect } from "effect"
import type { Values } from "../../../policy/test/utils/operated.js"

export interface Operated {
  readonly relay: typeof Relay.Relay.Service
  /** The first of the relay's. */
  readonly address: Address.Address
  /** The first of the admin server's: `http://HOST:PORT` where a test does not say otherwise. */
  readonly admin: string
  readonly server: typeof AdminServer.AdminServer.Service
  readonly actions: typeof RelayActions.RelayActions.Service
  readonly history: typeof RelayHistory.RelayHistory.Service
  /** The answer's text. */
  readonly get: (path: string, headers?: Record<string, string>) => Effect.Effect<string>
  readonly status: (path: string, headers?: Record<string, string>) => Effect.Effect<number>
  /** What the settings are from the next reload on, beside those that never change here. */
  readonly change: (values: Values) => void
}

export const withOperatedRelay = <A, E>(
  initial: Values,
  body: (operated: Operated) => Effect.Effect<A, E, Scope.Scope>
) => {
  let values = initial
  const load = Effect.gen(function*() {
    const settings = yield* OperatorConfig.decode([{
      place: (key) => key,
      values: {
        bind: ["tx3-rst://127.0.0.1:0"],
        admin: "http://127.0.0.1:0",
        maxShareOfNode: 1,
        transport: "portable",
        ...values
      }
    }])
    return { settings, identity: yield* identity }
  })
  return Effect.gen(function*() {
    const relay = yield* Relay.Relay
    const server = yield* AdminServer.AdminServer
    const [admin = ""] = server.addresses
    const client = yield* HttpClient.HttpClient
    const request = (path: string, headers: Record<string, string> = {}) =>
      client.execute(HttpClientRequest.get(`${admin}${path}`, { headers }))
    const result = yield* Effect.scoped(body({
      relay,
      admin,
      server,
      address: relay.addresses[0]!,
      actions: yield* RelayActions.RelayActions,
      history: yield* RelayHistory.RelayHistory,
      get: (path, headers) => Effect.orDie(Effect.flatMap(request(path, headers), ({ text }) => text)),
      status: (path, headers) => Effect.orDie(Effect.map(request(path, headers), ({ status }) => status)),
      change: (next) => {
        values = next
      }
    }))
    yield* RelayTest.empty
    assert.deepStrictEqual(yield* relay.inconsistencies, [])
    return result
  }).pipe(
    Effect.provide(OperatedRelay.layer(load)),
    Effect.provide([NodeContext.layer, NodeHttpClient.layer])
  )
}

/** One of its own for each test file. */
const identity = Effect.runSync(Effect.cached(Identity.generate))

/** Waits for what another process or the network brings about. */
export const until = (what: string, holds: () => boolean) =>
  RelayTest.eventually(Effect.sync(holds)).pipe(
    Effect.timeoutFail({ duration: "15 seconds", onTimeout: () => new Error(`waited in vain until ${what}`) }),
    Effect.orDie
  )
