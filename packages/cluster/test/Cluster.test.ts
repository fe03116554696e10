/** Members of a cluster in one process, through real sockets, on each transport. Nodes and peers are raw: they know no cluster. */
import { assert, describe, it } from "@effect/vitest"
import { RelayTest } from "@tx3/relay"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { carries } from "../../relay/test/utils/clients.js"
import type { Member } from "./utils/members.js"
import { members } from "./utils/members.js"

/** A node of one member, with a peer that came to another. */
const visited = (home: Member, door: Member) =>
  Effect.gen(function*() {
    const node = yield* home.register()
    const visitor = yield* door.peer(node)
    const inside = yield* home.dialBack(yield* node.token)
    yield* carries(visitor, inside, "hello")
    return { inside, node, visitor }
  })

for (const transport of ["kernel", "portable"] as const) {
  describe(`Cluster, ${transport}`, () => {
    const withMembers = members(transport)

    // The member of the node's control stream, the one its peer comes to, the one it dials back to.
    for (const [node, peer, back] of [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2]] as const) {
      it.live(`node at ${node}, peer at ${peer}, dial-back at ${back}: bytes, half-close and counts`, () =>
        withMembers(3, {}, ([...cluster]) =>
          Effect.gen(function*() {
            const [home, door, side] = [cluster[node]!, cluster[peer]!, cluster[back]!]
            const registered = yield* home.register()
            const visitor = yield* door.peer(registered)
            yield* visitor.send(Buffer.from("first"))
            const inside = yield* side.dialBack(yield* registered.token)
            assert.strictEqual((yield* inside.receive(5)).toString(), "first")
            yield* carries(inside, visitor, "an answer")
            yield* home.has({ control: 1, spliced: 2 })
            yield* visitor.end
            assert.strictEqual((yield* inside.receiveAll).length, 0)
            yield* carries(inside, visitor, "more")
            yield* inside.end
            yield* home.has({ spliced: 0 })
            const { totals } = yield* home.relay.snapshot
            assert.deepStrictEqual([totals.splices, totals.bytesFromPeers, totals.bytesFromNodes], [1, 5, 13])
          })))
    }

    it.live("a reset reaches the other end over both links", () =>
      withMembers(3, {}, ([home, door, side]) =>
        Effect.gen(function*() {
          const node = yield* home!.register()
          const visitor = yield* door!.peer(node)
          const inside = yield* side!.dialBack(yield* node.token)
          yield* carries(visitor, inside, "hello")
          yield* visitor.reset
          assert.strictEqual(yield* inside.closed, "reset")
        })))

    it.live("a node that registers with another member replaces itself, and its splices go on", () =>
      withMembers(2, {}, ([first, second]) =>
        Effect.gen(function*() {
          const { inside, node, visitor } = yield* visited(first!, second!)
          const again = yield* second!.register(node.identity)
          yield* node.control.receiveAll
          yield* first!.has({ control: 0, spliced: 2 })
          yield* second!.has({ control: 1 })
          yield* carries(inside, visitor, "still there")
          const next = yield* first!.peer(again)
          const taken = yield* second!.dialBack(yield* again.token)
          yield* carries(next, taken, "at the new place")
        })))

    it.live("limits hold over all members, with the real source, and a forwarded connection is two sockets of it", () =>
      withMembers(
        2,
        { connectionRatePerIp: 1_000_000, maxInboundPerIp: 2, maxRelaysPerControl: 4, maxShareOfNode: 0.75 },
        ([first, second]) =>
          Effect.gen(function*() {
            const node = yield* first!.register()
            const visitors = yield* Effect.forEach(
              [1, 2, 3],
              (which) =>
                Effect.gen(function*() {
                  const visitor = yield* [first!, second!][which % 2]!.peer(node)
                  const inside = yield* first!.dialBack(yield* node.token)
                  yield* carries(visitor, inside, "hello")
                  return visitor
                })
            )
            // Two came over links, and are no sockets of the link's source.
            assert.deepStrictEqual(
              [first!, second!].map(({ relay }) => relay.sources().get("127.0.0.7" as never)),
              [3, 4]
            )
            const refused = yield* second!.peer(node)
            assert.strictEqual((yield* refused.receiveAll).length, 0)
            yield* second!.rejected("refusedElsewhere", 1)
            yield* first!.rejected("maxShareOfNode", 1)
            const other = yield* second!.peer(node, "127.0.0.8")
            const inside = yield* second!.dialBack(yield* node.token)
            yield* carries(other, inside, "from elsewhere")
            const tooMany = yield* second!.peer(node, "127.0.0.9")
            assert.strictEqual((yield* tooMany.receiveAll).length, 0)
            yield* first!.rejected("maxRelaysPerControl", 1)
            yield* Effect.forEach(visitors, ({ reset }) => reset)
          })
      ))

    it.live("a peer whose node leaves is closed at its own member at once, though its own end stays open", () =>
      withMembers(2, {}, ([home, door]) =>
        Effect.gen(function*() {
          const node = yield* home!.register()
          const visitor = yield* door!.peer(node)
          yield* node.token
          yield* node.control.hangUp
          assert.strictEqual(yield* visitor.closed, "reset")
          yield* door!.has({ forwarded: 0 })
        })))

    it.live("strangers are closed without a byte, at whichever member", () =>
      withMembers(2, {}, ([first, second]) =>
        Effect.gen(function*() {
          for (const member of [first!, second!]) {
            for (const preamble of [randomBytes(32), Buffer.concat([first!.name, randomBytes(24)])]) {
              const stranger = yield* RelayTest.sendPreamble(member.address, preamble)
              assert.strictEqual((yield* stranger.receiveAll).length, 0)
            }
            yield* member.rejected("unknownPreamble", 2)
          }
        })))

    it.live("links with garbage, a used ticket or none are closed", () =>
      withMembers(2, {}, ([first, second]) =>
        Effect.gen(function*() {
          const { inside, visitor } = yield* visited(first!, second!)
          assert.strictEqual(first!.dialed.length + second!.dialed.length, 1)
          const { first: ticket, ...link } = second!.dialed[0]!
          for (const bytes of [ticket, randomBytes(32), randomBytes(7)]) {
            const stranger = yield* RelayTest.sendPreamble(link, bytes)
            yield* stranger.end
            assert.strictEqual((yield* stranger.receiveAll).length, 0)
          }
          yield* carries(inside, visitor, "undisturbed")
        })))
  })
}
