/**
 * Members as processes, on Debian's nats-server: what is left when one of them, or the engine, is killed or stopped. Nodes and
 * peers are those of this process.
 */
import { assert, describe, it } from "@effect/vitest"
import { CertDigest, Identity } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Fiber } from "effect"
import { createHash, randomBytes } from "node:crypto"
import { carries } from "../../relay/test/utils/clients.js"
import type { MemberProcess } from "./utils/memberProcess.js"
import { memberProcess } from "./utils/memberProcess.js"
import { natsServer } from "./utils/natsServer.js"

const three = Effect.gen(function*() {
  const engine = yield* natsServer()
  const identity = yield* Identity.generate
  const member = memberProcess({ nats: [engine.url], identity, settings: { maxRelaysPerControl: 256 } })
  const members = yield* Effect.all([member, member, member], { concurrency: 3 })
  return { engine, member, members }
})

const peerAt = ({ address }: MemberProcess, node: RelayTest.RawNode, localAddress = "127.0.0.7") =>
  RelayTest.sendPreamble(address, CertDigest.toBytes(node.identity.digest), { localAddress })

/** A peer of a node, and the node's connection: through these two members. */
const meet = (node: RelayTest.RawNode, door: MemberProcess, side: MemberProcess) =>
  Effect.gen(function*() {
    const peer = yield* peerAt(door, node)
    return { peer, inside: yield* RelayTest.dialBack(side.address, yield* node.token) }
  })

/** A peer gets nothing, and is closed. */
const refusedAt = (member: MemberProcess, node: RelayTest.RawNode) =>
  Effect.scoped(Effect.gen(function*() {
    const peer = yield* peerAt(member, node)
    assert.strictEqual((yield* peer.receiveAll).length, 0)
  }))

