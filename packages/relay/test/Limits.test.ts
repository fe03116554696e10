/**
 * The relay's limits through real sockets. Over each of them a connection is closed without a byte, and a place that
 * was given back can be taken again. The first four are the original's tests in other words.
 */
import { assert, describe, it } from "@effect/vitest"
import { Identity, Source, SpliceToken } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import { Effect, Scope } from "effect"
import { carries, refusedToRegister, stallHandshake } from "./utils/clients.js"
import { withRelay } from "./utils/withRelay.js"

describe("Limits", () => {
  it.live("connectionRatePerIp: the surplus of one source is closed, and another source comes in", () =>
    withRelay({ connectionRatePerIp: 1 }, ({ address, has, relay }) =>
      Effect.gen(function*() {
        // Ten at once, and on a slow machine one more for each second that it takes.
        const isRefused = Effect.map(relay.snapshot, ({ totals }) => totals.rejections.connectionRatePerIp > 0)
        yield* RelayTest.connect(address).pipe(
          Effect.zipRight(isRefused),
          Effect.repeat({ until: (refused) => refused, times: 1_000 })
        )
        const { connections, totals } = yield* relay.snapshot
        assert.isAtLeast(totals.accepted, 11)
        assert.isAtLeast(connections.preamble, 10)
        yield* RelayTest.register(address, { localAddress: "127.0.0.2" })
        yield* has({ control: 1 })
      })))

  it.live("maxInboundConnections: every socket counts from accept to close, whatever it became", () =>
    withRelay({ maxInboundConnections: 4 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const { peer } = yield* splice(node)
        yield* RelayTest.connect(address)
        yield* has({ control: 1, preamble: 1, spliced: 2 })

        const surplus = yield* RelayTest.connect(address)
        yield* surplus.closed
        yield* rejected("maxInboundConnections", 1)
        yield* has({ control: 1, preamble: 1, spliced: 2 })

        yield* peer.reset
        yield* has({ spliced: 0 })
        yield* splice(node)
        yield* rejected("maxInboundConnections", 1)
      })))

  it.live("maxControlStreams: the surplus node gets no all-clear", () =>
    withRelay({ maxControlStreams: 2 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const first = yield* RelayTest.register(address)
        yield* RelayTest.register(address)

        yield* refusedToRegister(address)
        yield* rejected("maxControlStreams", 1)
        yield* has({ control: 2 })

        yield* first.control.end
        yield* has({ control: 1 })
        yield* splice(yield* RelayTest.register(address))
      })))

  it.live("maxControlStreamsPerIp: the surplus node of one source gets no all-clear, another source's does", () =>
    withRelay({ maxControlStreamsPerIp: 2 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const first = yield* RelayTest.register(address)
        yield* RelayTest.register(address)

        yield* refusedToRegister(address)
        yield* rejected("maxControlStreamsPerIp", 1)
        yield* RelayTest.register(address, { localAddress: "127.0.0.2" })

        yield* first.control.end
        yield* has({ control: 2 })
        yield* splice(yield* RelayTest.register(address))
      })))

  it.live("maxRelaysPerControl: peers of one node count, waiting and spliced", () =>
    withRelay({ maxRelaysPerControl: 2 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const other = yield* RelayTest.register(address)
        const spliced = yield* splice(node)
        const waiting = yield* node.peer
        yield* has({ pending: 1, spliced: 2 })

        yield* Effect.flatMap(node.peer, (surplus) => surplus.closed)
        yield* rejected("maxRelaysPerControl", 1)
        yield* splice(other)

        yield* waiting.hangUp
        yield* has({ pending: 0 })
        const next = yield* node.peer
        yield* has({ pending: 1 })
        yield* Effect.flatMap(node.peer, (surplus) => surplus.closed)
        yield* rejected("maxRelaysPerControl", 2)

        yield* spliced.peer.reset
        yield* has({ spliced: 2 })
        yield* node.token
        yield* node.accept
        yield* next.send(Buffer.from("x"))
        yield* splice(node)
      })))

  it.live("connectionTimeoutMs: ends whatever is not a node or a splice by then, and nothing else", () =>
    withRelay({ connectionTimeoutMs: 1_500 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const identity = yield* Identity.generate
        const node = yield* RelayTest.register(address, { identity })
        const settled = yield* splice(node)

        const silent = yield* RelayTest.connect(address)
        const slow = yield* RelayTest.sendPreamble(address, new Uint8Array(31))
        const stalled = yield* stallHandshake(address)
        const waiting = yield* node.peer
        yield* has({ control: 1, handshake: 1, pending: 1, preamble: 2, spliced: 2 })

        yield* Effect.forEach([silent, slow, stalled, waiting], (stream) => stream.closed, { concurrency: 4 })
        yield* rejected("preambleTimeout", 2)
        yield* rejected("handshakeTimeout", 1)
        yield* rejected("pendingTimeout", 1)

        yield* has({ control: 1, handshake: 0, pending: 0, preamble: 0, spliced: 2 })
        yield* carries(settled.peer, settled.node, "still here")
        const late = yield* node.token
        yield* Effect.flatMap(RelayTest.dialBack(address, late), (stream) => stream.closed)
        yield* splice(node)
      })))

  it.live("maxInboundPerIp: sockets of one source count until they are a node or spliced", () =>
    withRelay({ maxInboundPerIp: 2 }, ({ address, has, rejected, splice }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        yield* splice(node)
        yield* splice(node)

        const idle = yield* RelayTest.connect(address)
        const waiting = yield* node.peer
        yield* has({ control: 1, pending: 1, preamble: 1, spliced: 4 })
        yield* Effect.flatMap(RelayTest.connect(address), (surplus) => surplus.closed)
        yield* rejected("maxInboundPerIp", 1)

        yield* RelayTest.connect(address, { localAddress: "127.0.0.2" })
        yield* has({ preamble: 2 })

        yield* idle.hangUp
        yield* has({ preamble: 1 })
        yield* RelayTest.dialBack(address, yield* node.token)
        yield* has({ pending: 0, spliced: 6 })
        yield* waiting.send(Buffer.from("x"))
        yield* RelayTest.connect(address)
        yield* RelayTest.connect(address)
        yield* has({ preamble: 3 })
        yield* rejected("maxInboundPerIp", 1)
      })))

  it.live("maxShareOfRelay: register, splice, leave, again and again: others still register and are reached", () =>
    withRelay(
      { maxInboundConnections: 60, maxRelaysPerControl: 2 },
      ({ address, has, relay }) =>
        Effect.gen(function*() {
          const attacker = { localAddress: "127.0.0.2" }
          const scope = yield* Effect.scope
          const unlessClosed = <A, E>(wanted: Effect.Effect<A, E>, stream: RelayTest.RawStream) =>
            Effect.raceFirst(wanted, Effect.flatMap(stream.closed, () => Effect.fail("refused")))
          const round = Effect.scoped(Effect.gen(function*() {
            const node = yield* RelayTest.register(address, attacker)
            const preamble = Buffer.from(node.identity.digest, "base64url")
            for (let count = 0; count < 2; count++) {
              const peer = yield* Scope.extend(RelayTest.sendPreamble(address, preamble, attacker), scope)
              const token = yield* unlessClosed(node.token, peer)
              const dialed = RelayTest.sendPreamble(address, SpliceToken.toBytes(token), attacker)
              const inside = yield* Scope.extend(dialed, scope)
              yield* unlessClosed(carries(inside, peer, "spliced"), inside)
            }
          }))
          let rounds = 0
          while (rounds < 20 && (yield* Effect.exit(round))._tag === "Success") {
            rounds++
          }
          // Three quarters of 60, and one more.
          assert.isAtLeast((yield* relay.snapshot).totals.rejections.maxShareOfRelay, 1)
          assert.isAtMost(relay.sources().get(Source.fromAddress("127.0.0.2"))!, 46)

          const node = yield* RelayTest.register(address)
          const [inside, peer] = yield* Effect.all([node.accept, node.peer], { concurrency: 2 })
          yield* carries(peer, inside, "hello")
          yield* has({ control: 1 })
        })
    ))

  it.live("maxHandshakes: handshakes in progress have a bound of their own", () =>
    withRelay({ maxHandshakes: 2 }, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const stalled = yield* stallHandshake(address, { localAddress: "127.0.0.2" })
        yield* stallHandshake(address, { localAddress: "127.0.0.3" })
        yield* has({ handshake: 2 })

        yield* refusedToRegister(address)
        yield* rejected("maxHandshakes", 1)

        yield* stalled.hangUp
        yield* has({ handshake: 1 })
        yield* RelayTest.register(address)
        yield* RelayTest.register(address)
        yield* has({ control: 2, handshake: 1 })
      })))

  it.live("maxHandshakesPerIp: one source has its share of them", () =>
    withRelay({ maxHandshakesPerIp: 1 }, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const stalled = yield* stallHandshake(address)
        yield* has({ handshake: 1 })

        yield* refusedToRegister(address)
        yield* rejected("maxHandshakesPerIp", 1)
        yield* RelayTest.register(address, { localAddress: "127.0.0.2" })

        yield* stalled.hangUp
        yield* has({ handshake: 0 })
        yield* RelayTest.register(address)
      })))
})
