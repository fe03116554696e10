/** A relay that asks another for what it does not have, through real sockets. The others are as simple as they can be. */
import { assert, describe, it } from "@effect/vitest"
import { CertDigest, Identity, SpliceToken } from "@tx3/protocol"
import type { RelayEvents as Events } from "@tx3/relay"
import { Access, Bandwidth, Elsewhere, Relay, RelayError, RelayEvents, RelayTest } from "@tx3/relay"
import { Context, Effect, Exit, Layer, Option, Scope } from "effect"
import { randomBytes } from "node:crypto"
import { carries } from "./utils/clients.js"
import type { Settings, TestRelay } from "./utils/withRelay.js"
import { empty, testRelay, transport, withoutDefects, withRelay } from "./utils/withRelay.js"

const prefix = Buffer.from("A name! ")

interface Member {
  readonly test: TestRelay
  readonly events: ReadonlyArray<Events.RelayEvent>
  readonly context: Context.Context<Relay.Relay>
}

/** The relays that have joined, in their order. Each asks the one other, and dials it. */
class Neighbours {
  readonly heres: Array<Elsewhere.Here> = []
  readonly announced: Array<CertDigest.CertDigest> = []
  readonly drained: Array<number> = []
  /** Holds announcements up. */
  readonly mayAnnounce = Effect.unsafeMakeLatch(true)
  readonly reservations: Array<Elsewhere.Reservation> = []
  /** Whether the link of a reservation is made. */
  links = true

  readonly others: Elsewhere.Others = {
    tokenPrefix: prefix,
    join: (here) =>
      Effect.gen(this, function*() {
        const index = this.heres.push(here) - 1
        const forwards = new Set<Elsewhere.Forward>()
        const awaited = new Map<string, Elsewhere.Reservation>()
        const bound = yield* here.transport.listen({
          host: "127.0.0.1",
          port: 0,
          ipv6Only: false,
          onAcceptError: () => {},
          onConnection: (socket) =>
            Effect.runFork(Effect.map(socket.preamble, (ticket) => {
              awaited.get(Buffer.from(ticket).toString("hex"))!.open(socket)
            }))
        })
        this.tickets[index] = { awaited, bound }
        return {
          announce: ({ node }) => Effect.zipRight(this.mayAnnounce.await, Effect.sync(() => this.announced.push(node))),
          forwards: () => forwards,
          view: () => assert.fail("nobody asks"),
          order: () => Effect.succeed([]),
          obey: () => Effect.void,
          awaitNone: Effect.suspend(() => RelayTest.eventually(Effect.sync(() => forwards.size === 0))),
          drain: Effect.sync(() => this.drained.push(index)),
          forward: (connection, preamble) => this.forward(1 - index, here, forwards, connection, preamble)
        }
      })
  }

  private readonly tickets: Array<{
    readonly awaited: Map<string, Elsewhere.Reservation>
    readonly bound: { readonly host: string; readonly port: number }
  }> = []

  private readonly forward = (
    to: number,
    here: Elsewhere.Here,
    forwards: Set<Elsewhere.Forward>,
    ...[connection, preamble]: Parameters<Elsewhere.Membership["forward"]>
  ) =>
    Effect.gen(this, function*() {
      const reservation = yield* this.heres[to]!.reserve(preamble, connection.address)
      if (reservation === undefined) {
        return yield* new RelayError.Rejected({ reason: "unknownPreamble" })
      }
      this.reservations.push(reservation)
      if (!this.links) {
        return yield* new RelayError.Rejected({ reason: "clusterUnavailable" })
      }
      const ticket = randomBytes(32)
      const { awaited, bound } = this.tickets[to]!
      awaited.set(ticket.toString("hex"), reservation)
      yield* here.dialed(connection.source)
      const link = yield* Effect.orDie(here.transport.dial({ ...bound, first: ticket, timeoutMs: 10_000 }))
      connection.enter("forwarded", () => forwards.delete(forward))
      const { carried } = here.transport.splice(
        connection.socket,
        link,
        { idleTimeoutMs: undefined, lingerTimeoutMs: 60_000, rates: [] },
        () => Effect.runFork(connection.end)
      )
      const forward: Elsewhere.Forward = {
        carried,
        connection: connection.id,
        node: undefined,
        reset: connection.end,
        source: connection.source
      }
      forwards.add(forward)
    })
}

