import { assert, describe, it } from "@effect/vitest"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as Address from "@tx3/protocol/Address"
import * as Handshake from "@tx3/protocol/Handshake"
import * as Identity from "@tx3/protocol/Identity"
import * as Tls from "@tx3/protocol/Tls"
import { Effect, Fiber, Logger } from "effect"
import { spawn } from "node:child_process"
import * as net from "node:net"
import { fileURLToPath } from "node:url"
import { kernelSocket } from "../../transport/test/utils/system.js"
import * as Admission from "../src/internal/admission.js"
import { ThrottledLog } from "../src/internal/throttledLog.js"
import * as FakeRelay from "./utils/FakeRelay.js"
import { addressOf, alice, atRest, bob, closed, eventually, live, received, taken } from "./utils/nodes.js"

const withConfig = (options: Partial<NodeConfig.NodeConfigOptions>) => Effect.provide(NodeConfig.layer(options))

const listening = Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })

const attacker = "127.0.0.2"
const honest = "127.0.0.3"

/** A TCP connection from this address that has said nothing. */
const silentFrom = (localAddress: string, { host, port }: { readonly host: string; readonly port: number }) =>
  Effect.acquireRelease(
    Effect.sync(() => net.connect({ host, port, localAddress }).on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.tap((socket) =>
      Effect.async<void, string>((resume) => {
        // One that is refused may be reset before it is seen to be connected.
        socket.once("connect", () => resume(Effect.void)).once("close", () => resume(Effect.fail("reset")))
      })
    )
  )

const secured = (socket: net.Socket, identity: Identity.Identity) =>
  Effect.map(Handshake.connect(socket, Tls.secureContext(identity)), (secured) => secured.socket)

const securedFrom = (localAddress: string, address: AddressWithDigest, identity = bob) =>
  Effect.flatMap(silentFrom(localAddress, address), (socket) => secured(socket, identity))

/** Sends each peer a byte, and holds its connection until the peer ends. */
const greeting = (node: Tx3Node.Tx3Node["Type"]) =>
  Effect.forkScoped(
    node.serve((connection) => Effect.zipRight(connection.write(Uint8Array.of(1)), Effect.ignore(received(connection))))
  )

/** Whether the node has served it: its byte came. It has not if the connection is closed before. */
const served = (socket: net.Socket) =>
  Effect.async<boolean>((resume) => {
    socket.once("data", () => resume(Effect.succeed(true))).once("close", () => resume(Effect.succeed(false)))
  })

const servedFrom = (localAddress: string, address: AddressWithDigest) =>
  Effect.orElseSucceed(Effect.flatMap(securedFrom(localAddress, address), served), () => false)

describe("a direct listener under attack from one address", () => {
  live("silent connections do not take the place of a handshake from another address", () =>
    Effect.gen(function*() {
      const node = yield* listening
      yield* greeting(node)
      // The oldest of all, and as silent as the others for as long as they come.
      const slow = yield* silentFrom(honest, addressOf(node))
      yield* Effect.replicateEffect(silentFrom(attacker, addressOf(node)), 2 * NodeConfig.defaults.maxHandshakes)
      assert.isTrue(yield* Effect.flatMap(secured(slow, bob), served))
      assert.isTrue(yield* servedFrom(honest, addressOf(node)))
    }))

  live(
    "connections through TLS are bounded by source: one more is reset, and another address is served",
    () =>
      Effect.gen(function*() {
        const node = yield* withConfig({ maxInboundPerSource: 4 })(listening)
        yield* greeting(node)
        const held = yield* Effect.replicateEffect(securedFrom(attacker, addressOf(node)), 4)
        assert.deepStrictEqual(yield* Effect.forEach(held, served), [true, true, true, true])
        assert.isFalse(yield* servedFrom(attacker, addressOf(node)))
        assert.isTrue(yield* servedFrom(honest, addressOf(node)))
        // Those that were open stay, and one that closes makes room.
        assert.deepStrictEqual(held.map(({ closed }) => closed), [false, false, false, false])
        held[0]!.destroy()
        yield* Effect.repeat(servedFrom(attacker, addressOf(node)), { until: (isServed) => isServed })
      })
  )

  live("maxInbound bounds all of them together", () =>
    Effect.gen(function*() {
      const node = yield* withConfig({ maxInbound: 2 })(listening)
      yield* greeting(node)
      const held = [yield* securedFrom(attacker, addressOf(node)), yield* securedFrom(honest, addressOf(node))]
      assert.deepStrictEqual(yield* Effect.forEach(held, served), [true, true])
      assert.isFalse(yield* servedFrom("127.0.0.4", addressOf(node)))
    }))

  live("stays below the descriptor limit, and serves another address", () =>
    Effect.gen(function*() {
      const address = yield* limitedNode(200)
      // As many connections as it may have descriptors, and more.
      const held = yield* Effect.forEach(
        Array.from({ length: 250 }),
        () => Effect.option(securedFrom(attacker, address)),
        { concurrency: 8 }
      )
      // Half of the half that is left of 200 without 64.
      assert.strictEqual(held.filter(({ _tag }) => _tag === "Some").length, 34)
      assert.isTrue(yield* servedFrom(honest, address))
    }))
})

describe("the backlog", () => {
  live("is not filled by one source, nor by one digest", () =>
    Effect.gen(function*() {
      const [carol, dave] = yield* Effect.all([Identity.generate, Identity.generate])
      const node = yield* withConfig({ maxBacklog: 4, maxShareOfSource: 0.5 })(
        Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      )
      const [first, second, third] = [
        yield* securedFrom(attacker, addressOf(node), bob),
        yield* securedFrom(attacker, addressOf(node), carol),
        // The third of its source, and the second of its digest.
        yield* securedFrom(attacker, addressOf(node), bob)
      ]
      yield* closed(third)
      const fourth = yield* securedFrom(honest, addressOf(node), bob)
      // The third of its digest, and the second of its source.
      yield* closed(yield* securedFrom(honest, addressOf(node), bob))
      yield* securedFrom(honest, addressOf(node), dave)
      assert.deepStrictEqual(
        [
          (yield* taken(node)).remoteDigest,
          (yield* taken(node)).remoteDigest,
          (yield* taken(node)).remoteDigest,
          (yield* taken(node)).remoteDigest
        ],
        [bob.digest, carol.digest, bob.digest, dave.digest]
      )
      assert.deepStrictEqual([first, second, fourth].map(({ closed }) => closed), [false, false, false])
    }))

  live("is left by those that are gone", () =>
    Effect.gen(function*() {
      const node = yield* withConfig({ maxBacklog: 2 })(listening)
      for (let count = 0; count < 2; count++) {
        const socket = yield* silentFrom(attacker, addressOf(node))
        yield* secured(socket, bob)
        socket.resetAndDestroy()
      }
      yield* atRest(() => 0)
      const connection = yield* securedFrom(honest, addressOf(node))
      connection.end("here")
      assert.strictEqual((yield* received(yield* taken(node))).toString(), "here")
    }))

  live("wakes whoever waits for it, one for each connection", () =>
    Effect.gen(function*() {
      const node = yield* listening
      const takers = yield* Effect.forEach([1, 2], () => Effect.fork(taken(node)))
      yield* atRest(() => 0)
      yield* securedFrom(honest, addressOf(node))
      yield* eventually(() => takers.some((taker) => taker.unsafePoll() !== null))
      yield* atRest(() => 0)
      assert.strictEqual(takers.filter((taker) => taker.unsafePoll() === null).length, 1)
      yield* securedFrom(honest, addressOf(node))
      yield* Effect.forEach(takers, Fiber.join)
    }))
})

describe("connections through a relay", () => {
  live(
    "a handshake that is silent is given up before one that has spoken, even if that is older",
    () =>
      Effect.gen(function*() {
        const relay = yield* FakeRelay.make({ identity: bob })
        yield* withConfig({ maxHandshakes: 2, maxShareOfSource: 1 })(
          Tx3Node.make({ bind: [relay.address], identity: alice })
        )
        const control = yield* relay.control
        control.write(FakeRelay.allClear)
        const comes = (token: number) =>
          Effect.zipRight(Effect.sync(() => control.write(Buffer.alloc(32, token))), relay.dialBack)
        const spoken = yield* comes(1)
        // The beginning of a ClientHello.
        spoken.socket.write(Uint8Array.of(22, 3, 1, 2, 0, 1))
        // The node has read it when the kernel holds none of it any more.
        yield* eventually(() => (kernelSocket(spoken.socket.remotePort!, spoken.socket.localPort!)?.unread ?? 0) === 0)
        yield* atRest(() => 0)
        const silent = yield* comes(2)
        yield* comes(3)
        silent.socket.resume()
        yield* eventually(() => silent.socket.readableEnded)
        assert.isFalse(spoken.socket.readableEnded)
      })
  )
})

describe("Admission", () => {
  const source = (name: string): Admission.Party => ({ kind: "source", name })
  const relay: Admission.Party = { kind: "relay", name: "a relay" }

  /** An admission with a clock that is set by hand, and who was given up. */
  const make = (options: Partial<NodeConfig.NodeConfigOptions>, descriptors = Infinity) => {
    let time = 0
    const givenUp: Array<string> = []
    const admission = Admission.make({ ...NodeConfig.defaults, ...options }, descriptors, () => time)
    const places: Array<Admission.Place> = []
    const enter = (party: Admission.Party) => {
      const place = admission.enter(party)
      if (typeof place !== "string") {
        places.push(place)
      }
      return place
    }
    return {
      admission,
      enter,
      givenUp,
      at: (millis: number) => {
        time = millis
      },
      begin: (party: Admission.Party, name: string, received: () => number = () => 0) => {
        const place = enter(party)
        assert(typeof place !== "string")
        place.begin({ received, giveUp: () => givenUp.push(name) })
        return place
      },
      end: () => {
        for (const place of places) {
          place.leave()
          place.leave()
        }
        assert.deepStrictEqual(admission.counts(), { connections: 0, handshakes: 0, parties: 0 })
      }
    }
  }

  const refusals = (enter: (party: Admission.Party) => unknown, parties: ReadonlyArray<Admission.Party>) =>
    parties.map(enter).filter((place) => typeof place === "string")

  const times = <A>(count: number, value: A) => Array.from({ length: count }, () => value)

  it("refuses with the bound that is reached", () => {
    const bySource = make({ maxInboundPerSource: 3 })
    assert.deepStrictEqual(refusals(bySource.enter, times(4, source("a"))), ["maxInboundPerSource"])
    assert.deepStrictEqual(refusals(bySource.enter, [source("b")]), [])
    bySource.end()
    const inAll = make({ maxInbound: 8 })
    // Half is for one source.
    assert.deepStrictEqual(refusals(inAll.enter, times(5, source("a"))), ["maxInboundPerSource"])
    assert.deepStrictEqual(refusals(inAll.enter, times(5, source("b"))), ["maxInbound"])
    inAll.end()
    const ofRelay = make({ maxInbound: 8 })
    assert.deepStrictEqual(refusals(ofRelay.enter, times(8, relay)), ["maxShareOfSource"])
    assert.deepStrictEqual(refusals(ofRelay.enter, times(2, source("a"))), ["maxInbound"])
    ofRelay.end()
    const few = make({}, 1024)
    assert.strictEqual(refusals(few.enter, times(241, source("a"))).length, 1)
    assert.deepStrictEqual(refusals(few.enter, times(241, source("b"))), ["descriptors"])
    few.end()
    const none = make({}, 10)
    assert.deepStrictEqual(refusals(none.enter, times(2, source("a"))), ["descriptors"])
    none.end()
  })

  it("gives up the oldest silent one, of the source that has most of them", () => {
    const test = make({ maxHandshakes: 4, maxShareOfSource: 0.75 })
    test.begin(source("honest"), "honest")
    test.at(10)
    for (const name of ["one", "two", "three"]) {
      test.begin(source("attacker"), name)
    }
    test.at(Admission.silentMs + 10)
    test.begin(source("other"), "other")
    assert.deepStrictEqual(test.givenUp, ["one"])
    test.begin(source("another"), "another")
    assert.deepStrictEqual(test.givenUp, ["one", "two"])
    test.end()
  })

  it("gives up one's own where a source has its share", () => {
    const test = make({ maxHandshakes: 4, maxShareOfSource: 0.5 })
    test.begin(source("honest"), "honest")
    for (const name of ["one", "two", "three"]) {
      test.begin(source("attacker"), name)
    }
    assert.deepStrictEqual(test.givenUp, ["one"])
    test.end()
  })

  it("gives up silent ones before one that has spoken, and of those that have the one that stalls longest", () => {
    const test = make({ maxHandshakes: 3, maxShareOfSource: 1 })
    let bytes = 1
    test.begin(relay, "progresses", () => bytes)
    test.begin(relay, "stalls", () => 1)
    test.begin(relay, "silent")
    test.at(Admission.silentMs)
    test.begin(relay, "second stalls", () => 1)
    assert.deepStrictEqual(test.givenUp, ["silent"])
    bytes++
    test.at(Admission.silentMs + 1)
    test.begin(relay, "last")
    assert.deepStrictEqual(test.givenUp, ["silent", "stalls"])
    test.end()
  })

  it("takes one that has just begun for one that may speak", () => {
    const test = make({ maxHandshakes: 2, maxShareOfSource: 1 })
    test.begin(relay, "stalls")
    test.at(Admission.silentMs - 1)
    test.begin(relay, "new")
    test.begin(relay, "newer")
    assert.deepStrictEqual(test.givenUp, ["stalls"])
    test.end()
  })

  it("does not count a handshake that is done", () => {
    const test = make({ maxHandshakes: 1 })
    test.begin(relay, "first").secured()
    test.begin(relay, "second")
    assert.deepStrictEqual(test.givenUp, [])
    test.end()
  })
})

describe("ThrottledLog", () => {
  it("writes one line of each message in ten seconds, with the number of those left out", () => {
    let time = 0
    const lines: Array<unknown> = []
    const logger = Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ annotations, message }) => void lines.push([message, Object.fromEntries(annotations)]))
    )
    const log = new ThrottledLog(() => time, (effect) => Effect.runSync(Effect.provide(effect, logger)))
    for (const at of [0, 1, 9_999, 10_000]) {
      time = at
      log.warn("refused", { from: "a" })
    }
    log.warn("another")
    assert.deepStrictEqual(lines, [
      [["refused"], { from: "a" }],
      [["refused"], { from: "a", leftOut: 2 }],
      [["another"], {}]
    ])
  })
})

/** A node in a process that may have so many descriptors. It needs the build. */
const limitedNode = (descriptors: number) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [greetingNode, String(descriptors)], { stdio: ["ignore", "pipe", "inherit"] })
    ),
    (child) =>
      Effect.async<void>((resume) => {
        if (child.exitCode !== null) {
          return resume(Effect.void)
        }
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  ).pipe(
    Effect.flatMap((child) =>
      Effect.async<string>((resume) => {
        child.stdout.once("data", (text) => resume(Effect.succeed(String(text).trim())))
        child.once("exit", () => resume(Effect.dieMessage("the node did not start")))
      })
    ),
    Effect.flatMap((text) => Effect.orDie(Address.parseWithDigest(text)))
  )

const greetingNode = fileURLToPath(new URL("utils/greetingNode.mjs", import.meta.url))
