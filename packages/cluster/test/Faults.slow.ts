/**
 * What takes too long for every run of the tests (`npm run cluster:test`): members that are stopped for 10 s, cut off from NATS and
 * from each other, and flooded. Each test prints what it measures.
 */
import { assert, describe, it } from "@effect/vitest"
import { Address, CertDigest, Identity } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import * as programs from "@tx3/testing/builtPrograms"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Console, Effect, Fiber, Redacted } from "effect"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { carries } from "../../relay/test/utils/clients.js"
import type { Machine } from "../../sockets/test/utils/network.js"
import { machine, networksWork, ownNetwork } from "../../sockets/test/utils/network.js"
import type { MemberProcess } from "./utils/memberProcess.js"
import { memberProcess } from "./utils/memberProcess.js"
import { natsServer } from "./utils/natsServer.js"

const patienceMs = 60_000

const settings = {
  connectionRatePerIp: 1_000_000,
  maxInboundConnections: 50_000,
  maxInboundPerIp: 50_000,
  maxRelaysPerControl: 10_000,
  maxControlStreamsPerIp: 100
}

const three = Effect.gen(function*() {
  const { url } = yield* natsServer()
  const member = memberProcess({ nats: [url], identity: yield* Identity.generate, settings })
  return yield* Effect.all([member, member, member], { concurrency: 3 })
})

let visits = 0

/** A node takes 100 new peers a second of one source, so visits on this machine come from many. */
const fromAnother = ({ host }: Address.Address) =>
  host.startsWith("127.") ? { localAddress: `127.0.8.${1 + visits++ % 250}` } : {}

/** A peer of a node that is greeted: how many milliseconds that took. */
const visit = (node: RelayTest.RawNode, door: Address.Address, side: Address.Address) =>
  Effect.scoped(Effect.gen(function*() {
    const startedAt = performance.now()
    const peer = yield* RelayTest.sendPreamble(door, CertDigest.toBytes(node.identity.digest), fromAnother(door))
    const inside = yield* Effect.raceFirst(
      Effect.flatMap(node.token, (token) => RelayTest.dialBack(side, token)),
      Effect.zipRight(peer.closed, Effect.fail("refused"))
    )
    yield* carries(inside, peer, "hello")
    return performance.now() - startedAt
  }))

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

/** The median of as many visits as fit into this time. */
const visitsFor = (ms: number, one: Effect.Effect<number, unknown>) =>
  Effect.gen(function*() {
    const times: Array<number> = []
    const end = performance.now() + ms
    while (performance.now() < end) {
      times.push(yield* one)
    }
    return median(times)
  })

const untilItWorks = (one: Effect.Effect<number, unknown>) =>
  Effect.gen(function*() {
    const startedAt = performance.now()
    while ((yield* Effect.either(Effect.timeout(one, "2 seconds")))._tag === "Left") {
      assert.isBelow(performance.now() - startedAt, patienceMs)
      yield* Effect.sleep("50 millis")
    }
    return performance.now() - startedAt
  })

const ms = (value: number) => `${value.toFixed(1)} ms`

const refused = (member: MemberProcess, node: RelayTest.RawNode) =>
  Effect.scoped(Effect.gen(function*() {
    const startedAt = performance.now()
    const peer = yield* RelayTest.sendPreamble(member.address, CertDigest.toBytes(node.identity.digest))
    yield* peer.closed
    return performance.now() - startedAt
  }))

