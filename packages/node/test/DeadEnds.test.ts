import { assert, describe, it } from "@effect/vitest"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import type * as Tx3Connection from "@tx3/node/Tx3Connection"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Expose from "@tx3/reach/Expose"
import * as Forward from "@tx3/reach/Forward"
import * as LocalEndpoint from "@tx3/reach/LocalEndpoint"
import * as Relay from "@tx3/relay/Relay"
import * as RelayTest from "@tx3/relay/RelayTest"
import { withPrograms } from "@tx3/testing/withPrograms"
import type { Scope } from "effect"
import { Context, Deferred, Effect, Fiber, Layer, Logger, Stream } from "effect"
import { execFileSync } from "node:child_process"
import * as net from "node:net"
import type { Machine } from "../../sockets/test/utils/network.js"
import { machine, networksWork, ownNetwork } from "../../sockets/test/utils/network.js"
import { alice, bob, taken } from "./utils/nodes.js"

/** How a machine goes away. Its address changing is the same for the other end as this end's. */
type Break = (other: Machine) => void

const powerCut: Break = (other) => other.powerOff()
const linkDown: Break = (other) => other.unplug()
const addressChange: Break = ({ here }) => {
  const lines = execFileSync("ip", ["-o", "addr", "show"], { encoding: "utf8" }).split("\n")
  const cable = /^\d+: (\S+)/.exec(lines.find((line) => line.includes(` ${here}/`))!)![1]!
  execFileSync("ip", ["addr", "del", `${here}/24`, "dev", cable])
  execFileSync("ip", ["addr", "add", here.replace(/1$/, "3/24"), "dev", cable])
}

/** Runs a program of Node on the machine, until it has said its first word. */
const run = (other: Machine, program: string) =>
  Effect.async<void>((resume) => {
    other.spawn(process.execPath, "-e", `const net = require("node:net"); ${program}`).stdout!
      .once("data", () => resume(Effect.void))
  })

/** Makes a port of this process reachable at the machine's port 7000. */
const detour = (other: Machine, port: number) =>
  run(
    other,
    `net.createServer((near) => {
       const far = net.connect(${port}, "${other.here}").on("error", () => {})
       near.on("error", () => {}).pipe(far).pipe(near)
     }).listen(7000, "${other.host}", () => console.log("ready"))`
  )

/** A service here that sends back what it gets. Of the ends of its connections it never hears. */
const echo = Effect.suspend(() => {
  const sockets: Array<net.Socket> = []
  return Effect.acquireRelease(
    Effect.async<net.Server>((resume) => {
      const server = net.createServer((socket) => {
        sockets.push(socket)
        socket.on("error", () => {}).pipe(socket)
      })
      server.listen(0, "0.0.0.0", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        sockets.forEach((socket) => socket.destroy())
      })
  )
}).pipe(Effect.map((server) => (server.address() as net.AddressInfo).port))

/** Sends a byte and gets one, so that the whole way is open. */
const exchange = (connection: Tx3Connection.Tx3Connection) =>
  Effect.zipRight(connection.write(Uint8Array.of(1)), Stream.runHead(connection.readable))

const closedPassage = Effect.map(Deferred.make<string>(), (closed) => ({
  onEvent: (event: Expose.Event | Forward.Event) =>
    event._tag === "Closed"
      ? Effect.asVoid(Deferred.succeed(closed, event.because === undefined ? "an end" : event.because.message))
      : Effect.void,
  closed: Deferred.await(closed)
}))

/** What one machine has open to another: a way to send in it, and what is said when the end of it is noticed. */
interface Open {
  readonly send: Effect.Effect<unknown, unknown>
  readonly noticed: Effect.Effect<string>
}

const connection = (other: Machine): Effect.Effect<Open, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const listening = yield* Tx3Node.make({ bind: ["tx3-st://0.0.0.0:0"], identity: alice })
    yield* detour(other, listening.addresses[0]!.port)
    const connecting = yield* Tx3Node.make({ identity: bob })
    const near = yield* connecting.connect(`tx3-st://${other.host}:7000/${alice.digest}`)
    yield* taken(listening)
    return {
      send: near.write(Uint8Array.of(1)),
      noticed: Effect.match(Stream.runDrain(near.readable), {
        onFailure: ({ reason }) => reason,
        onSuccess: () => "an end"
      })
    }
  })

