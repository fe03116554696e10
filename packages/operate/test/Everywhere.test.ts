/** Kicks and bans at every member of a cluster in one process. */
import { FetchHttpClient } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cluster, Directory } from "@tx3/cluster"
import { LogLevelSwitch, RelayActions, RelayJournal } from "@tx3/operate"
import { AccessControl, BandwidthLimits, LiveSettings, OperatorConfig, VolumeQuota } from "@tx3/policy"
import { CertDigest, Identity } from "@tx3/protocol"
import { Relay, RelayTest } from "@tx3/relay"
import { Context, Effect, Layer, Logger, LogLevel } from "effect"
import { carries } from "../../relay/test/utils/clients.js"
import { withOperatedRelay } from "./utils/operatedRelay.js"

const identity = Effect.runSync(Effect.cached(Identity.generate))

const load = Effect.gen(function*() {
  const settings = yield* OperatorConfig.decode([{
    place: (key) => key,
    values: { bind: ["tx3-rst://127.0.0.1:0"], maxShareOfNode: 1, transport: "portable" }
  }])
  return { settings, identity: yield* identity }
})

const link = { listen: { host: "127.0.0.1", port: 0 } }

/** What an operator acts on, without an admin server. */
const operated = RelayActions.layer.pipe(
  Layer.provideMerge(Relay.layer),
  Layer.provide(Cluster.layer(link)),
  Layer.provideMerge(Layer.mergeAll(AccessControl.layer, BandwidthLimits.layer, RelayJournal.layer)),
  Layer.provide([VolumeQuota.layer, FetchHttpClient.layer]),
  Layer.provide(LiveSettings.layer(load)),
  Layer.provide([LogLevelSwitch.layer, NodeContext.layer])
)

const member = Effect.gen(function*() {
  const context = yield* Layer.build(Layer.fresh(operated))
  const relay = Context.get(context, Relay.Relay)
  return {
    access: Context.get(context, AccessControl.AccessControl),
    actions: Context.get(context, RelayActions.RelayActions),
    address: relay.addresses[0]!,
    name: relay.membership!.view().name,
    noted: () =>
      Context.get(context, RelayJournal.RelayJournal).recent().filter(({ kind }) => kind === "operator")
        .map(({ text }) => text),
    relay
  }
})

/** Three members that know each other. */
const three = Effect.gen(function*() {
  const members = [yield* member, yield* member, yield* member] as const
  yield* RelayTest.eventually(
    Effect.sync(() => members.every(({ relay }) => relay.membership!.view().members.length === 2))
  )
  return members
})

const outcomes = Effect.map((at: ReadonlyArray<{ readonly outcome: string; readonly ended: number }>) =>
  at.map(({ ended, outcome }) => `${outcome} ${ended}`).sort()
)

const quietly = Logger.withMinimumLogLevel(LogLevel.None)