withPrograms(["nats-server"], () => {
  describe("a cluster", { timeout: 600_000 }, () => {
    it.scopedLive("goes on while a member is stopped for 10 s, and has it back", () =>
      Effect.gen(function*() {
        const [home, door, side] = yield* three
        const [node, other] = [yield* RelayTest.register(home.address), yield* RelayTest.register(side.address)]
        const one = visit(other, door.address, side.address)
        const before = yield* visitsFor(2_000, one)
        home.kill("SIGSTOP")
        const lookUps = yield* Effect.fork(
          Effect.forEach([1, 2, 3], () => Effect.delay(refused(door, node), "2 seconds"))
        )
        const meanwhile = yield* visitsFor(10_000, one)
        const taken = yield* Fiber.join(lookUps)
        home.kill("SIGCONT")
        const back = yield* untilItWorks(visit(node, door.address, side.address))
        yield* Console.log(
          `stopped for 10 s: visits of others ${ms(before)} before, ${
            ms(meanwhile)
          } meanwhile; look-ups for its node failed ` +
            `after ${taken.map(ms).join(", ")}; reachable again ${ms(back)} after it went on`
        )
        assert.isTrue(taken.every((time) => time < 5_000))
        yield* Effect.forEach([home, door, side], ({ quiet }) => quiet)
      }))

    it.scopedLive("stands a flood of random preambles and of peers that leave", () =>
      Effect.gen(function*() {
        const [home, door, side] = yield* three
        const nodes = yield* Effect.replicateEffect(RelayTest.register(home.address), 20)
        const other = yield* RelayTest.register(side.address)
        const one = visit(other, side.address, door.address)
        yield* flood(door.address, 5_000)
        const [before, memory] = [yield* visitsFor(3_000, one), residentMb(door)]
        const startedAt = performance.now()
        const flooding = yield* Effect.fork(flood(door.address, 100_000))
        const beside = yield* visitsFor(3_000, one)
        yield* Fiber.join(flooding)
        const seconds = (performance.now() - startedAt) / 1000
        const peers = yield* Effect.fork(
          flood(door.address, 5_000, nodes.map(({ identity }) => identity.digest))
        )
        yield* Fiber.join(peers)
        yield* Effect.forEach([home, door, side], ({ quiet }) => quiet)
        const grown = residentMb(door) - memory
        const { totals } = yield* door.state
        yield* Console.log(
          `100,000 random preambles in ${seconds.toFixed(1)} s: visits of others ${ms(before)} before, ${
            ms(beside)
          } beside ` +
            `(${(beside / before).toFixed(2)} x, on the same cores); ${totals.rejections.unknownPreamble} unknown, ` +
            `${totals.rejections.maxLookUps} over the bound of look-ups; ${grown.toFixed(0)} MB more`
        )
        assert.isAtLeast(totals.rejections.unknownPreamble + totals.rejections.maxLookUps, 100_000)
        assert.isBelow(grown, 100)
      }))
  })

  withPrograms(["ip", "iptables"], () => {
    describe.skipIf(!networksWork)("a cluster on networks that break", { timeout: 600_000 }, () => {
      it.scopedLive("takes no node hostage when a member is cut off, and heals when the cut ends", () =>
        Effect.gen(function*() {
          yield* ownNetwork
          writeFileSync("/proc/sys/net/ipv4/ip_forward", "1")
          const machines = [yield* machine, yield* machine, yield* machine] as const
          yield* Effect.forEach(
            machines,
            ({ here, spawn }) => Effect.promise(() => once(spawn("ip", "route", "add", "default", "via", here), "exit"))
          )
          const { port } = yield* natsServer(-1, "", {}, "0.0.0.0")
          const identity = yield* Identity.generate
          const [cut, door, side] = yield* Effect.forEach(machines, (machine) => memberOn(machine, port, identity))
          const [own, moved] = yield* machines[0].inside(
            Effect.all([RelayTest.register(cut!.address), RelayTest.register(cut!.address)])
          )
          const seen = (node: RelayTest.RawNode) => visit(node, door!.address, side!.address)
          yield* untilItWorks(seen(own!))
          yield* untilItWorks(seen(moved!))
          machines[0].powerOff()
          const again = yield* RelayTest.register(side!.address, { identity: moved!.identity })
          const free = yield* untilItWorks(seen(again))
          // The member that is cut off serves what is on its side, by loopback.
          yield* Effect.sleep("5 seconds")
          yield* powerOn(machines[0])
          const healed = yield* untilItWorks(seen(own!))
          yield* moved!.control.closed
          yield* untilItWorks(seen(again))
          yield* Console.log(
            `cut off: a node that registered elsewhere was reachable after ${
              ms(free)
            }; the cut member's own node again ` +
              `${ms(healed)} after the cut ended`
          )
          yield* Effect.forEach([cut!, door!, side!], ({ kill }) => Effect.sync(() => kill()))
        }))
    })
  })
})

/** The resident memory of a member's process. */
const residentMb = ({ pid }: MemberProcess) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1000

/** Attacks from a process of its own, whose work delays no visit in this one, and waits until it has ended. */
const flood = ({ host, port }: Address.Address, count: number, digests: ReadonlyArray<CertDigest.CertDigest> = []) =>
  Effect.scoped(Effect.gen(function*() {
    const args = [attacker, host, String(port), String(count), ...digests]
    const program = yield* programs.startCommand(process.execPath, args, {})
    assert.strictEqual((yield* program.ended).code, 0)
  }))

const attacker = fileURLToPath(new URL("./fixtures/flood.js", import.meta.url))

const script = fileURLToPath(new URL("./fixtures/member.js", import.meta.url))

/** A member on a machine, which reaches NATS at this end of the cable. */
const memberOn = (machine: Machine, nats: number, identity: Identity.Identity) =>
  Effect.promise(async () => {
    const argument = JSON.stringify({
      host: machine.host,
      identity: Redacted.value(Identity.toPem(identity)),
      nats: [`nats://${machine.here}:${nats}`],
      settings
    })
    const child = machine.spawn(process.execPath, script, argument)
    for await (const line of createInterface({ input: child.stdout! })) {
      if (line.startsWith("tx3-rst:")) {
        const address = Address.parse(line)
        assert.strictEqual(address._tag, "Right")
        return { address: (address as { readonly right: Address.Address }).right, kill: () => child.kill("SIGKILL") }
      }
    }
    throw new Error("a member did not start")
  })

const powerOn = ({ spawn }: Machine) =>
  Effect.promise(async () => {
    await once(spawn("iptables", "-D", "INPUT", "-i", "eth0", "-j", "DROP"), "exit")
    await once(spawn("iptables", "-D", "OUTPUT", "-o", "eth0", "-j", "DROP"), "exit")
  })