const exposed = (other: Machine): Effect.Effect<Open, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    yield* detour(other, yield* echo)
    const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
    const { closed, onEvent } = yield* closedPassage
    const service = LocalEndpoint.Tcp({ host: other.host, port: 7000 })
    yield* Effect.forkScoped(Expose.serve({ node, onEvent, service }))
    const peer = yield* (yield* Tx3Node.make({ identity: bob })).connect(node.addresses[0]!)
    yield* exchange(peer)
    return { send: peer.write(Uint8Array.of(1)), noticed: closed }
  })

const forwarded = (other: Machine): Effect.Effect<Open, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
    const { closed, onEvent } = yield* closedPassage
    const forward = yield* Forward.listen({
      node: yield* Tx3Node.make({ identity: bob }),
      destination: node.addresses[0]!,
      endpoint: LocalEndpoint.Tcp({ host: other.here, port: 0 }),
      onEvent
    })
    assert(forward._tag === "Tcp")
    const peer = yield* Effect.fork(taken(node))
    yield* run(
      other,
      `net.connect(${forward.port}, "${other.here}", function () { this.write("hello", () => console.log("connected")) })`
    )
    const far = yield* Fiber.join(peer)
    yield* Stream.runHead(far.readable)
    return { send: far.write(Uint8Array.of(1)), noticed: closed }
  })

const registered = (other: Machine): Effect.Effect<Open, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const relay = Context.get(
      yield* Layer.build(RelayTest.layer({ bind: ["tx3-rst://0.0.0.0:0"], transport: "portable", drainTimeoutMs: 1 })),
      Relay.Relay
    )
    yield* detour(other, relay.addresses[0]!.port)
    const bind = `tx3-rst://${other.host}:7000/${relay.digest}`
    const node = yield* Tx3Node.make({ bind: [bind], identity: alice, requireRegistration: true })
    return {
      // A node sends nothing on its control stream.
      send: Effect.void,
      noticed: node.registrations[0]!.state.changes.pipe(
        Stream.filter(RelayRegistration.State.$is("Lost")),
        Stream.runHead,
        Effect.flatten,
        Effect.map(({ because }) => because.reason),
        Effect.orDie
      )
    }
  })

/** Half a minute, and what a busy machine adds. */
const noticedWithinMs = 50_000

const cases: ReadonlyArray<readonly [string, typeof connection, Break, "send" | "quiet", string | RegExp]> = [
  ["a connection, power cut, quiet", connection, powerCut, "quiet", "lost"],
  ["a connection, power cut, with data", connection, powerCut, "send", "lost"],
  ["a connection, link down, quiet", connection, linkDown, "quiet", "lost"],
  ["a connection, address changed, with data", connection, addressChange, "send", "lost"],
  ["expose, power cut, quiet", exposed, powerCut, "quiet", /^the local end/],
  ["expose, power cut, with data", exposed, powerCut, "send", /^the local end/],
  ["expose, link down, with data", exposed, linkDown, "send", /^the local end/],
  ["expose, address changed, with data", exposed, addressChange, "send", /^the local end/],
  ["forward, power cut, quiet", forwarded, powerCut, "quiet", /^the local end/],
  ["forward, power cut, with data", forwarded, powerCut, "send", /^the local end/],
  ["forward, address changed, with data", forwarded, addressChange, "send", /^the local end/],
  ["a registration, power cut", registered, powerCut, "quiet", "lost"],
  ["a registration, link down", registered, linkDown, "quiet", "lost"],
  ["a registration, address changed", registered, addressChange, "quiet", "lost"]
]

withPrograms(["ip", "iptables"], () => {
  describe.runIf(networksWork)("a dead end is noticed in half a minute", () => {
    it.scopedLive("by a node, expose and forward, with and without data in flight", () =>
      Effect.gen(function*() {
        yield* ownNetwork
        const open = yield* Effect.forEach(cases, (test) =>
          Effect.gen(function*() {
            const other = yield* machine
            return { other, test, ...(yield* test[1](other)) }
          }))
        const outcomes = yield* Effect.forEach(open, ({ noticed, other, send, test: [name, , cut, how, expected] }) =>
          Effect.gen(function*() {
            cut(other)
            const [passed, outcome] = yield* Effect.timed(Effect.timeoutTo(
              Effect.zipRight(how === "send" ? Effect.ignore(send) : Effect.void, noticed),
              {
                duration: noticedWithinMs,
                onSuccess: String,
                onTimeout: () =>
                  `nothing within ${noticedWithinMs} ms`
              }
            ))
            const isExpected = typeof expected === "string" ? outcome === expected : expected.test(outcome)
            return isExpected ? [] : [`${name}: ${outcome} (${String(passed)})`]
          }), { concurrency: "unbounded" })
        assert.deepStrictEqual(outcomes.flat(), [])
      }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))), 240_000)
  })
})
