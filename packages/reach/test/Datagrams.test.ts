import { assert, describe, it } from "@effect/vitest"
import * as Tx3Node from "@tx3/node/Tx3Node"
import { localServer, portOf } from "@tx3/testing/localServer"
import { Effect, Fiber, Logger, Mailbox, type Scope, Stream, TestClock, TestContext, Utils } from "effect"
import * as dgram from "node:dgram"
import { PassThrough } from "node:stream"
import { addressOf, alice, atRest, bob, eventually, live, pair } from "../../node/test/utils/nodes.js"
import { withRelay } from "../../node/test/utils/relays.js"
import * as Datagrams from "../src/Datagrams.js"
import * as Expose from "../src/Expose.js"
import * as Forward from "../src/Forward.js"
import { Decoder, encode } from "../src/internal/datagramFrames.js"
import { Outbox } from "../src/internal/outbox.js"
import * as LocalEndpoint from "../src/LocalEndpoint.js"
import * as Pipe from "../src/Pipe.js"

const direct = "tx3-st://127.0.0.1:0"
const anyPort = LocalEndpoint.Udp({ host: "127.0.0.1", port: 0 })

/** A socket at a free port of 127.0.0.1, and what came to it. */
const udpSocket = (onDatagram: (datagram: Buffer, from: dgram.RemoteInfo, socket: dgram.Socket) => void = () => {}) =>
  Effect.acquireRelease(
    Effect.async<{ readonly socket: dgram.Socket; readonly port: number; readonly came: Array<Buffer> }>((resume) => {
      const came: Array<Buffer> = []
      const socket = dgram.createSocket("udp4")
      socket.on("message", (datagram, from) => {
        came.push(datagram)
        onDatagram(datagram, from, socket)
      })
      socket.bind(0, "127.0.0.1", () => resume(Effect.succeed({ socket, port: socket.address().port, came })))
    }),
    ({ socket }) => Effect.sync(() => socket.close())
  )

const echo = udpSocket((datagram, { address, port }, socket) => socket.send(datagram, port, address))

const at = (port: number) => LocalEndpoint.Udp({ host: "127.0.0.1", port })

/** Alice exposes a service, bob forwards to it; and what both tell. */
const tunnel = (options: {
  readonly bind?: string
  readonly service: LocalEndpoint.LocalEndpoint
  readonly listenAt?: LocalEndpoint.LocalEndpoint
  readonly allows?: Expose.Options["allows"]
}) =>
  Effect.gen(function*() {
    const { allows, bind = direct, listenAt = anyPort, service } = options
    const exposing = yield* Tx3Node.make({ bind: [bind], identity: alice, requireRegistration: true })
    const exposed = yield* Mailbox.make<Expose.Event>()
    yield* Effect.forkScoped(Expose.serve({
      node: exposing,
      service,
      allows,
      onEvent: (event) => Effect.asVoid(exposed.offer(event))
    }))
    const forwarding = yield* Tx3Node.make({ identity: bob })
    const forwarded = yield* Mailbox.make<Forward.Event>()
    const endpoint = yield* Forward.listen({
      node: forwarding,
      destination: addressOf(exposing),
      endpoint: listenAt,
      onEvent: (event) => Effect.asVoid(forwarded.offer(event))
    })
    assert(!LocalEndpoint.$is("Unix")(endpoint))
    return { endpoint, port: endpoint.port, exposed, exposing, forwarding, forwarded }
  })

const next = <A>(mailbox: Mailbox.ReadonlyMailbox<A>) => Effect.orDie(mailbox.take)

describe("frames of datagrams", () => {
  it("come out as they went in, however the stream is cut", () => {
    const random = new Utils.PCGRandom(1)
    for (let round = 0; round < 20; round++) {
      const datagrams = Array.from({ length: 20 }, () => {
        const size = random.number() < 0.1 ? 65_535 : random.integer(40)
        return Buffer.alloc(size, random.integer(256))
      })
      const stream = Buffer.concat(datagrams.map(encode))
      const decoder = new Decoder()
      const found: Array<Buffer> = []
      for (let at = 0; at < stream.length;) {
        const size = 1 + random.integer(random.number() < 0.5 ? 3 : 50_000)
        found.push(...decoder.push(stream.subarray(at, at + size)))
        at += size
      }
      assert.isTrue(Buffer.concat(found).equals(Buffer.concat(datagrams)))
      assert.deepStrictEqual(found.map(({ length }) => length), datagrams.map(({ length }) => length))
    }
  })

  it("wait in a bounded queue, from which the oldest are dropped", async () => {
    const outbox = new Outbox()
    const datagrams = Array.from({ length: 300 }, (_, index) => Buffer.alloc(1_400, index))
    datagrams.forEach((datagram) => outbox.offer(datagram))
    outbox.offer(Buffer.alloc(65_536))
    const stream = new PassThrough({ highWaterMark: 1 })
    const kept = Math.floor(256 * 1024 / 1_464)
    const detach = outbox.attach(stream)
    const decoder = new Decoder()
    const came: Array<Buffer> = []
    for await (const chunk of stream) {
      came.push(...decoder.push(chunk))
      if (came.length === kept) {
        break
      }
    }
    assert.strictEqual(outbox.dropped, 300 - kept + 1)
    assert.isTrue(came[0]!.equals(datagrams[300 - kept]!))
    detach()
    assert.strictEqual(stream.listenerCount("drain"), 0)
  })
})