/** Two relays of one identity. */
const twoRelays = (
  body: (first: Member, second: Member, neighbours: Neighbours) => Effect.Effect<
    unknown,
    unknown,
    Scope.Scope
  >,
  settings: Settings = {},
  access: Access.AccessPolicy = Access.open
) =>
  Effect.gen(function*() {
    const neighbours = new Neighbours()
    const identity = yield* Identity.generate
    const member = Effect.gen(function*() {
      const events: Array<Events.RelayEvent> = []
      const policies = Layer.mergeAll(
        Layer.succeed(Access.Access, access),
        Bandwidth.layerUnlimited,
        Layer.succeed(RelayEvents.RelayEvents, { publish: (event) => events.push(event) })
      )
      const context = yield* Layer.build(
        RelayTest.layer({ identity, maxShareOfNode: 1, transport, ...settings }, policies).pipe(
          Layer.provide(Layer.succeed(Elsewhere.Elsewhere, neighbours.others))
        )
      )
      return { context, events, test: yield* Effect.provide(testRelay, context) }
    })
    const [first, second] = [yield* member, yield* member]
    yield* Effect.scoped(body(first, second, neighbours))
    for (const { context } of [first, second]) {
      yield* Effect.provide(empty, context)
    }
  }).pipe(Effect.scoped, withoutDefects)

const registeredAt = ({ test: { address } }: Member) => RelayTest.register(address)

/** A peer that reaches a node at another relay, from an address of its own. */
const peerAt = ({ test: { address } }: Member, node: RelayTest.RawNode, localAddress = "127.0.0.7") =>
  RelayTest.sendPreamble(address, CertDigest.toBytes(node.identity.digest), { localAddress })

const dialBackAt = ({ test: { address } }: Member, token: SpliceToken.SpliceToken) => RelayTest.dialBack(address, token)

