/**
 * Members of one cluster in one process. Whatever the test's body opens is closed at its end; then every member must be empty,
 * with no ticket, look-up or link left.
 */
import { Cluster, Directory } from "@tx3/cluster"
import type { SpliceToken } from "@tx3/protocol"
import { CertDigest, Identity } from "@tx3/protocol"
import { Elsewhere, Relay, RelayTest } from "@tx3/relay"
import type { Transport } from "@tx3/transport"
import type { Scope } from "effect"
import { Context, Effect, Layer } from "effect"
import type { Settings, TestRelay } from "../../../relay/test/utils/withRelay.js"
import { empty, testRelay, withoutDefects } from "../../../relay/test/utils/withRelay.js"

export interface Member extends TestRelay {
  /** The first bytes of its tokens. */
  readonly name: Uint8Array
  /** The links that it has dialed. */
  readonly dialed: ReadonlyArray<Transport.DialOptions>
  readonly register: (identity?: Identity.Identity) => Effect.Effect<
    RelayTest.RawNode,
    Effect.Effect.Error<ReturnType<typeof RelayTest.register>>,
    Scope.Scope
  >
  /** A peer of a node, which has been sent its token when this returns, if it is registered. */
  readonly peer: (
    node: RelayTest.RawNode,
    localAddress?: string
  ) => Effect.Effect<RelayTest.RawStream, RelayTest.Ended, Scope.Scope>
  readonly dialBack: (
    token: SpliceToken.SpliceToken
  ) => Effect.Effect<RelayTest.RawStream, RelayTest.Ended, Scope.Scope>
}

/** Notes the links that a member dials. */
const watched = (dialed: Array<Transport.DialOptions>) =>
  Layer.effect(
    Elsewhere.Elsewhere,
    Effect.map(Elsewhere.Elsewhere, ({ join, tokenPrefix }) => ({
      tokenPrefix,
      join: (here: Elsewhere.Here) =>
        join!({
          ...here,
          transport: {
            ...here.transport,
            dial: (options) => {
              dialed.push(options)
              return here.transport.dial(options)
            }
          }
        })
    }))
  )

export const member = (
  transport: "kernel" | "portable",
  identity: Identity.Identity,
  settings: Settings = {}
): Effect.Effect<Member, unknown, Directory.Directory | Scope.Scope> =>
  Effect.gen(function*() {
    const dialed: Array<Transport.DialOptions> = []
    const elsewhere = watched(dialed).pipe(
      Layer.provideMerge(Cluster.layer({ listen: { host: "127.0.0.1", port: 0 } }))
    )
    const context = yield* Layer.build(
      Layer.fresh(
        RelayTest.layer({ identity, maxShareOfNode: 1, transport, ...settings }).pipe(Layer.provideMerge(elsewhere))
      )
    )
    const test = yield* Effect.provide(testRelay, context)
    return {
      ...test,
      name: Context.get(context, Elsewhere.Elsewhere).tokenPrefix!,
      dialed,
      register: (identity) => RelayTest.register(test.address, identity === undefined ? {} : { identity }),
      peer: (node, localAddress = "127.0.0.7") =>
        RelayTest.sendPreamble(test.address, CertDigest.toBytes(node.identity.digest), { localAddress }),
      dialBack: (token) => RelayTest.dialBack(test.address, token)
    }
  })

export const members = (transport: "kernel" | "portable") =>
<A, E>(
  count: number,
  settings: Settings,
  body: (members: ReadonlyArray<Member>) => Effect.Effect<A, E, Directory.Directory | Scope.Scope>
) =>
  Effect.gen(function*() {
    const identity = yield* Identity.generate
    const all = yield* Effect.replicateEffect(member(transport, identity, settings), count)
    yield* Effect.scoped(body(all))
    for (const { relay } of all) {
      yield* Effect.provideService(empty, Relay.Relay, relay)
    }
  }).pipe(Effect.scoped, Effect.provide(Directory.layerMemory), withoutDefects)
