/** Ends that die without a word, on networks that the test breaks: the relay notices within half a minute. */
import { assert, describe, it } from "@effect/vitest"
import { Address, CertDigest } from "@tx3/protocol"
import { Relay, RelayTest } from "@tx3/relay"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect } from "effect"
import type { Machine } from "../../../sockets/test/utils/network.js"
import { machine, networksWork, ownNetwork } from "../../../sockets/test/utils/network.js"
import type { Settings } from "./withRelay.js"
import { empty, withoutDefects } from "./withRelay.js"

/** Half a minute, and as much again for a machine that is busy. The system alone takes a quarter of an hour. */
const patienceMs = 60_000

const mebibyte = 1024 * 1024

const settings: Settings = { bind: ["tx3-rst://0.0.0.0:0"], maxControlStreamsPerIp: 99, maxShareOfNode: 1 }

const countsWithin = (what: string, awaited: Partial<Relay.Snapshot["connections"]>) =>
  Effect.gen(function*() {
    const relay = yield* Relay.Relay
    const holds = ({ connections }: Relay.Snapshot) =>
      Object.entries(awaited).every(([stage, count]) => connections[stage as keyof typeof connections] === count)
    const began = Date.now()
    while (!holds(yield* relay.snapshot)) {
      if (Date.now() - began > patienceMs) {
        const { connections } = yield* relay.snapshot
        return yield* Effect.dieMessage(
          `${what}: not within ${patienceMs} ms; there are ${JSON.stringify(connections)}`
        )
      }
      yield* Effect.sleep(100)
    }
  })

/** The test of one transport. It waits for most of its time, so each has a file of its own. */
export const deadEnds = (transport: "kernel" | "portable"): void =>
  withPrograms(["ip", "iptables"], () => {
    describe.skipIf(!networksWork)("Dead ends", () => {
      it.scopedLive(
        "are noticed within half a minute, with and without bytes in flight, and a paused reader is none",
        () =>
          Effect.gen(function*() {
            yield* ownNetwork
            const [idleNode, busyNode, unpluggedNode] = [yield* machine, yield* machine, yield* machine]
            const [idlePeer, busyPeer, unpluggedPeer] = [yield* machine, yield* machine, yield* machine]
            const [stalledPeer, pausedPeer] = [yield* machine, yield* machine]

            yield* Effect.gen(function*() {
              const relay = yield* Relay.Relay
              const at = (host: string) => new Address.Address({ ...relay.addresses[0]!, host })

              // Each machine has a node or a peer, and all that is not on a machine is here.
              const nodes: Array<RelayTest.RawNode> = []
              for (const each of [idleNode, busyNode, unpluggedNode]) {
                nodes.push(yield* each.inside(RelayTest.register(at(each.here))))
              }
              const here = yield* RelayTest.register(at(idlePeer.here))
              const splicedFrom = (each: Machine) =>
                Effect.gen(function*() {
                  const preamble = CertDigest.toBytes(here.identity.digest)
                  const peer = yield* each.inside(RelayTest.sendPreamble(at(each.here), preamble))
                  return { peer, node: yield* here.accept }
                })
              const [idle, busy] = [yield* splicedFrom(idlePeer), yield* splicedFrom(busyPeer)]
              const unplugged = yield* splicedFrom(unpluggedPeer)
              const [stalled, paused] = [yield* splicedFrom(stalledPeer), yield* splicedFrom(pausedPeer)]
              // Those two have stopped reading, and probes find them alive.
              const much = Buffer.alloc(32 * mebibyte, 1)
              for (const { node, peer } of [stalled, paused]) {
                peer.stream.pause()
                node.stream.write(much)
              }
              yield* countsWithin("all of them", { control: 4, spliced: 10 })
              yield* Effect.sleep(3_000)

              for (const each of [idleNode, busyNode, idlePeer, busyPeer, stalledPeer]) {
                each.powerOff()
              }
              unpluggedNode.unplug()
              unpluggedPeer.unplug()
              // Peers come for nodes that are dead, and bytes for peers that are.
              for (const { identity } of nodes.slice(1)) {
                yield* RelayTest.sendPreamble(at(idleNode.here), CertDigest.toBytes(identity.digest))
              }
              yield* busy.node.send(Buffer.from("in flight"))
              yield* unplugged.node.send(Buffer.from("in flight"))

              yield* countsWithin("dead nodes and peers to be gone", { control: 1, spliced: 2, pending: 0 })
              for (const each of [idle, busy, unplugged, stalled]) {
                assert.isTrue((yield* Effect.flip(each.node.receiveAll)).reset)
              }

              let received = 0
              paused.peer.stream.on("data", (chunk: Buffer) => received += chunk.length).resume()
              yield* RelayTest.eventually(Effect.sync(() => received === much.length)).pipe(
                Effect.timeout("30 seconds")
              )
            }).pipe(Effect.scoped, Effect.zipRight(empty), Effect.provide(RelayTest.layer({ ...settings, transport })))
          }).pipe(withoutDefects),
        4 * patienceMs
      )
    })
  })
