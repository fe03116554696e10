/** Connections of proxies, which begin with a PROXY header. */
import { Transport } from "@tx3/transport"
import type { Scope } from "effect"
import { Effect, Exit, Queue, Scope as Scopes } from "effect"
import { assert } from "vitest"
import { HeaderTimeoutMs } from "../../../src/internal/proxies.js"
import { connect, payload } from "../client.js"
import type { Link, Listening } from "../fixtures.js"
import { listening, splice, timers } from "../fixtures.js"
import type { Ends } from "../proxyHeaders.js"
import { addresses, binary, binaryOf, line, lineOf } from "../proxyHeaders.js"
import { eventually, socketsAt, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

const four: Ends = { source: "192.0.2.1", destination: "198.51.100.2", sourcePort: 4001, destinationPort: 38141 }
const six: Ends = { ...four, source: "2001:db8::1", destination: "2001:db8::2" }

/** All of this machine are proxies. */
const behindProxies = (options: Partial<Transport.ListenOptions> = {}) =>
  Effect.gen(function*() {
    const errors: Array<string> = []
    const listener = yield* listening({
      proxies: ["127.0.0.0/8", "::1"],
      onAcceptError: ({ message }) => errors.push(message),
      ...options
    })
    return { ...listener, errors }
  })

/** Sends these bytes, and waits until the connection has been told of. */
const proxied = (listener: Listening, bytes: Uint8Array): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* Effect.orDie(connect(listener))
    client.socket.write(bytes)
    return { client, connection: yield* Queue.take(listener.connections) }
  })

const sourceOf = ({ remoteAddress, remotePort }: Transport.Connection) => `${remoteAddress} ${remotePort}`

