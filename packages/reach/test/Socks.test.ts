import { assert, describe, it } from "@effect/vitest"
import type * as Tx3Connection from "@tx3/node/Tx3Connection"
import * as Tx3Node from "@tx3/node/Tx3Node"
import { Lookup } from "@tx3/sockets/Lookup"
import { localServer, portOf } from "@tx3/testing/localServer"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Either, Logger, Mailbox, Stream, Utils } from "effect"
import { execFile } from "node:child_process"
import * as http from "node:http"
import { addressOf, alice, bob, live } from "../../node/test/utils/nodes.js"
import * as Destinations from "../src/Destinations.js"
import * as Expose from "../src/Expose.js"
import * as Forward from "../src/Forward.js"
import { readExactly } from "../src/internal/bytes.js"
import * as LocalEndpoint from "../src/LocalEndpoint.js"
import { Socks } from "../src/Socks.js"

const destinations = (...entries: ReadonlyArray<string>) => Either.getOrThrow(Destinations.parse(entries))

const exposed = (to: Destinations.Destinations) =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
    const events = yield* Mailbox.make<Expose.Event>()
    yield* Effect.forkScoped(Expose.serve({
      node,
      service: new Socks({ to }),
      onEvent: (event) => Effect.asVoid(events.offer(event))
    }))
    const { connect } = yield* Tx3Node.make({ identity: bob })
    return { node, events, connect: Effect.suspend(() => connect(addressOf(node))) }
  })

const port16 = (port: number) => [port >> 8, port & 0xff]
const ofName = (name: string, port: number) => [5, 1, 0, 3, name.length, ...Buffer.from(name), ...port16(port)]
const ofIPv4 = (address: string, port: number) => [5, 1, 0, 1, ...address.split(".").map(Number), ...port16(port)]
const ofIPv6 = (hex: string, port: number) => [5, 1, 0, 4, ...Buffer.from(hex, "hex"), ...port16(port)]

/** Sends a request, and returns the reply's code. */
const ask = (connection: Tx3Connection.Tx3Connection, request: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    yield* connection.write(Uint8Array.from([5, 1, 0, ...request]))
    assert.deepStrictEqual(Array.from(yield* readExactly(connection.duplex, 2)), [5, 0])
    const reply = yield* readExactly(connection.duplex, 10)
    assert.deepStrictEqual(Array.from(reply), [5, reply[1], 0, 1, 0, 0, 0, 0, 0, 0])
    return reply[1]!
  })

const echo = Effect.gen(function*() {
  let count = 0
  const server = yield* localServer((socket) => {
    count++
    socket.pipe(socket)
  })
  return { port: portOf(server), count: () => count }
})

describe("a list of destinations", () => {
  const list = destinations("192.168.1.0/24:22,80", "10.0.0.7:8000-8100", "[fd00::/8]:443", "127.0.0.1:*")
  const cases: ReadonlyArray<readonly [address: string, port: number, has: boolean]> = [
    ["192.168.1.1", 22, true],
    ["192.168.1.255", 80, true],
    ["192.168.2.0", 22, false],
    ["192.168.1.1", 443, false],
    ["10.0.0.7", 8000, true],
    ["10.0.0.7", 8100, true],
    ["10.0.0.7", 8101, false],
    ["10.0.0.8", 8000, false],
    ["fd12::1", 443, true],
    ["fe80::1", 443, false],
    ["127.0.0.1", 65_535, true],
    ["::ffff:127.0.0.1", 1, true],
    ["0:0:0:0:0:ffff:c0a8:101", 22, true],
    ["0.0.0.0", 22, false],
    ["::1", 22, false]
  ]
  for (const [address, port, has] of cases) {
    it(`${has ? "has" : "has not"} ${address} with port ${port}`, () => {
      assert.strictEqual(list.has(address, port), has)
    })
  }

  it("of IPv6 addresses has no IPv4 address in another form", () => {
    assert.isFalse(destinations("[::/0]:*").has("::ffff:127.0.0.1", 22))
    assert.isFalse(destinations().has("127.0.0.1", 22))
  })

  const wrong = [
    "",
    "192.168.1.0/24",
    "192.168.1.0/33:22",
    "192.168.1:22",
    "fd00::/8:443",
    "[fd00::/129]:443",
    "[::ffff:10.0.0.0/104]:22",
    "10.0.0.1:0",
    "10.0.0.1:65536",
    "10.0.0.1:9-8",
    "10.0.0.1:22,",
    "printer.lan:80"
  ]
  for (const text of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.strictEqual(Either.flip(Destinations.parse([text])).pipe(Either.getOrThrow).input, text)
    })
  }
})