describe("datagrams through expose and forward", () => {
  live(
    "both ways through a relay, whole, in order, and to the flow that they belong to",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const service = yield* echo
          const { exposed, forwarded, port } = yield* tunnel({ bind: String(relay), service: at(service.port) })
          const [one, other] = [yield* udpSocket(), yield* udpSocket()]
          const sent = ["first", "", "x".repeat(65_507)].map((text) => Buffer.from(text))
          for (const [index, datagram] of sent.entries()) {
            one.socket.send(datagram, port, "127.0.0.1")
            yield* eventually(() => one.came.length === index + 1)
          }
          other.socket.send("other", port, "127.0.0.1")
          yield* eventually(() => other.came.length === 1)
          assert.deepStrictEqual(one.came.map(({ length }) => length), [5, 0, 65_507])
          assert.deepStrictEqual(other.came.map(String), ["other"])
          for (const [events, peer] of [[exposed, bob.digest], [forwarded, alice.digest]] as const) {
            const opened = yield* next<Expose.Event | Forward.Event>(events)
            assert(opened._tag === "Opened")
            assert.strictEqual(opened.passage.peer, peer)
            assert.deepStrictEqual(opened.passage.carried(), { fromPeer: 65_512, toPeer: 65_512 })
          }
        })
      )
  )

  live("steady small packets, as of a game, arrive and come back", () =>
    Effect.gen(function*() {
      const service = yield* echo
      const { port } = yield* tunnel({ service: at(service.port) })
      const { came, socket } = yield* udpSocket()
      for (let tick = 0; tick < 500; tick++) {
        const packet = Buffer.alloc(60)
        packet.writeUInt32BE(tick)
        socket.send(packet, port, "127.0.0.1")
        yield* Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))
      }
      yield* eventually(() => came.length === 500)
      assert.deepStrictEqual(
        came.map((packet) => packet.readUInt32BE()),
        Array.from({ length: 500 }, (_, tick) => tick)
      )
    }))

  live("a peer that is not allowed is told so, and the service gets nothing", () =>
    Effect.gen(function*() {
      const service = yield* echo
      const { exposed, forwarded, port } = yield* tunnel({
        service: at(service.port),
        allows: () => Effect.succeed(false)
      })
      const { socket } = yield* udpSocket()
      socket.send("hello", port, "127.0.0.1")
      const failed = yield* next(forwarded)
      assert(failed._tag === "Failed")
      assert.match(failed.because.message, /does not allow .*, which is you/)
      assert.strictEqual((yield* next(exposed))._tag, "Refused")
      assert.strictEqual(service.came.length, 0)
    }))

  live("says where nothing listens at the service", () =>
    Effect.gen(function*() {
      const { port: dead } = yield* Effect.scoped(udpSocket())
      const { exposed, port } = yield* tunnel({ service: at(dead) })
      const { socket } = yield* udpSocket()
      socket.send("hello", port, "127.0.0.1")
      assert.strictEqual((yield* next(exposed))._tag, "Opened")
      const unavailable = yield* next(exposed)
      assert(unavailable._tag === "Unavailable")
      assert.strictEqual(unavailable.because.message, `cannot connect to udp:127.0.0.1:${dead}: nothing listens there`)
    }))
})