export const proxyTests: Subject = (test) => {
  for (
    const [what, header, source] of [
      ["version 1, TCP4", lineOf(four), "192.0.2.1 4001"],
      ["version 1, TCP6", lineOf(six), "2001:db8::1 4001"],
      ["version 1, an IPv4-mapped address", lineOf({ ...six, source: "::ffff:192.0.2.1" }), "::ffff:192.0.2.1 4001"],
      ["version 2, TCP4", binaryOf(four), "192.0.2.1 4001"],
      ["version 2, TCP6", binaryOf(six), "2001:db8::1 4001"],
      ["version 2, with more behind the addresses", binaryOf(four, payload(300)), "192.0.2.1 4001"],
      ["version 1, UNKNOWN", line("PROXY UNKNOWN"), undefined],
      ["version 2, LOCAL", binary(0x20, 0x11, addresses(four)), undefined],
      ["version 2, AF_UNSPEC", binary(0x21, 0x00, Buffer.alloc(0)), undefined]
    ] as const
  ) {
    test(
      `${what}: names whom the connection is from, and what follows is the connection's`,
      Effect.gen(function*() {
        const listener = yield* behindProxies()
        const bytes = payload(32 + 1_000)
        const left = yield* proxied(listener, Buffer.concat([header, bytes]))
        assert.strictEqual(sourceOf(left.connection), source ?? `127.0.0.1 ${left.client.socket.localPort}`)
        assert.deepStrictEqual(Buffer.from(yield* left.connection.preamble), bytes.subarray(0, 32))
        const right = yield* proxied(listener, Buffer.concat([header, payload(32)]))
        yield* right.connection.preamble
        const { report } = yield* splice(left, right)
        assert.deepStrictEqual(yield* right.client.read(1_000), bytes.subarray(32))
        right.client.socket.end("answer")
        left.client.socket.end()
        assert.strictEqual((yield* left.client.readAll).bytes.toString(), "answer")
        assert.deepStrictEqual(yield* report, { fromLeft: 1_000, fromRight: 6, outcome: "completed" })
        assert.deepStrictEqual(listener.errors, [])
      })
    )
  }

  test(
    "a header in two segments, wherever it is split, is told of when it is complete",
    Effect.gen(function*() {
      const listener = yield* behindProxies()
      const splits = [lineOf(four), binaryOf(six)].flatMap((header) =>
        Array.from(header, (_, at) => ({ first: header.subarray(0, at + 1), second: header.subarray(at + 1) }))
      ).filter(({ second }) => second.length > 0)
      const clients = yield* Effect.forEach(splits, () => connect(listener))
      clients.forEach(({ socket }, index) => socket.write(splits[index]!.first))
      yield* Effect.sleep(50)
      assert.strictEqual(yield* Queue.size(listener.connections), 0)
      const preamble = payload(32)
      clients.forEach(({ socket }, index) => socket.write(Buffer.concat([splits[index]!.second, preamble])))
      const connections = yield* Queue.takeN(listener.connections, splits.length)
      for (const connection of connections) {
        assert.deepStrictEqual(Buffer.from(yield* connection.preamble), preamble)
      }
      const sources = Array.from(connections, sourceOf).sort()
      assert.deepStrictEqual([sources[0], sources.at(-1)], ["192.0.2.1 4001", "2001:db8::1 4001"])
      assert.deepStrictEqual(listener.errors, [])
    })
  )

  for (const [version, header] of [[1, lineOf(six)], [2, binaryOf(six)]] as const) {
    test(
      `version ${version}: comes together from single bytes, with what follows`,
      Effect.gen(function*() {
        const listener = yield* behindProxies()
        const client = yield* connect(listener)
        const bytes = payload(32)
        for (const byte of header) {
          assert.strictEqual(yield* Queue.size(listener.connections), 0)
          client.socket.write(Uint8Array.of(byte))
          yield* turns()
        }
        const connection = yield* Queue.take(listener.connections)
        assert.strictEqual(sourceOf(connection), "2001:db8::1 4001")
        for (const byte of bytes) {
          client.socket.write(Uint8Array.of(byte))
          yield* turns()
        }
        assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes)
      })
    )
  }

  test(
    "a header's connection becomes a Duplex that begins behind its preamble",
    Effect.gen(function*() {
      const listener = yield* behindProxies()
      const { client, connection } = yield* proxied(
        listener,
        Buffer.concat([binaryOf(four), payload(32), Buffer.from("hello")])
      )
      yield* connection.preamble
      const duplex = yield* connection.toDuplex
      duplex.on("data", (chunk: Buffer) => duplex.write(chunk)).resume()
      client.socket.write(" there")
      assert.strictEqual((yield* client.read(11)).toString(), "hello there")
    })
  )

  test(
    "a hang-up behind a header is a connection's",
    Effect.gen(function*() {
      const listener = yield* behindProxies()
      const silent = yield* proxied(listener, lineOf(four))
      silent.client.socket.end()
      assert.strictEqual((yield* Effect.flip(silent.connection.preamble))._tag, "HungUp")
      const client = yield* connect(listener)
      client.socket.end(Buffer.concat([binaryOf(four), payload(31)]))
      const connection = yield* Queue.take(listener.connections)
      assert.strictEqual((yield* Effect.flip(connection.preamble))._tag, "HungUp")
      assert.deepStrictEqual(listener.errors, [])
    })
  )

  for (
    const [what, bytes, problem] of [
      ["missing", "GET / HTTP/1.1\r\n", "sent something else than a PROXY header"],
      ["broken, of version 1", "PROXY TCP4 1 2 3 4\r\n", "sent a broken PROXY header: an address that is not IPv4"],
      ["broken, of version 2", binary(0x33, 0, Buffer.alloc(0)), "sent a broken PROXY header: version 3"],
      ["too long, of version 1", `PROXY UNKNOWN ${"x".repeat(93)}`, "sent a PROXY header that is too long"],
      ["too long, of version 2", binary(0x21, 0x11, Buffer.alloc(0), 521), "sent a PROXY header that is too long"]
    ] as const
  ) {
    test(
      `a header that is ${what} is refused at once, and told of as an error`,
      Effect.gen(function*() {
        const listener = yield* behindProxies()
        const client = yield* connect({ ...listener, localAddress: "127.0.0.3" })
        client.socket.write(bytes)
        yield* client.readAll
        yield* eventually("an error", () => listener.errors.length > 0)
        assert.deepStrictEqual(listener.errors, [`accept failed: the proxy 127.0.0.3 ${problem}`])
        assert.strictEqual(yield* Queue.size(listener.connections), 0)
        assert.strictEqual(socketsAt(listener.port), 0)
        yield* proxied(listener, lineOf(four))
      })
    )
  }

  for (
    const [how, hangUp] of [
      ["a FIN", (socket: Link["client"]["socket"], bytes: Uint8Array) => socket.end(bytes)],
      [
        "a reset",
        (socket: Link["client"]["socket"], bytes: Uint8Array) => socket.write(bytes, () => socket.resetAndDestroy())
      ]
    ] as const
  ) {
    test(
      `${how} within a header is told of as an error`,
      Effect.gen(function*() {
        const listener = yield* behindProxies()
        for (const header of [lineOf(four), binaryOf(four)]) {
          const { socket } = yield* connect(listener)
          hangUp(socket, header.subarray(0, -1))
        }
        yield* eventually("two errors", () => listener.errors.length > 1)
        const error = "accept failed: the proxy 127.0.0.1 hung up within its PROXY header"
        assert.deepStrictEqual(listener.errors, [error, error])
      })
    )

    test(
      `${how} before a header is none, however often, and nobody hears of it`,
      Effect.gen(function*() {
        const listener = yield* behindProxies()
        // More than the kernel transport accepts before somebody has heard of them.
        for (let count = 0; count < 1_100; count++) {
          const client = yield* connect(listener)
          hangUp(client.socket, Buffer.alloc(0))
          if (how === "a FIN") {
            assert.strictEqual((yield* client.readAll).ending, "end")
          }
          client.socket.destroy()
        }
        assert.strictEqual((yield* proxied(listener, lineOf(four))).connection.remoteAddress, "192.0.2.1")
        assert.deepStrictEqual(listener.errors, [])
        assert.strictEqual(yield* Queue.size(listener.connections), 0)
      })
    )
  }

  test(
    "a header that is late is refused, whatever came of it, and others are not held up by that",
    Effect.gen(function*() {
      const before = timers()
      const listener = yield* behindProxies().pipe(Effect.provideService(HeaderTimeoutMs, 300))
      const began = performance.now()
      const clients = yield* Effect.forEach(
        [Buffer.alloc(0), lineOf(four).subarray(0, -1)],
        (bytes) => Effect.tap(connect(listener), ({ socket }) => socket.write(bytes))
      )
      const intime = yield* proxied(listener, Buffer.concat([lineOf(four), payload(32)]))
      for (const client of clients) {
        yield* client.readAll
      }
      assert.isAtLeast(performance.now() - began, 290)
      yield* eventually("two errors", () => listener.errors.length > 1)
      const error = "accept failed: the proxy 127.0.0.1 sent no complete PROXY header within 300 ms"
      assert.deepStrictEqual(listener.errors, [error, error])
      yield* Effect.sleep(300)
      yield* intime.connection.preamble
      const other = yield* proxied(listener, Buffer.concat([binaryOf(six), payload(32)]))
      yield* other.connection.preamble
      yield* splice(intime, other)
      intime.client.socket.write("hello")
      assert.strictEqual((yield* other.client.read(5)).toString(), "hello")
      assert.strictEqual(listener.errors.length, 2)
      yield* eventually("no more timers than before", () => timers() <= before)
    })
  )

  test(
    "a header has 5 seconds",
    Effect.gen(function*() {
      assert.strictEqual(yield* HeaderTimeoutMs, 5_000)
    })
  )

  test(
    "who is no proxy has no header: its bytes are a preamble",
    Effect.gen(function*() {
      const listener = yield* behindProxies({ proxies: ["127.0.0.2", "192.0.2.0/24"] })
      for (const header of [lineOf(four), binaryOf(six)]) {
        const { client, connection } = yield* proxied(listener, header)
        assert.strictEqual(sourceOf(connection), `127.0.0.1 ${client.socket.localPort}`)
        assert.deepStrictEqual(Buffer.from(yield* connection.preamble), header.subarray(0, 32))
      }
      const fromProxy = yield* proxied({ ...listener, localAddress: "127.0.0.2" } as Listening, lineOf(four))
      assert.strictEqual(sourceOf(fromProxy.connection), "192.0.2.1 4001")
    })
  )

  test(
    "without proxies nobody has one",
    Effect.gen(function*() {
      const listener = yield* behindProxies({ proxies: undefined })
      const { connection } = yield* proxied(listener, lineOf(four))
      assert.strictEqual(connection.remoteAddress, "127.0.0.1")
      assert.deepStrictEqual(Buffer.from(yield* connection.preamble), lineOf(four).subarray(0, 32))
    })
  )

  test(
    "a dual-stack listener knows proxies of both families",
    Effect.gen(function*() {
      const listener = yield* behindProxies({ host: "::", proxies: ["127.0.0.1", "::1"] })
      for (const [host, own] of [["127.0.0.1", "::ffff:127.0.0.1"], ["::1", "::1"]] as const) {
        const named = yield* proxied({ ...listener, host }, lineOf(four))
        assert.strictEqual(sourceOf(named.connection), "192.0.2.1 4001")
        const local = yield* proxied({ ...listener, host }, line("PROXY UNKNOWN"))
        assert.strictEqual(local.connection.remoteAddress, own)
      }
    })
  )

  test(
    "what is no address is a defect",
    Effect.gen(function*() {
      const exit = yield* Effect.exit(behindProxies({ proxies: ["127.0.0.1", "10/8"] }))
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
    })
  )

  test(
    "closing the scope closes connections whose header is awaited, and no others",
    Effect.gen(function*() {
      const transport = yield* Transport.Transport
      const before = timers()
      const connections = yield* Queue.unbounded<Transport.Connection>()
      const errors: Array<Transport.AcceptError> = []
      const scope = yield* Scopes.make()
      const bound = yield* transport.listen({
        host: "127.0.0.1",
        port: 0,
        ipv6Only: false,
        proxies: ["127.0.0.1"],
        onConnection: (connection) => connections.unsafeOffer(connection),
        onAcceptError: (error) => errors.push(error)
      }).pipe(Scopes.extend(scope), Effect.provideService(HeaderTimeoutMs, 60_000))
      const listener = { ...bound, arrival: Effect.unsafeMakeSemaphore(1), connections }
      const through = Effect.tap(
        proxied(listener, Buffer.concat([binaryOf(four), payload(32)])),
        ({ connection }) => connection.preamble
      )
      const [left, right] = [yield* through, yield* through]
      const waiting = yield* Effect.forEach(
        [0, 1, 20],
        (length) => Effect.tap(connect(listener), ({ socket }) => socket.write(lineOf(four).subarray(0, length)))
      )
      yield* eventually("all of them to be accepted", () => socketsAt(bound.port) === 5)
      yield* Effect.sleep(20)

      yield* Scopes.close(scope, Exit.void)
      yield* Effect.forEach(waiting, (client) => client.readAll)
      assert.strictEqual(socketsAt(bound.port), 2)
      yield* splice(left, right)
      left.client.socket.write("hello")
      assert.strictEqual((yield* right.client.read(5)).toString(), "hello")
      yield* eventually("no more timers than before", () => timers() <= before)
      assert.deepStrictEqual(errors, [])
      assert.strictEqual(yield* Queue.size(connections), 0)
    })
  )
}