withPrograms(["nats-server"], () => {
  describe("members as processes", () => {
    it.scopedLive("carry bytes in each placement, 64 MiB through both links, and 200 peers at once", () =>
      Effect.gen(function*() {
        const { members: [home, door, side] } = yield* three
        const node = yield* RelayTest.register(home.address)
        // The member that the peer comes to, and the one that is dialed back to.
        const placements = [[home, home], [door, home], [home, door], [door, door], [door, side]] as const
        yield* Effect.forEach(placements, ([door, side]) =>
          Effect.scoped(Effect.gen(function*() {
            const { inside, peer } = yield* meet(node, door, side)
            yield* carries(peer, inside, "there")
            yield* carries(inside, peer, "and back")
            yield* peer.end
            assert.strictEqual((yield* inside.receiveAll).length, 0)
            yield* carries(inside, peer, "half-closed")
            yield* inside.reset
            assert.strictEqual(yield* peer.closed, "reset")
          })))
        yield* Effect.forEach([home, door, side], ({ quiet }) => quiet)
        const before = (yield* home.state).totals
        assert.deepStrictEqual(
          [before.splices, before.bytesFromPeers, before.bytesFromNodes],
          [5, 5 * "there".length, 5 * "and backhalf-closed".length]
        )
        const bytes = randomBytes(64 * 1024 * 1024)
        yield* Effect.scoped(Effect.gen(function*() {
          const { inside, peer } = yield* meet(node, door, side)
          yield* Effect.fork(Effect.zipRight(peer.send(bytes), peer.end))
          const hash = createHash("sha256").update(yield* inside.receiveAll).digest("hex")
          assert.strictEqual(hash, createHash("sha256").update(bytes).digest("hex"))
          yield* inside.end
          yield* peer.receiveAll
        }))
        const { totals } = yield* home.state
        assert.deepStrictEqual(
          [totals.splices, totals.bytesFromPeers - before.bytesFromPeers],
          [before.splices + 1, bytes.length]
        )
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Effect.forEach(Array.from({ length: 200 }), (_, index) =>
            Effect.gen(function*() {
              const peer = yield* peerAt([home, door, side][index % 3]!, node, `127.0.1.${index + 1}`)
              yield* peer.send(Buffer.from("?"))
            }), { concurrency: "unbounded" })
          yield* Effect.forEach(Array.from({ length: 200 }), (_, index) =>
            Effect.gen(function*() {
              const inside = yield* RelayTest.dialBack([door, side, home][index % 3]!.address, yield* node.token)
              assert.strictEqual((yield* inside.receive(1)).toString(), "?")
            }))
        }))
        yield* Effect.forEach([home, door, side], ({ quiet }) => quiet)
      }))

    it.scopedLive("one is killed: its nodes are served where they register next, and nothing is left of it", () =>
      Effect.gen(function*() {
        const { members: [home, door, side] } = yield* three
        const node = yield* RelayTest.register(home.address)
        const { inside, peer } = yield* meet(node, door, side)
        yield* carries(peer, inside, "hello")
        // Peers of another member's node come all the time.
        const other = yield* RelayTest.register(side.address)
        let visits = 0
        const visit = Effect.scoped(Effect.gen(function*() {
          const met = yield* meet(other, door, visits % 2 === 0 ? door : side)
          yield* carries(met.peer, met.inside, "undisturbed")
          visits++
        }))
        const load = yield* Effect.fork(Effect.forever(visit))
        const more = Effect.suspend(() => {
          const before = visits
          return RelayTest.eventually(Effect.sync(() => visits > before + 5))
        })
        yield* more
        home.kill("SIGKILL")
        yield* Effect.all([peer.closed, inside.closed, Effect.exit(node.control.receiveAll)])
        yield* Effect.all([peer.reset, inside.reset])
        yield* refusedAt(door, node)
        const again = yield* RelayTest.register(side.address, { identity: node.identity })
        const met = yield* meet(again, door, door)
        yield* carries(met.peer, met.inside, "hello again")
        yield* met.peer.reset
        yield* more
        // None of them has failed.
        assert.isNull(load.unsafePoll())
        yield* Fiber.interrupt(load)
        yield* Effect.all([door.quiet, side.quiet])
      }))

    it.scopedLive("one is stopped: look-ups for its nodes fail, others do not wait, and it comes back", () =>
      Effect.gen(function*() {
        const { members: [home, door, side] } = yield* three
        const [node, moved] = [yield* RelayTest.register(home.address), yield* RelayTest.register(home.address)]
        const other = yield* RelayTest.register(side.address)
        home.kill("SIGSTOP")
        const waiting = yield* Effect.fork(refusedAt(door, node))
        const met = yield* meet(other, door, door)
        yield* carries(met.peer, met.inside, "meanwhile")
        yield* waiting
        assert.strictEqual((yield* door.state).totals.rejections.clusterUnavailable, 1)
        const again = yield* RelayTest.register(side.address, { identity: moved.identity })
        home.kill("SIGCONT")
        // It hears that the node is elsewhere, and serves the one that is not.
        yield* moved.control.receiveAll
        yield* home.until(({ connections }) => connections.control === 1)
        for (const each of [again, node]) {
          const met = yield* meet(each, door, door)
          yield* carries(met.peer, met.inside, "all is well")
        }
      }))

    it.scopedLive("one shuts down: peers of its nodes wait for them, and its splices end in peace", () =>
      Effect.gen(function*() {
        const { members: [home, door, side] } = yield* three
        const node = yield* RelayTest.register(home.address)
        const old = yield* meet(node, door, side)
        yield* carries(old.peer, old.inside, "before")
        const waiting = yield* peerAt(door, node)
        const token = yield* node.token
        const shutdown = yield* Effect.fork(home.shutdown)
        // A peer whose node has its token already is dialed back by another member.
        const inside = yield* RelayTest.dialBack(side.address, token)
        yield* carries(waiting, inside, "in time")
        yield* Effect.exit(node.control.receiveAll)
        const early = yield* peerAt(door, node)
        yield* early.send(Buffer.from("early"))
        yield* door.until(({ connections }) => connections.preamble === 1)
        const again = yield* RelayTest.register(side.address, { identity: node.identity })
        const late = yield* RelayTest.dialBack(door.address, yield* again.token)
        assert.strictEqual((yield* late.receive(5)).toString(), "early")
        yield* carries(old.inside, old.peer, "after")
        yield* Effect.forEach([old.peer, inside, late], ({ reset }) => reset)
        yield* Fiber.join(shutdown)
        yield* Effect.all([door.quiet, side.quiet])
      }))

    it.scopedLive("the engine is killed: what is local goes on, and all heals when it is back", () =>
      Effect.gen(function*() {
        const { engine, members: [home, door, side] } = yield* three
        const node = yield* RelayTest.register(home.address)
        const { inside, peer } = yield* meet(node, door, side)
        yield* carries(peer, inside, "hello")
        engine.kill("SIGKILL")
        yield* engine.ended
        yield* carries(peer, inside, "links stay")
        yield* refusedAt(door, node)
        assert.strictEqual((yield* door.state).totals.rejections.clusterUnavailable, 1)
        const local = yield* meet(node, home, home)
        yield* carries(local.peer, local.inside, "local")
        // Registered elsewhere, which its old member cannot know now.
        const again = yield* RelayTest.register(side.address, { identity: node.identity })
        const late = yield* RelayTest.register(home.address)
        yield* natsServer(engine.port)
        yield* node.control.receiveAll
        for (const each of [again, late]) {
          yield* RelayTest.eventually(
            Effect.map(Effect.exit(Effect.scoped(meetSoon(each, door))), (exit) => exit._tag === "Success")
          )
        }
      }))
  })
})

/** The same, if the peer is not refused. */
const meetSoon = (node: RelayTest.RawNode, door: MemberProcess) =>
  Effect.gen(function*() {
    const peer = yield* peerAt(door, node)
    const inside = yield* Effect.raceFirst(
      Effect.flatMap(node.token, (token) => RelayTest.dialBack(door.address, token)),
      Effect.zipRight(peer.closed, Effect.fail("refused"))
    )
    yield* carries(peer, inside, "healed")
  })