describe("one end for TCP and the other for UDP", () => {
  live("a forwarding of TCP fails with an error, and the UDP service gets no byte", () =>
    Effect.gen(function*() {
      const service = yield* echo
      const { endpoint, exposed, exposing, forwarded, forwarding } = yield* tunnel({
        service: at(service.port),
        listenAt: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 0 })
      })
      const socket = yield* LocalEndpoint.connect(endpoint, 5_000)
      socket.write("GET / HTTP/1.1\r\nHost: example.org\r\nAccept: text/html\r\n\r\n")
      assert.strictEqual((yield* next(forwarded))._tag, "Opened")
      const closed = yield* next(forwarded)
      assert(closed._tag === "Closed" && closed.because !== undefined)
      assert.strictEqual(
        closed.because.message,
        "the other end exposes a UDP service; reach it with tx3 forward ADDRESS --listen udp:127.0.0.1:PORT"
      )
      yield* eventually(() => socket.destroyed || socket.errored !== null)

      const connection = yield* forwarding.connect(addressOf(exposing))
      const refused = yield* Effect.flip(
        Pipe.run(connection, { stdin: new PassThrough(), stdout: new PassThrough() }, { ownDigest: bob.digest })
      )
      assert.strictEqual(refused._tag, "Refused")
      yield* connection.end
      assert.strictEqual(
        (yield* Effect.iterate(yield* next(exposed), {
          while: ({ _tag }) => _tag !== "Mismatched",
          body: () => next(exposed)
        }))._tag,
        "Mismatched"
      )
      assert.strictEqual(yield* atRest(() => service.came.length), 0)
    }))

  live("a forwarding of UDP fails with an error, and the TCP service gets no byte", () =>
    Effect.gen(function*() {
      let came = 0
      const server = yield* localServer((socket) => {
        socket.on("data", ({ length }) => {
          came += length
        })
        socket.write("SSH-2.0-OpenSSH_9.6\r\n")
      })
      const { forwarded, port } = yield* tunnel({
        service: LocalEndpoint.Tcp({ host: "127.0.0.1", port: portOf(server) })
      })
      const { socket } = yield* udpSocket()
      socket.send("hello", port, "127.0.0.1")
      const failed = yield* next(forwarded)
      assert(failed._tag === "Failed")
      assert.match(
        failed.because.message,
        /does not expose a UDP service; forward it with --listen HOST:PORT.*; if the address is that of a relay, /
      )
      assert.strictEqual(yield* atRest(() => came), 0)
    }))

  const lateEnds = [
    ["the exposing end is silent", "forwarding"],
    ["the forwarding end is silent", "exposing"]
  ] as const
  for (const [title, end] of lateEnds) {
    live(`gives up after 10 s where ${title}`, () =>
      Effect.gen(function*() {
        const { far, near } = yield* pair
        const begun = end === "forwarding" ? Datagrams.open(near, bob.digest) : Datagrams.accept(far, alice.digest)
        const error = yield* Effect.gen(function*() {
          const fiber = yield* Effect.fork(Effect.flip(Effect.scoped(begun)))
          yield* TestClock.adjust("10 seconds")
          return yield* Fiber.join(fiber)
        }).pipe(Effect.provide(TestContext.TestContext))
        assert(error._tag === "NoDatagrams")
        assert.strictEqual(error.end, end)
      }))
  }
})

describe("flows", () => {
  const onTestClock = <E>(name: string, test: Effect.Effect<void, E, Scope.Scope>) =>
    it.scoped(name, () => Effect.provide(test, Logger.remove(Logger.defaultLogger)))

  onTestClock(
    "end when they have been idle for two minutes, and begin again",
    Effect.gen(function*() {
      const service = yield* echo
      const { exposed, forwarded, port } = yield* tunnel({ service: at(service.port) })
      const { came, socket } = yield* udpSocket()
      for (const round of [1, 2]) {
        socket.send("hello", port, "127.0.0.1")
        yield* eventually(() => came.length === round)
        yield* TestClock.adjust("119 seconds")
        socket.send("hello", port, "127.0.0.1")
        yield* eventually(() => came.length === round + 1)
        came.splice(0, 1)
        yield* TestClock.adjust("119 seconds")
        yield* TestClock.adjust("1 seconds")
        for (const events of [exposed, forwarded]) {
          assert.strictEqual((yield* next<Expose.Event | Forward.Event>(events))._tag, "Opened")
          const closed = yield* next<Expose.Event | Forward.Event>(events)
          assert(closed._tag === "Closed")
          assert.isUndefined(closed.because)
          assert.deepStrictEqual(closed.passage.carried(), { fromPeer: 10, toPeer: 10 })
        }
      }
    })
  )

  onTestClock(
    "of one source are 42 at most, of which a new one ends the idlest, and none that is busy",
    Effect.gen(function*() {
      const service = yield* echo
      const { forwarded, port } = yield* tunnel({ service: at(service.port) })
      const sockets = yield* Effect.replicateEffect(udpSocket(), 43)
      for (const { socket } of sockets) {
        socket.send("hello", port, "127.0.0.1")
      }
      yield* eventually(() => sockets.filter(({ came }) => came.length === 1).length === 42)
      yield* TestClock.adjust("1 seconds")
      const [first, ...others] = sockets.filter(({ came }) => came.length === 1)
      for (const { socket } of others) {
        socket.send("again", port, "127.0.0.1")
      }
      yield* eventually(() => others.every(({ came }) => came.length === 2))
      const late = sockets.find(({ came }) => came.length === 0)!
      late.socket.send("hello", port, "127.0.0.1")
      yield* eventually(() => late.came.length === 1)
      const events = Array.from(yield* Stream.runCollect(Stream.take(Mailbox.toStream(forwarded), 44)))
      assert.strictEqual(events.filter(({ _tag }) => _tag === "Opened").length, 43)
      const [closed] = events.filter((event) => event._tag === "Closed")
      assert(closed?._tag === "Closed")
      assert.strictEqual(closed.passage.carried().toPeer, 5)
      assert.isDefined(first)
    })
  )
})
