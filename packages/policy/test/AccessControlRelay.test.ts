/**
 * Access control around a real relay, through real sockets.
 */
import { NodeFileSystem, NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { AccessControl, type LiveSettings, VolumeQuota } from "@tx3/policy"
import { CertDigest, Identity } from "@tx3/protocol"
import { Bandwidth, Relay, type RelayError, RelayEvents, RelayTest } from "@tx3/relay"
import type { Scope } from "effect"
import { Effect, Layer, Option } from "effect"
import * as Os from "node:os"
import * as Path from "node:path"
import { calloutServer } from "./utils/calloutServer.js"
import { liveSettings, logTo, reload, type Values } from "./utils/operated.js"

type Services = AccessControl.AccessControl | LiveSettings.LiveSettings | Relay.Relay | VolumeQuota.VolumeQuota

/** Runs the body against a relay with these settings, and looks at what it leaves behind. */
const withRelay = <A, E>(values: () => Values, body: Effect.Effect<A, E, Services | Scope.Scope>) => {
  const lines: Array<string> = []
  return Effect.gen(function*() {
    yield* Effect.scoped(body)
    yield* RelayTest.empty
    assert.deepEqual(lines.filter((line) => line.startsWith("ERROR") && !line.includes("monthlyBytesHard")), [])
  }).pipe(
    Effect.provide(
      Relay.layer.pipe(
        Layer.provideMerge(AccessControl.layer),
        Layer.provide([Bandwidth.layerUnlimited, RelayEvents.layerSilent]),
        Layer.provideMerge(VolumeQuota.layer),
        Layer.provide([NodeFileSystem.layer, NodeHttpClient.layer]),
        Layer.provideMerge(liveSettings(() => ({ transport: "portable", ...values() }))),
        Layer.provideMerge(logTo(lines))
      )
    )
  )
}

const address = Effect.map(Relay.Relay, ({ addresses }) => addresses[0]!)

/** Waits until the relay has turned away so many for this reason. */
const rejected = (reason: RelayError.RejectionReason, count: number) =>
  Effect.flatMap(
    Relay.Relay,
    ({ snapshot }) => RelayTest.eventually(Effect.map(snapshot, ({ totals }) => totals.rejections[reason] === count))
  )

const register = (options?: Parameters<typeof RelayTest.register>[1]) =>
  Effect.flatMap(address, (address) => RelayTest.register(address, options))

/** Registers and gets no all-clear. */
const refused = (options?: Parameters<typeof RelayTest.register>[1]) =>
  Effect.map(Effect.flip(Effect.scoped(Effect.asVoid(register(options)))), (error) => {
    if (error._tag === "Ended") {
      assert.strictEqual(error.received.length, 0)
    }
  })

const peerFrom = (node: RelayTest.RawNode, localAddress: string) =>
  Effect.flatMap(
    address,
    (address) => RelayTest.sendPreamble(address, CertDigest.toBytes(node.identity.digest), { localAddress })
  )

/** A peer from there is spliced, and bytes get through. */
const spliced = (node: RelayTest.RawNode, localAddress: string) =>
  Effect.gen(function*() {
    const peer = yield* peerFrom(node, localAddress)
    const inside = yield* node.accept
    yield* peer.send(Buffer.from("hello"))
    assert.strictEqual((yield* inside.receive(5)).toString(), "hello")
    return peer
  })

const closedPeer = (node: RelayTest.RawNode, localAddress: string) =>
  Effect.flatMap(peerFrom(node, localAddress), (peer) => peer.closed)

describe("AccessControl around a relay", () => {
  it.live("refuses a denied node, and another registers", () =>
    Effect.gen(function*() {
      const [ours, theirs] = yield* Effect.all([Identity.generate, Identity.generate])
      yield* withRelay(
        () => ({ access: { nodes: { deny: [theirs.digest] } } }),
        Effect.gen(function*() {
          yield* refused({ identity: theirs })
          yield* rejected("denied", 1)
          yield* spliced(yield* register({ identity: ours }), "127.0.0.1")
        })
      )
    }))

  it.live("refuses a denied address before TLS", () =>
    withRelay(
      () => ({ access: { controlStreams: { deny: ["127.0.0.2/31"] } } }),
      Effect.gen(function*() {
        const relay = yield* address
        // Not a byte of TLS has been sent.
        const early = yield* RelayTest.sendPreamble(relay, CertDigest.toBytes(Option.getOrThrow(relay.digest)), {
          localAddress: "127.0.0.2"
        })
        yield* early.closed
        yield* rejected("denied", 1)
        yield* refused({ localAddress: "127.0.0.3" })
        yield* rejected("denied", 2)
        yield* spliced(yield* register(), "127.0.0.2")
      })
    ))

  it.live("a peer from outside a node's peersOf is refused, one from inside is spliced", () =>
    Effect.gen(function*() {
      const [ours, theirs] = yield* Effect.all([Identity.generate, Identity.generate])
      yield* withRelay(
        () => ({ access: { peersOf: { [ours.digest]: { allow: ["127.0.0.2"] } }, peers: { deny: ["127.0.0.4"] } } }),
        Effect.gen(function*() {
          const node = yield* register({ identity: ours })
          const other = yield* register({ identity: theirs })
          yield* closedPeer(node, "127.0.0.3")
          yield* rejected("denied", 1)
          yield* spliced(node, "127.0.0.2")
          yield* spliced(other, "127.0.0.3")
          yield* closedPeer(other, "127.0.0.4")
          yield* rejected("denied", 2)
        })
      )
    }))

  it.live("a ban tells who it means of those that run and keeps them out, until it is taken back", () =>
    withRelay(
      () => ({}),
      Effect.gen(function*() {
        const control = yield* AccessControl.AccessControl
        const relay = yield* Relay.Relay
        const node = yield* register({ localAddress: "127.0.0.2" })
        yield* spliced(node, "127.0.0.3")
        yield* RelayTest.eventually(Effect.map(relay.snapshot, ({ splices }) => splices === 1))
        const counts = (isMeant: AccessControl.Match) =>
          [Array.from(relay.controlStreams()), Array.from(relay.splices())].map((all) =>
            all.filter(({ node, source }) => isMeant(node, source)).length
          )

        assert.deepEqual(counts(yield* control.ban("127.0.0.3")), [0, 1])
        yield* closedPeer(node, "127.0.0.3")
        yield* rejected("denied", 1)
        yield* reload
        yield* closedPeer(node, "127.0.0.3")
        yield* rejected("denied", 2)
        yield* control.unban("127.0.0.3")
        yield* spliced(node, "127.0.0.3")

        assert.deepEqual(counts(yield* control.ban("127.0.0.2")), [1, 0])
        yield* refused({ localAddress: "127.0.0.2" })
        yield* rejected("denied", 3)
        yield* control.unban("127.0.0.2")

        assert.deepEqual(counts(yield* control.ban(node.identity.digest)), [1, 2])
        yield* refused({ identity: node.identity })
        yield* closedPeer(node, "127.0.0.1")
        yield* rejected("denied", 5)
        yield* control.unban(node.identity.digest)
        yield* spliced(node, "127.0.0.1")
        yield* register({ localAddress: "127.0.0.2" })
      })
    ))

  it.live("the callout lets a node in, keeps it out, or hangs, which keeps it out", () =>
    Effect.scoped(Effect.gen(function*() {
      const [ours, theirs, hanging] = yield* Effect.all([Identity.generate, Identity.generate, Identity.generate])
      const server = yield* calloutServer((response, number) => {
        const request = server.requests[number - 1]!
        if (!request.includes(hanging.digest)) {
          response.writeHead(request.includes(ours.digest) ? 204 : 403).end()
        }
      })
      yield* withRelay(
        () => ({ access: { callout: { url: server.url, timeoutMs: 300 } } }),
        Effect.gen(function*() {
          const node = yield* register({ identity: ours, localAddress: "127.0.0.2" })
          assert.include(server.requests[0], `{"node":"${ours.digest}","address":"127.0.0.2"}`)
          yield* refused({ identity: theirs })
          yield* rejected("denied", 1)
          yield* refused({ identity: hanging })
          yield* rejected("denied", 2)
          yield* RelayTest.eventually(Effect.sync(() => server.open() === 0))
          yield* spliced(node, "127.0.0.3")
        })
      )
    })))

  it.live("a node whose time is up while the callout is asked leaves no request behind", () =>
    Effect.scoped(Effect.gen(function*() {
      const server = yield* calloutServer(() => {})
      yield* withRelay(
        () => ({ connectionTimeoutMs: 300, access: { callout: { url: server.url, timeoutMs: 60_000 } } }),
        Effect.gen(function*() {
          yield* refused()
          yield* rejected("handshakeTimeout", 1)
          yield* RelayTest.eventually(Effect.sync(() => server.requests.length === 1 && server.open() === 0))
        })
      )
    })))

  it.live("refuses peers from the hard threshold of the month's volume on, and running splices go on", () => {
    let values: Values = { monthlyBytesHard: 1_000 }
    const file = { monthlyBytesFile: Path.join(Os.tmpdir(), `tx3-none-${process.pid}`, "month.json") }
    return withRelay(
      () => ({ ...file, ...values }),
      Effect.gen(function*() {
        const quota = yield* VolumeQuota.VolumeQuota
        const node = yield* register()
        const running = yield* spliced(node, "127.0.0.1")
        quota.add(1_000)
        yield* closedPeer(node, "127.0.0.1")
        yield* rejected("quota", 1)
        yield* running.send(Buffer.from("on"))
        values = { monthlyBytesHard: 1_001 }
        yield* reload
        yield* spliced(node, "127.0.0.1")
        values = {}
        yield* reload
      })
    )
  })
})