describe("everywhere", () => {
  it.scopedLive("a kick ends a node's connections at each member, which notes who asked", () =>
    Effect.gen(function*() {
      const [home, door, side] = yield* three
      const node = yield* RelayTest.register(home.address)
      const peer = yield* RelayTest.sendPreamble(door.address, CertDigest.toBytes(node.identity.digest))
      const inside = yield* RelayTest.dialBack(side.address, yield* node.token)
      yield* carries(peer, inside, "hello")
      const order = { action: "kick", who: node.identity.digest } as const
      const at = yield* side.actions.everywhere(order)
      assert.strictEqual(at[0]!.member, side.name)
      assert.strictEqual(at[0]!.outcome, "notThere")
      // Its stream and its splice; the door has its link still, or has seen it end.
      assert.deepInclude(at.find(({ member }) => member === home.name), { outcome: "done", ended: 2 })
      yield* Effect.all([peer.closed, inside.closed, node.control.closed])
      assert.deepStrictEqual(home.noted(), [`kick node ${node.identity.digest}, as asked at member ${side.name}`])
      assert.deepStrictEqual(yield* outcomes(side.actions.everywhere(order)), [
        "notThere 0",
        "notThere 0",
        "notThere 0"
      ])
    }).pipe(Effect.provide(Directory.layerMemory), quietly))

  it.scopedLive("a ban holds at each member until it is taken back at each", () =>
    Effect.gen(function*() {
      const [home, door, side] = yield* three
      const node = yield* RelayTest.register(home.address)
      const who = node.identity.digest
      assert.deepStrictEqual(
        yield* outcomes(door.actions.everywhere({ action: "ban", who })),
        ["done 0", "done 0", "done 1"]
      )
      assert.include(door.noted(), `ban ${who}, everywhere`)
      for (const { access, address } of [home, door, side]) {
        assert.deepStrictEqual(access.bans().map((ban) => ban.who), [who])
        yield* Effect.flip(RelayTest.register(address, { identity: node.identity }))
      }
      yield* home.actions.unban(who)
      const unban = { action: "unban", who } as const
      assert.deepStrictEqual(yield* outcomes(side.actions.everywhere(unban)), ["done 0", "done 0", "notThere 0"])
      yield* RelayTest.register(side.address, { identity: node.identity })
    }).pipe(Effect.provide(Directory.layerMemory), quietly))

  it.scopedLive("a member that does not answer, and one that knows no orders, are told from those that did it", () =>
    Effect.gen(function*() {
      const directory = yield* Directory.Directory
      let mute = ""
      const some = {
        ...directory,
        ask: (subject: string, question: string) =>
          mute !== "" && subject.endsWith(mute)
            ? new Directory.NotAnswered({ reason: "unavailable" })
            : directory.ask(subject, question)
      }
      yield* Effect.gen(function*() {
        const [first, second, third] = yield* three
        const plain = yield* Layer.build(Layer.fresh(
          RelayTest.layer({ identity: yield* identity, transport: "portable" }).pipe(Layer.provide(Cluster.layer(link)))
        ))
        const older = Context.get(plain, Relay.Relay).membership!.view().name
        yield* RelayTest.eventually(Effect.sync(() => first.relay.membership!.view().members.length === 3))
        mute = third.name
        const at = yield* first.actions.everywhere({ action: "ban", who: "192.0.2.0/24" })
        assert.deepStrictEqual(
          Object.fromEntries(at.map(({ member, outcome }) => [member, outcome])),
          { [first.name]: "done", [second.name]: "done", [third.name]: "noAnswer", [older]: "refused" }
        )
      }).pipe(Effect.provideService(Directory.Directory, some))
    }).pipe(Effect.provide(Directory.layerMemory), quietly))

  it.scopedLive("what cannot be done is refused before any member is asked", () =>
    Effect.gen(function*() {
      const directory = yield* Directory.Directory
      let isConnected = true
      yield* Effect.gen(function*() {
        const { access, actions } = yield* member
        const refused = (action: "ban" | "kick", who: string) =>
          Effect.map(Effect.flip(actions.everywhere({ action, who })), ({ message }) => message)
        assert.include(yield* refused("kick", "abcdef"), "not the whole digest")
        assert.include(yield* refused("ban", "300.1.1.1"), "neither a node's digest nor an IP address")
        isConnected = false
        assert.include(yield* refused("ban", "192.0.2.1"), "NATS is away")
        assert.deepStrictEqual(access.bans(), [])
      }).pipe(Effect.provideService(Directory.Directory, { ...directory, isConnected: () => isConnected }))
    }).pipe(Effect.provide(Directory.layerMemory), quietly))

  it.live("a relay alone refuses it", () =>
    withOperatedRelay({}, ({ actions }) =>
      Effect.gen(function*() {
        const { message } = yield* Effect.flip(actions.everywhere({ action: "ban", who: "192.0.2.1" }))
        assert.include(message, "in no cluster")
      })).pipe(quietly))
})