describe("a SOCKS5 proxy", () => {
  live("connects to what its list has, and carries bytes both ways", () =>
    Effect.gen(function*() {
      const service = yield* echo
      const { connect } = yield* exposed(destinations(`127.0.0.1:${service.port}`))
      const mapped = `00000000000000000000ffff7f000001`
      for (
        const request of [
          ofIPv4("127.0.0.1", service.port),
          ofName("localhost", service.port),
          ofIPv6(mapped, service.port)
        ]
      ) {
        const connection = yield* connect
        // The program's first bytes may come with the request.
        yield* connection.write(Uint8Array.from([5, 2, 0, 2, ...request, ...Buffer.from("early ")]))
        assert.deepStrictEqual(Array.from(yield* readExactly(connection.duplex, 4)), [5, 0, 5, 0])
        yield* readExactly(connection.duplex, 8)
        yield* connection.write(Buffer.from("late"))
        yield* connection.end
        const back = yield* Stream.runCollect(connection.readable)
        assert.strictEqual(Buffer.concat(Array.from(back)).toString(), "early late")
      }
    }))

  live(
    "connects to the address that it looked up in the list, whatever the name stands for a moment later",
    () =>
      Effect.gen(function*() {
        const service = yield* echo
        let asked = 0
        const rebinding = Effect.provideService(Lookup, (host) =>
          Effect.sync(() => {
            asked++
            return host === "rebind.example" && asked === 1
              ? [{ address: "127.0.0.1", family: 4 }, { address: "127.0.0.9", family: 4 }]
              : [{ address: host === "rebind.example" ? "127.0.0.9" : host, family: 4 }]
          }))
        const { connect } = yield* rebinding(exposed(destinations(`127.0.0.1:${service.port}`)))
        asked = 0
        assert.strictEqual(yield* ask(yield* connect, ofName("rebind.example", service.port)), 0)
        assert.strictEqual(asked, 1)
        assert.strictEqual(yield* ask(yield* connect, ofName("rebind.example", service.port)), 2)
        assert.strictEqual(service.count(), 1)
      })
  )

  live("says why it does not connect, to the peer and to its owner", () =>
    Effect.gen(function*() {
      const service = yield* echo
      const closed = yield* Effect.scoped(echo)
      const { connect, events } = yield* exposed(destinations(`127.0.0.1:${closed.port}`))
      const expected: ReadonlyArray<
        readonly [request: ReadonlyArray<number>, code: number, tag: Expose.Event["_tag"]]
      > = [
        [ofIPv4("127.0.0.1", service.port), 2, "Denied"],
        [ofIPv6("00000000000000000000000000000001", closed.port), 2, "Denied"],
        [ofIPv4("127.0.0.1", closed.port), 5, "Unavailable"],
        [ofName("no name", closed.port), 1, "Unavailable"],
        [[5, 2, ...ofIPv4("127.0.0.1", closed.port).slice(2)], 7, "Mismatched"],
        [[5, 1, 0, 2], 8, "Mismatched"]
      ]
      for (const [request, code, tag] of expected) {
        const connection = yield* connect
        assert.strictEqual(yield* ask(connection, request), code)
        assert.strictEqual((yield* Effect.orDie(events.take))._tag, tag)
        // It ends in order.
        yield* Stream.runDrain(connection.readable)
      }
      const connection = yield* connect
      yield* connection.write(Uint8Array.from([5, 1, 2]))
      assert.deepStrictEqual(Array.from(yield* readExactly(connection.duplex, 2)), [5, 0xff])
      assert.strictEqual(service.count(), 0)
    }))

  live("connects nowhere, dies of nothing and answers the next, whatever comes", () =>
    Effect.gen(function*() {
      const service = yield* echo
      const { connect, events } = yield* exposed(destinations(`127.0.0.1:${service.port}`))
      const random = new Utils.PCGRandom(1)
      for (let round = 0; round < 25; round++) {
        const valid = [5, 1, 0, ...ofIPv4("127.0.0.1", service.port)]
        const reserved = 5
        const bytes = Array.from(
          { length: random.integer(30) },
          (_, index) => random.number() < 0.6 ? valid[index] ?? 0 : random.integer(256)
        )
        // Only a complete and valid request connects. The proxy ignores the reserved byte.
        if (valid.some((byte, index) => index !== reserved && bytes[index] !== byte)) {
          const connection = yield* connect
          yield* connection.write(Uint8Array.from(bytes))
          yield* connection.end
          yield* Effect.ignore(Stream.runDrain(connection.readable))
          assert.include(["Mismatched", "Denied", "Unavailable"], (yield* Effect.orDie(events.take))._tag)
        }
      }
      assert.strictEqual(service.count(), 0)
      assert.strictEqual(yield* ask(yield* connect, ofIPv4("127.0.0.1", service.port)), 0)
    }))
})

withPrograms(["curl"], () => {
  it.scopedLive("curl --socks5-hostname through a forward", () =>
    Effect.gen(function*() {
      const server = http.createServer((request, response) => response.end(`you asked for ${request.url}`))
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => server.close().closeAllConnections())
      )
      const { port } = server.address() as { readonly port: number }
      const { events, node } = yield* exposed(destinations(`127.0.0.1:${port}`))
      const endpoint = yield* Forward.listen({
        node: yield* Tx3Node.make({ identity: bob }),
        destination: addressOf(node),
        endpoint: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 0 })
      })
      const curl = (url: string) =>
        Effect.async<{ readonly code: unknown; readonly stdout: string }>((resume) => {
          const options = ["--silent", "--noproxy", "", "--socks5-hostname", LocalEndpoint.format(endpoint), url]
          execFile("curl", options, (error, stdout) => resume(Effect.succeed({ code: error?.code, stdout })))
        })
      assert.deepStrictEqual(yield* curl(`http://localhost:${port}/page`), {
        code: undefined,
        stdout: "you asked for /page"
      })
      // 97: the proxy has refused.
      assert.deepStrictEqual(yield* curl("http://127.0.0.2:1/"), { code: 97, stdout: "" })
      yield* Effect.repeat(Effect.orDie(events.take), { until: ({ _tag }) => _tag === "Denied" })
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
})