describe("Elsewhere", () => {
  it.live("alone, a relay's tokens are random from their first byte", () =>
    withRelay({}, ({ address }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        yield* Effect.replicateEffect(node.peer, 2)
        const heads = (yield* Effect.replicateEffect(node.token, 2)).map((token) => token.slice(0, 10))
        assert.notStrictEqual(heads[0], heads[1])
      })))

  it.live("a token begins with the relay's name, and ends at random", () =>
    twoRelays((first) =>
      Effect.gen(function*() {
        const node = yield* registeredAt(first)
        yield* Effect.replicateEffect(node.peer, 2)
        const tokens = (yield* Effect.replicateEffect(node.token, 2)).map(SpliceToken.toBytes)
        for (const token of tokens) {
          assert.isTrue(prefix.equals(token.subarray(0, prefix.length)))
        }
        assert.notDeepEqual(tokens[0], tokens[1])
      })
    ))

  for (const dialsBackTo of ["the node's relay", "the other"] as const) {
    it.live(`a peer at another relay meets its node, which dials back to ${dialsBackTo}`, () =>
      twoRelays((first, second) =>
        Effect.gen(function*() {
          const node = yield* registeredAt(first)
          const peer = yield* peerAt(second, node)
          yield* peer.send(Buffer.from("first"))
          const back = yield* dialBackAt(dialsBackTo === "the other" ? second : first, yield* node.token)
          assert.strictEqual((yield* back.receive(5)).toString(), "first")
          yield* carries(back, peer, "an answer")
          yield* second.test.has({ forwarded: dialsBackTo === "the other" ? 2 : 1, spliced: 0 })
          yield* first.test.has({ control: 1, forwarded: 0, spliced: 2 })
          yield* peer.end
          assert.strictEqual((yield* back.receiveAll).length, 0)
          yield* back.send(Buffer.from("more"))
          assert.strictEqual((yield* peer.receive(4)).toString(), "more")
          yield* back.end
          yield* first.test.has({ spliced: 0 })
          const { totals } = yield* first.test.relay.snapshot
          assert.deepStrictEqual([totals.bytesFromPeers, totals.bytesFromNodes], [5, 13])
          const begun = first.events.find(({ _tag }) => _tag === "SpliceBegan")
          assert(begun?._tag === "SpliceBegan")
          assert.strictEqual(begun.source, "127.0.0.7")
          assert.deepStrictEqual((yield* second.test.relay.snapshot).totals.splices, 0)
        })
      ))
  }

  it.live("a connection that no relay has the preamble of is closed without a byte, and not forwarded again", () =>
    twoRelays((first, second) =>
      Effect.gen(function*() {
        const stranger = yield* RelayTest.sendPreamble(second.test.address, randomBytes(32))
        yield* stranger.closed
        yield* second.test.rejected("unknownPreamble", 1)
        yield* first.test.rejected("unknownPreamble", 0)
      })
    ))

  it.live("limits and access of a node hold for peers from another relay, with their real source", () =>
    twoRelays(
      (first, second) =>
        Effect.gen(function*() {
          const node = yield* registeredAt(first)
          const peer = yield* peerAt(second, node)
          yield* first.test.has({ pending: 1 })
          yield* (yield* peerAt(second, node)).closed
          yield* first.test.rejected("maxShareOfNode", 1)
          yield* (yield* peerAt(second, node, "127.0.0.13")).closed
          yield* first.test.rejected("denied", 1)
          const refused = first.events.flatMap((event) => event._tag === "Rejected" ? [event.source, event.reason] : [])
          assert.deepStrictEqual(refused, ["127.0.0.7", "maxShareOfNode", "127.0.0.13", "denied"])
          yield* peerAt(second, node, "127.0.0.8")
          yield* first.test.has({ pending: 2 })
          yield* peer.hangUp
          yield* first.test.has({ pending: 1 })
        }),
      { maxRelaysPerControl: 4, maxShareOfNode: 0.25 },
      {
        ...Access.open,
        peer: (_, address) => address === "127.0.0.13" ? new RelayError.Rejected({ reason: "denied" }) : Effect.void
      }
    ))

  it.live("a reservation holds its places until its link comes, or until it is given back", () =>
    twoRelays((first, second, neighbours) =>
      Effect.gen(function*() {
        neighbours.links = false
        const node = yield* registeredAt(first)
        yield* (yield* peerAt(second, node)).closed
        assert.deepStrictEqual(Array.from(first.test.relay.peers().values()), [1])
        assert.deepStrictEqual(yield* first.test.relay.inconsistencies, [])
        yield* neighbours.reservations[0]!.giveBack
        yield* neighbours.reservations[0]!.giveBack
        assert.strictEqual(first.test.relay.peers().size, 0)
        yield* first.test.rejected("hungUp", 1)
      })
    ))

  it.live("a node is told that it is registered after the others", () =>
    twoRelays((first, _, neighbours) =>
      Effect.gen(function*() {
        yield* neighbours.mayAnnounce.close
        const registering = yield* Effect.fork(registeredAt(first))
        yield* first.test.has({ control: 1 })
        assert.isTrue(Option.isNone(yield* registering.poll))
        yield* neighbours.mayAnnounce.open
        const { identity } = yield* registering
        assert.deepStrictEqual(neighbours.announced, [identity.digest])
      })
    ))

  it.live("a drain tells the others first, ends what waits, and lets forwarded connections end", () =>
    twoRelays((first, second, neighbours) =>
      Effect.gen(function*() {
        const node = yield* registeredAt(first)
        const peer = yield* peerAt(second, node)
        const back = yield* dialBackAt(first, yield* node.token)
        yield* carries(peer, back, "hello")
        const draining = yield* Effect.fork(second.test.relay.drain)
        yield* RelayTest.eventually(Effect.sync(() => neighbours.drained.length > 0))
        assert.deepStrictEqual(neighbours.drained, [1])
        yield* carries(back, peer, "still there")
        assert.isTrue(Option.isNone(yield* draining.poll))
        yield* peer.reset
        yield* draining
      })
    ))

  it.live("the end of the relay resets forwarded connections at its deadline", () =>
    Effect.gen(function*() {
      const neighbours = new Neighbours()
      const identity = yield* Identity.generate
      const layer = RelayTest.layer({ drainTimeoutMs: 1, identity, maxShareOfNode: 1, transport }).pipe(
        Layer.provide(Layer.succeed(Elsewhere.Elsewhere, neighbours.others))
      )
      const first = yield* Layer.build(layer)
      const scope = yield* Scope.make()
      const second = yield* Layer.buildWithScope(Layer.fresh(layer), scope)
      const node = yield* RelayTest.register(Context.get(first, Relay.Relay).addresses[0]!)
      const at = Context.get(second, Relay.Relay).addresses[0]!
      const peer = yield* RelayTest.sendPreamble(at, CertDigest.toBytes(node.identity.digest))
      const back = yield* node.accept
      yield* carries(peer, back, "hello")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* peer.closed, "reset")
    }).pipe(Effect.scoped, withoutDefects))
})
