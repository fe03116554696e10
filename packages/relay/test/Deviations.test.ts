/**
 * Where the original goes wrong and this relay does not: protocol section 6, points 1 to 10, each by its number. Points
 * 11 to 13 belong to the program and to the node.
 */
import { assert, describe, it } from "@effect/vitest"
import { Address, Identity } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import { Duration, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { carries, controlPreamble, refusedToConnect, refusedToRegister, stallHandshake } from "./utils/clients.js"
import { hasIpv6 } from "./utils/loopback.js"
import { memoryRelay, memoryRelayLayer, withMemoryRelay } from "./utils/memoryTransport.js"
import { relayProcess } from "./utils/relayProcess.js"
import type { Settings, TestRelay } from "./utils/withRelay.js"
import { empty, testRelay, transport, withoutDefects, withRelay } from "./utils/withRelay.js"

describe("Deviations", () => {
  it.live("6.1 newest wins: the old stream is closed, and its end leaves the new one alone", () =>
    withRelay({}, ({ address, has, relay, splice }) =>
      Effect.gen(function*() {
        const old = yield* RelayTest.register(address)
        const waiting = yield* old.peer
        yield* has({ pending: 1 })
        yield* old.token

        const { identity } = old
        const newer = yield* RelayTest.register(address, { identity })
        yield* old.control.closed
        yield* waiting.closed
        yield* has({ control: 1, pending: 0 })
        const { node, peer } = yield* splice(newer)
        yield* carries(peer, node, "to the newer stream")

        for (let i = 0; i < 3; i++) {
          const newest = yield* RelayTest.register(address, { identity })
          yield* has({ control: 1 })
          yield* splice(newest)
        }
        const { totals } = yield* relay.snapshot
        assert.strictEqual(totals.controlStreamsEnded.replaced, 4)
        assert.strictEqual(totals.rejections.controlStreamEnded, 1)
      })))

  it.live("6.1 newest wins: live splices survive, and count against the same node's maxRelaysPerControl", () =>
    withRelay({ maxRelaysPerControl: 2 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const old = yield* RelayTest.register(address)
        const before = yield* splice(old)
        yield* has({ spliced: 2 })

        const newer = yield* RelayTest.register(address, { identity: old.identity })
        yield* old.control.closed
        const after = yield* splice(newer)
        yield* has({ control: 1, spliced: 4 })
        yield* Effect.flatMap(newer.peer, (surplus) => surplus.closed)
        yield* rejected("maxRelaysPerControl", 1)

        yield* carries(before.peer, before.node, "still here")
        yield* carries(after.node, after.peer, "here too")
        yield* before.peer.reset
        yield* has({ spliced: 2 })
        yield* splice(newer)
        yield* has({ spliced: 4 })
      })))

  it.live("6.2 stalled handshakes: one host's cannot lock others out, and hold no place of a node", () =>
    withRelay({ maxControlStreams: 1 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const stalled = yield* Effect.replicateEffect(stallHandshake(address, { localAddress: "127.0.0.2" }), 20)
        yield* rejected("maxHandshakesPerIp", 12)
        yield* has({ handshake: 8 })

        const node = yield* RelayTest.register(address)
        yield* splice(node)
        yield* has({ control: 1, handshake: 8, spliced: 2 })
        yield* Effect.forEach(stalled, (stream) => stream.hangUp)
        yield* has({ handshake: 0 })
      })))

  it.live("6.2 a node that comes back takes its predecessor's place, even where both limits are reached", () =>
    withRelay(
      { maxControlStreams: 1, maxControlStreamsPerIp: 1 },
      ({ address, has, rejected, splice }) =>
        Effect.gen(function*() {
          const old = yield* RelayTest.register(address)
          yield* refusedToRegister(address)
          yield* rejected("maxControlStreams", 1)

          const newer = yield* RelayTest.register(address, { identity: old.identity })
          yield* old.control.closed
          yield* has({ control: 1 })
          yield* refusedToRegister(address)
          yield* rejected("maxControlStreams", 2)
          yield* splice(newer)
        })
    ))

  it.live("6.2 a node that comes back from a source without a place is refused, and its predecessor stays", () =>
    withRelay({ maxControlStreamsPerIp: 1 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const there = { localAddress: "127.0.0.2" }
        yield* RelayTest.register(address, there)
        const node = yield* RelayTest.register(address)

        yield* refusedToRegister(address, { ...there, identity: node.identity })
        yield* rejected("maxControlStreamsPerIp", 1)
        yield* has({ control: 2 })
        const { node: inside, peer } = yield* splice(node)
        yield* carries(peer, inside, "still registered")

        // Elsewhere there is a place, and the one it leaves is free at once.
        yield* RelayTest.register(address, { localAddress: "127.0.0.3", identity: node.identity })
        yield* node.control.closed
        yield* RelayTest.register(address)
      })))

  it.live("6.3 pending peers hold their inbound place", () =>
    withRelay({ maxInboundConnections: 3 }, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const first = yield* node.peer
        yield* node.peer
        yield* has({ control: 1, pending: 2 })

        yield* Effect.flatMap(RelayTest.connect(address), (surplus) => surplus.closed)
        yield* rejected("maxInboundConnections", 1)

        yield* first.hangUp
        yield* has({ pending: 1 })
        yield* node.peer
        yield* has({ pending: 2 })
        yield* rejected("maxInboundConnections", 1)
      })))

  // In memory, because the kernel takes 4 MB for a node that does not read: tokens of 75,000 peers (measured on Linux).
  it.effect("6.4 a control stream that takes nothing: a bounded mailbox, and 2 s until it and its peers are ended", () =>
    // All of these peers come at once.
    withMemoryRelay({ peerRatePerIp: 1_000 }, ({ has, register, rejected, relay, send }) =>
      Effect.gen(function*() {
        const node = yield* register
        yield* node.stall
        yield* send(node.digest)
        yield* has({ pending: 1 })
        for (let i = 0; i < 4; i++) {
          yield* Effect.scoped(Effect.replicateEffect(send(node.digest), 50))
          yield* has({ pending: 1, preamble: 0 })
        }
        // The first token is being written. Those that came later have left the mailbox with their peers.
        yield* rejected("hungUp", 200)
        assert.strictEqual((yield* relay.snapshot).totals.unclaimedTokens, 0)

        const stalled = yield* register
        yield* stalled.stall
        const waiting = yield* send(stalled.digest)
        const other = yield* register
        yield* send(other.digest)
        yield* has({ control: 3, pending: 3 })

        yield* TestClock.adjust("1999 millis")
        yield* has({ control: 3, pending: 3 })
        yield* TestClock.adjust("1 millis")
        yield* has({ control: 1, pending: 1 })
        assert.strictEqual((yield* relay.snapshot).totals.controlStreamsEnded.stalled, 2)
        yield* waiting.closed
        yield* rejected("controlStreamEnded", 2)

        yield* Effect.flatMap(send(node.digest), (peer) => peer.closed)
        yield* rejected("unknownPreamble", 1)
      })))

  it.effect("6.4 a node that takes tokens and does not dial back any more is ended, and registers again", () =>
    withMemoryRelay({}, ({ has, register, rejected, relay, send }) =>
      Effect.gen(function*() {
        const node = yield* register
        yield* Effect.scoped(Effect.gen(function*() {
          yield* send(node.digest)
          yield* send(yield* node.control.receive(32))
          yield* has({ spliced: 2 })
        }))
        yield* has({ spliced: 0 })

        const first = yield* send(node.digest)
        yield* has({ pending: 1 })
        yield* TestClock.adjust("20 seconds")
        yield* first.closed
        yield* rejected("pendingTimeout", 1)
        const second = yield* send(node.digest)
        yield* has({ pending: 1 })
        yield* TestClock.adjust("7 seconds")
        yield* has({ control: 1, pending: 1 })
        yield* TestClock.adjust("1 seconds")
        yield* second.closed
        yield* rejected("controlStreamEnded", 1)
        yield* has({ control: 0, pending: 0 })
        assert.strictEqual((yield* relay.snapshot).totals.controlStreamsEnded.unresponsive, 1)
      })))

  it.live("6.5 a pending peer that hangs up frees its slot at once", () =>
    withRelay({ maxRelaysPerControl: 1 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const ways: ReadonlyArray<(peer: RelayTest.RawStream) => Effect.Effect<void>> = [
          (peer) => peer.end,
          (peer) => peer.hangUp,
          (peer) => peer.reset
        ]
        for (const leave of ways) {
          const peer = yield* node.peer
          yield* has({ pending: 1 })
          yield* node.token
          yield* leave(peer)
          yield* has({ pending: 0 })
        }
        yield* rejected("hungUp", 3)
        yield* splice(node)
        yield* has({ spliced: 2 })
        yield* rejected("maxRelaysPerControl", 0)
      })))

  it.live("6.5 the end of a control stream frees the slots of the peers that wait for it at once", () =>
    withRelay({ maxRelaysPerControl: 2 }, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const identity = yield* Identity.generate
        const ways: ReadonlyArray<(node: RelayTest.RawNode) => Effect.Effect<void, RelayTest.Ended>> = [
          (node) => node.control.end,
          (node) => node.control.hangUp,
          (node) => node.tcp.reset,
          (node) => node.control.send(Buffer.from("x"))
        ]
        for (const leave of ways) {
          const node = yield* RelayTest.register(address, { identity })
          const peers = yield* Effect.all([node.peer, node.peer])
          yield* has({ pending: 2 })
          yield* leave(node)
          yield* Effect.forEach(peers, (peer) => peer.closed)
          yield* has({ control: 0, pending: 0 })
        }
        yield* rejected("controlStreamEnded", 8)
        yield* rejected("maxRelaysPerControl", 0)
      })))

  it.live("6.6 TCP_NODELAY: messages of 8 to 20 KiB in several writes do not wait for an acknowledgement", () =>
    withRelay({}, ({ address, splice }) =>
      Effect.gen(function*() {
        const { node, peer } = yield* splice(yield* RelayTest.register(address))
        const times: Array<number> = []
        for (let round = 0; round < 40; round++) {
          const [from, to] = round % 2 === 0 ? [peer, node] : [node, peer]
          const part = Buffer.alloc(1024 * (2 + round % 4), round)
          const start = performance.now()
          for (let i = 0; i < 4; i++) {
            yield* from.send(part)
            yield* Effect.promise(() => new Promise(setImmediate))
          }
          yield* to.receive(4 * part.length)
          yield* to.send(Buffer.from("."))
          yield* from.receive(1)
          times.push(performance.now() - start)
        }
        // A delayed acknowledgement costs 40 ms, each time; without one a round takes about 1 ms.
        const median = times.sort((a, b) => a - b)[20]!
        assert.isBelow(median, 20)
      })))

  it.live("6.7 descriptors: the surplus of a flood is turned away before they run out", () =>
    Effect.scoped(Effect.gen(function*() {
      const { address, snapshot } = yield* relayProcess({ descriptors: 600, occupied: 0 })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.replicateEffect(RelayTest.connect(address), 550)
        yield* RelayTest.eventually(Effect.map(snapshot, ({ totals }) => totals.accepted === 550))
        const { connections, inconsistencies, totals } = yield* snapshot
        // Beside the 64 for other things the kernel's transport has one thread's 3, and 18 pipes.
        const free = 600 - 64 - (transport === "kernel" ? 3 + 2 * 18 : 0)
        assert.strictEqual(totals.rejections.descriptors, 550 - free)
        assert.strictEqual(connections.preamble, free)
        assert.deepStrictEqual(inconsistencies, [])
      }))
      yield* RelayTest.eventually(Effect.map(snapshot, ({ connections }) => connections.preamble === 0))
      const { node, peer } = yield* RelayTest.splice(yield* RelayTest.register(address))
      yield* carries(peer, node, "serves again")
    })))

  it.live("6.7 descriptors: survives running out of them, and serves again when there are some", () =>
    Effect.scoped(Effect.gen(function*() {
      const { address, snapshot } = yield* relayProcess({ descriptors: 600, occupied: 500 })
      const registered = yield* RelayTest.register(address)
      yield* Effect.scoped(Effect.gen(function*() {
        const flood = yield* Effect.replicateEffect(RelayTest.connect(address), 120)
        // The relay does without the surplus, of which it may not even hear; what it has accepted it goes on serving.
        yield* Effect.raceAll(flood.map((stream) => stream.closed))
        const { connections, inconsistencies } = yield* snapshot
        assert.isBelow(connections.preamble, 100)
        assert.deepStrictEqual(inconsistencies, [])
      }))
      yield* RelayTest.eventually(Effect.map(snapshot, ({ connections }) => connections.preamble === 0))
      const { node, peer } = yield* RelayTest.splice(registered)
      yield* carries(peer, node, "serves again")
      yield* RelayTest.splice(yield* RelayTest.register(address))
      assert.deepStrictEqual((yield* snapshot).inconsistencies, [])
    })))

  it.live("6.8 a half-closed splice lingers, any byte prolongs that, then it ends; a full-open one is never reaped", () =>
    withRelay({ lingerTimeoutMs: 1_000 }, ({ address, has, splice }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const idle = yield* splice(registered)
        const { node, peer } = yield* splice(registered)
        yield* has({ spliced: 4 })
        yield* peer.end
        assert.strictEqual(yield* node.closed, "ended")
        for (let i = 0; i < 6; i++) {
          yield* Effect.sleep("250 millis")
          yield* node.send(Buffer.from("."))
          yield* peer.receive(1)
        }
        const [silence] = yield* Effect.timed(peer.closed)
        assert.approximately(Duration.toMillis(silence), 1_000, 900)
        yield* has({ spliced: 2 })
        yield* carries(idle.peer, idle.node, "in no hurry")
      })))

  it.live.skipIf(!hasIpv6)("6.9 an IPv4 node of a dual-stack listener counts to its IPv4 address", () =>
    withRelay(
      { bind: ["tx3-rst://[::]:0", "tx3-rst://127.0.0.1:0"], maxControlStreamsPerIp: 1 },
      ({ address, has, rejected, relay }) =>
        Effect.gen(function*() {
          const ipv4 = relay.addresses.find(({ host }) => host === "127.0.0.1")!
          const mapped = new Address.Address({ ...address, host: "127.0.0.1" })
          const ipv6 = new Address.Address({ ...address, host: "::1" })
          assert.notStrictEqual(mapped.port, ipv4.port)

          yield* RelayTest.register(mapped)
          yield* refusedToRegister(ipv4)
          yield* refusedToRegister(mapped)
          yield* rejected("maxControlStreamsPerIp", 2)

          yield* RelayTest.register(ipv6)
          yield* refusedToRegister(ipv6)
          yield* rejected("maxControlStreamsPerIp", 3)
          yield* has({ control: 2 })
        })
    ))

  it.live("6.10 shutdown: stops accepting, ends what is no splice, and lets splices drain", () =>
    withShutdown({}, ({ address, has, relay, shutDown, splice }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const { node, peer } = yield* splice(registered)
        const others = [
          registered.control,
          yield* RelayTest.connect(address),
          yield* stallHandshake(address),
          yield* registered.peer
        ]
        yield* has({ control: 1, handshake: 1, pending: 1, preamble: 1, spliced: 2 })
        yield* registered.token

        const down = yield* Effect.fork(shutDown)
        yield* Effect.forEach(others, (stream) => stream.closed)
        yield* has({ control: 0, handshake: 0, pending: 0, preamble: 0, spliced: 2 })
        assert.strictEqual((yield* relay.snapshot).state, "draining")
        yield* refusedToConnect(address)

        yield* carries(peer, node, "take your time")
        yield* carries(node, peer, "thank you")
        yield* Effect.all([peer.end, node.end])
        yield* Fiber.join(down)
        const { totals } = yield* relay.snapshot
        assert.strictEqual(totals.bytesFromPeers, 14)
        assert.strictEqual(totals.controlStreamsEnded.shutdown, 1)
      })))

  it.live("6.10 shutdown: a splice that overruns the drain is reset", () =>
    withShutdown({ drainTimeoutMs: 100 }, ({ address, has, shutDown, splice }) =>
      Effect.gen(function*() {
        const { node, peer } = yield* splice(yield* RelayTest.register(address))
        yield* has({ spliced: 2 })
        yield* shutDown
        assert.strictEqual(yield* peer.closed, "reset")
        assert.strictEqual(yield* node.closed, "reset")
      })))

  it.effect("6.10 shutdown: splices have 10 s to drain", () =>
    Effect.scoped(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(memoryRelayLayer({}), scope)
      const { has, register, relay, send } = yield* Effect.provide(memoryRelay, context)
      const node = yield* register
      const peer = yield* send(node.digest)
      yield* send(yield* node.control.receive(32))
      yield* has({ spliced: 2 })

      const down = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* has({ control: 0, spliced: 2 })
      yield* TestClock.adjust("9999 millis")
      yield* has({ spliced: 2 })
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(down)
      yield* peer.closed
      yield* Effect.provide(empty, context)
      assert.deepStrictEqual(yield* relay.inconsistencies, [])
    })).pipe(withoutDefects))

  it.live("6.10 shutdown: connections that arrive meanwhile are refused or closed without a byte, and hold nothing up", () =>
    withShutdown({}, ({ address, has, shutDown, splice }) =>
      Effect.gen(function*() {
        const { node, peer } = yield* splice(yield* RelayTest.register(address))
        const comeBack = RelayTest.sendPreamble(address, controlPreamble(address)).pipe(
          Effect.flatMap((stream) => stream.closed),
          Effect.scoped,
          Effect.forever,
          Effect.flip
        )
        const visitors = yield* Effect.fork(Effect.all(Array.from({ length: 20 }, () => comeBack), { concurrency: 20 }))
        yield* has({ handshake: 8, spliced: 2 })

        const arriving = yield* Effect.fork(Effect.replicateEffect(Effect.option(RelayTest.connect(address)), 20))
        const down = yield* Effect.fork(shutDown)
        yield* Fiber.join(visitors)
        yield* Fiber.join(arriving)
        yield* carries(peer, node, "nobody minds")
        yield* Effect.all([peer.end, node.end])
        yield* Fiber.join(down)
      })))
})

/** As `withRelay`, with a relay that the body shuts down. */
const withShutdown = <A, E>(
  settings: Settings,
  body: (relay: TestRelay & { readonly shutDown: Effect.Effect<void> }) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.scoped(Effect.gen(function*() {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(RelayTest.layer({ transport, ...settings }), scope)
    const relay = yield* Effect.provide(testRelay, context)
    yield* body({ ...relay, shutDown: Scope.close(scope, Exit.void) })
    yield* Effect.provide(empty, context)
  })).pipe(withoutDefects)
