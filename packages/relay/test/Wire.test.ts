/**
 * The wire protocol (section 4) through real sockets: nodes and peers that behave, and strangers that do not.
 */
import { assert, describe, it } from "@effect/vitest"
import { CertDigest, Handshake, Identity, Preamble, SpliceToken, Tls } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import { Effect, HashMap, Logger, Option } from "effect"
import { createHash, randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import { carries, controlPreamble } from "./utils/clients.js"
import { withRelay } from "./utils/withRelay.js"

/** A certificate and its key. */
const selfSigned = readFileSync(new URL("fixtures/self-signed.pem", import.meta.url))

/** One turn of the event loop, so that what was written leaves on its own. */
const turn = Effect.promise(() => new Promise(setImmediate))

const sendByteByByte = (stream: RelayTest.RawStream, bytes: Uint8Array) =>
  Effect.forEach(bytes, (byte) => Effect.zipRight(stream.send(Uint8Array.of(byte)), turn))

/** A stream that sends these bytes together with the first ones written to it. */
const behindPreamble = (tcp: Duplex, preamble: Uint8Array) => {
  let head = preamble
  const stream = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _, callback) => {
      tcp.write(Buffer.concat([head, chunk]), callback)
      head = Buffer.alloc(0)
    }
  })
  tcp.on("data", (chunk) => stream.push(chunk)).on("close", () => stream.destroy())
  return stream
}

describe("Wire", () => {
  it.live("a peer and a node speak TLS end to end, and each proves its digest to the other", () =>
    withRelay({}, ({ address, splice }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const { node, peer } = yield* splice(registered)
        const peerIdentity = yield* Identity.generate
        const [inside, outside] = yield* Effect.all([
          Handshake.accept(node.stream, Tls.secureContext(registered.identity)),
          Handshake.connect(peer.stream, Tls.secureContext(peerIdentity))
        ], { concurrency: 2 })
        assert.strictEqual(outside.digest, registered.identity.digest)
        assert.strictEqual(inside.digest, peerIdentity.digest)

        const [near, far] = [RelayTest.rawStream(inside.socket), RelayTest.rawStream(outside.socket)]
        yield* carries(far, near, "hello")
        yield* carries(near, far, "hello yourself")
      })))

  it.live("carries many messages of all sizes, both ways, in TLS", () =>
    withRelay({}, ({ address, has, relay, splice }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        yield* Effect.scoped(Effect.gen(function*() {
          const { node, peer } = yield* splice(registered)
          const [inside, outside] = yield* Effect.all([
            Handshake.accept(node.stream, Tls.secureContext(registered.identity)),
            Handshake.connect(peer.stream, Tls.secureContext(yield* Identity.generate))
          ], { concurrency: 2 })
          const streams = [RelayTest.rawStream(inside.socket), RelayTest.rawStream(outside.socket)] as const
          for (let i = 0; i < 300; i++) {
            const [from, to] = i % 3 === 0 ? streams : [streams[1], streams[0]]
            const message = randomBytes(1 + (i * 7919) % 40_000)
            const [, received] = yield* Effect.all([from.send(message), to.receive(message.length)], { concurrency: 2 })
            assert.isTrue(message.equals(received), `message ${i}`)
          }
        }))
        yield* has({ spliced: 0 })
        const { totals } = yield* relay.snapshot
        assert.isAbove(totals.bytesFromNodes, 1_500_000)
        assert.isAbove(totals.bytesFromPeers, 3_000_000)
      })))

  it.live("passes on half-close, in either order, and then nothing is left", () =>
    withRelay({}, ({ address, has, relay, splice }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const first = yield* splice(registered)
        yield* first.peer.end
        assert.strictEqual(yield* first.node.closed, "ended")
        yield* carries(first.node, first.peer, "the answer")
        yield* first.node.end
        assert.strictEqual(yield* first.peer.closed, "ended")

        const second = yield* splice(registered)
        yield* second.node.end
        assert.strictEqual(yield* second.peer.closed, "ended")
        yield* carries(second.peer, second.node, "the question")
        yield* second.peer.end
        assert.strictEqual(yield* second.node.closed, "ended")
        yield* has({ spliced: 0 })
        const { totals } = yield* relay.snapshot
        assert.deepStrictEqual([totals.splices, totals.bytesFromNodes, totals.bytesFromPeers], [2, 10, 12])
      })))

  it.live("reads a preamble that comes a byte at a time, from whomever", () =>
    withRelay({}, ({ address, has }) =>
      Effect.gen(function*() {
        const identity = yield* Identity.generate
        const tcp = yield* RelayTest.connect(address)
        yield* sendByteByByte(tcp, controlPreamble(address))
        const { socket } = yield* Handshake.connect(tcp.stream, Tls.secureContext(identity))
        const control = RelayTest.rawStream(socket)
        assert.deepStrictEqual(yield* control.receive(1), Buffer.from(Preamble.allClear))

        const peer = yield* RelayTest.connect(address)
        yield* sendByteByByte(peer, CertDigest.toBytes(identity.digest))
        const node = yield* RelayTest.connect(address)
        yield* sendByteByByte(node, yield* control.receive(32))
        yield* has({ control: 1, spliced: 2 })
        yield* carries(peer, node, "hello")
      })))

  it.live("keeps what comes in one segment with a preamble: a ClientHello, a peer's data, a node's data", () =>
    withRelay({}, ({ address }) =>
      Effect.gen(function*() {
        const identity = yield* Identity.generate
        const tcp = yield* RelayTest.connect(address)
        const { socket } = yield* Handshake.connect(
          behindPreamble(tcp.stream, controlPreamble(address)),
          Tls.secureContext(identity)
        )
        const control = RelayTest.rawStream(socket)
        yield* control.receive(1)

        const peer = yield* RelayTest.sendPreamble(
          address,
          Buffer.concat([CertDigest.toBytes(identity.digest), Buffer.from("from the peer")])
        )
        const node = yield* RelayTest.sendPreamble(
          address,
          Buffer.concat([yield* control.receive(32), Buffer.from("from the node")])
        )
        assert.strictEqual((yield* node.receive(13)).toString(), "from the peer")
        assert.strictEqual((yield* peer.receive(13)).toString(), "from the node")
      })))

  it.live("delivers first what a peer sent before the match, however much", () =>
    withRelay({}, ({ address, has }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const peer = yield* registered.peer
        const early = randomBytes(300_000)
        yield* has({ pending: 1 })
        yield* Effect.fork(Effect.zipRight(peer.send(early), peer.send(Buffer.from("and then this"))))
        yield* turn
        const node = yield* registered.accept
        assert.isTrue((yield* node.receive(early.length)).equals(early))
        assert.strictEqual((yield* node.receive(13)).toString(), "and then this")
      })))

  it.live("carries 64 MiB both ways at once, intact", () =>
    withRelay({}, ({ address, has, relay, splice }) =>
      Effect.gen(function*() {
        const { node, peer } = yield* splice(yield* RelayTest.register(address))
        const [toPeer, toNode] = yield* Effect.promise(() =>
          Promise.all([
            transfer(node.stream, peer.stream),
            transfer(peer.stream, node.stream)
          ])
        )
        assert.strictEqual(toPeer.received, toPeer.sent)
        assert.strictEqual(toNode.received, toNode.sent)
        yield* has({ spliced: 0 })
        const { totals } = yield* relay.snapshot
        assert.deepStrictEqual([totals.bytesFromPeers, totals.bytesFromNodes], [64 * mebibyte, 64 * mebibyte])
      })))

  it.live("splices 200 peers at once with one node", () =>
    withRelay({ maxRelaysPerControl: 200 }, ({ address, has }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        yield* Effect.fork(Effect.replicateEffect(
          Effect.flatMap(registered.accept, (node) => Effect.forkScoped(Effect.flatMap(node.receive(32), node.send))),
          200
        ))
        const peers = yield* Effect.all(
          Array.from({ length: 200 }, () =>
            Effect.gen(function*() {
              const peer = yield* registered.peer
              const message = randomBytes(32)
              yield* peer.send(message)
              assert.isTrue((yield* peer.receive(32)).equals(message))
              return peer
            })),
          { concurrency: "unbounded" }
        )
        yield* has({ control: 1, spliced: 400 })
        yield* Effect.forEach(peers, (peer) => peer.reset)
        yield* has({ control: 1, spliced: 0 })
      })))

  it.live("passes on a reset, from either side, in the middle of a splice", () =>
    withRelay({}, ({ address, has, splice }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        for (const killed of ["node", "peer"] as const) {
          const ends = yield* splice(registered)
          yield* carries(ends.peer, ends.node, "so far so good")
          yield* ends[killed].reset
          assert.strictEqual(yield* ends[killed === "node" ? "peer" : "node"].closed, "reset")
          yield* has({ control: 1, spliced: 0 })
        }
      })))

  it.live("a token is good for one splice", () =>
    withRelay({}, ({ address, rejected }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const peer = yield* registered.peer
        const token = yield* registered.token
        const node = yield* RelayTest.dialBack(address, token)
        yield* carries(peer, node, "hello")

        yield* Effect.flatMap(RelayTest.dialBack(address, token), (thief) => thief.closed)
        yield* rejected("unknownPreamble", 1)
        yield* carries(node, peer, "still ours")
      })))

  it.live("the token of a peer that hung up is worth nothing", () =>
    withRelay({}, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        const peer = yield* registered.peer
        const token = yield* registered.token
        yield* peer.hangUp
        yield* has({ pending: 0 })
        yield* Effect.flatMap(RelayTest.dialBack(address, token), (late) => late.closed)
        yield* rejected("unknownPreamble", 1)
      })))

  it.live("every peer has a token of its own, from a source that nobody can guess", () =>
    withRelay({}, ({ address }) =>
      Effect.gen(function*() {
        const registered = yield* RelayTest.register(address)
        yield* Effect.replicateEffect(registered.peer, 50)
        const tokens = yield* Effect.replicateEffect(registered.token, 50)
        assert.strictEqual(new Set(tokens).size, 50)
        const bits = tokens.flatMap((token) => Array.from(SpliceToken.toBytes(token)))
        // 1600 random bytes have some 255.5 different values; a counter or a clock has few.
        assert.isAbove(new Set(bits).size, 240)
      })))

  it.live("a control stream that says a word is ended", () =>
    withRelay({}, ({ address, has, relay }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        yield* node.control.send(Buffer.from([0]))
        yield* node.control.closed
        yield* has({ control: 0 })
        assert.strictEqual((yield* relay.snapshot).totals.controlStreamsEnded.spoke, 1)
      })))

  it.live("garbage of any length is closed without a byte, and counted", () =>
    withRelay({}, ({ address, rejected }) =>
      Effect.gen(function*() {
        for (let length = 0; length <= 100; length++) {
          const stranger = yield* RelayTest.sendPreamble(address, randomBytes(length))
          yield* stranger.end
          yield* stranger.closed
        }
        yield* rejected("hungUp", 32)
        yield* rejected("unknownPreamble", 69)
        for (let i = 0; i < 20; i++) {
          const guess = yield* RelayTest.sendPreamble(address, randomBytes(32))
          yield* guess.closed
        }
        yield* rejected("unknownPreamble", 89)
      })))

  it.live("a peer of a node that is not registered, or not any more, is closed without a byte", () =>
    withRelay({}, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        yield* node.control.end
        yield* has({ control: 0 })
        yield* Effect.flatMap(node.peer, (peer) => peer.closed)
        yield* rejected("unknownPreamble", 1)
      })))

  describe("a client that is no node is refused at the handshake", () => {
    const cases: ReadonlyArray<readonly [string, (stream: Duplex) => Duplex]> = [
      ["without a certificate", (socket) => NodeTls.connect({ socket, rejectUnauthorized: false })],
      [
        "with a self-signed one",
        (socket) => NodeTls.connect({ socket, rejectUnauthorized: false, cert: selfSigned, key: selfSigned })
      ],
      [
        "with TLS 1.2",
        (socket) => NodeTls.connect({ socket, rejectUnauthorized: false, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" })
      ],
      ["with something else than TLS", (socket) => {
        socket.write("GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n")
        return socket
      }]
    ]
    for (const [name, begin] of cases) {
      it.live(name, () =>
        withRelay({}, ({ address, rejected }) =>
          Effect.gen(function*() {
            const tcp = yield* RelayTest.sendPreamble(address, controlPreamble(address))
            const received = yield* RelayTest.rawStream(begin(tcp.stream)).receiveAll.pipe(
              Effect.catchTag("Ended", (ended) => Effect.succeed(ended.received))
            )
            // There may be an alert, for one that does not speak TLS, but no all-clear.
            assert.notStrictEqual(received[0], Preamble.allClear[0])
            yield* rejected("handshakeFailed", 1)
          })))
    }
  })

  it.live("the debug log has what was wrong with a certificate", () => {
    const details: Array<unknown> = []
    const logger = Logger.make(({ annotations, message }) => {
      if (String(message) === "connection came to nothing") {
        details.push(Option.getOrUndefined(HashMap.get(annotations, "detail")))
      }
    })
    return withRelay({}, ({ address, rejected }) =>
      Effect.gen(function*() {
        const tcp = yield* RelayTest.sendPreamble(address, controlPreamble(address))
        NodeTls.connect({ socket: tcp.stream, rejectUnauthorized: false, cert: selfSigned, key: selfSigned })
          .on("error", () => {})
        yield* rejected("handshakeFailed", 1)
        assert.strictEqual(details.length, 1)
        assert.match(String(details[0]), /^the other end's certificate is not one of tx3: ./)
      })).pipe(Effect.provide(Logger.add(logger)))
  })

  it.live("a node that hangs up in its handshake is no failed handshake", () =>
    withRelay({}, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        for (const leave of ["end", "hangUp", "reset"] as const) {
          const node = yield* RelayTest.sendPreamble(address, controlPreamble(address))
          yield* has({ handshake: 1 })
          yield* node[leave]
          yield* has({ handshake: 0 })
        }
        yield* rejected("hungUp", 3)
        yield* rejected("handshakeFailed", 0)
      })))

  it.live("a node may resume its TLS session on the next control stream", () =>
    withRelay({}, ({ address, has }) =>
      Effect.gen(function*() {
        const identity = yield* Identity.generate
        const context = Tls.secureContext(identity)
        const register = (session: Buffer | undefined) =>
          Effect.gen(function*() {
            const tcp = yield* RelayTest.sendPreamble(address, controlPreamble(address))
            const socket = NodeTls.connect({
              socket: tcp.stream,
              ...Tls.clientOptions(context),
              ...session === undefined ? {} : { session }
            })
            const ticket = new Promise<Buffer>((resolve) => socket.once("session", resolve))
            const control = RelayTest.rawStream(socket)
            assert.deepStrictEqual(yield* control.receive(1), Buffer.from(Preamble.allClear))
            return { control, resumed: socket.isSessionReused(), session: Effect.promise(() => ticket) }
          })
        const first = yield* register(undefined)
        assert.isFalse(first.resumed)
        const session = yield* first.session
        yield* first.control.end
        yield* has({ control: 0 })

        const second = yield* register(session)
        assert.isTrue(second.resumed)
        const peer = yield* RelayTest.sendPreamble(address, CertDigest.toBytes(identity.digest))
        const node = yield* RelayTest.sendPreamble(address, yield* second.control.receive(32))
        yield* carries(peer, node, "known on a resumed session")
      })))

  it.live("has its own digest in its address, and proves it", () =>
    withRelay({}, ({ address, relay }) =>
      Effect.gen(function*() {
        assert.strictEqual(Option.getOrNull(address.digest), relay.digest)
        const tcp = yield* RelayTest.sendPreamble(address, controlPreamble(address))
        const { digest } = yield* Handshake.connect(tcp.stream, Tls.secureContext(yield* Identity.generate))
        assert.strictEqual(digest, relay.digest)
      })))

  it.live("a control stream that is replaced ends with close_notify, and every other one without", () =>
    withRelay({}, ({ address, relay }) =>
      Effect.gen(function*() {
        const identity = yield* Identity.generate
        const first = yield* RelayTest.register(address, { identity })
        const second = yield* RelayTest.register(address, { identity })
        assert.strictEqual(yield* first.control.closed, "ended")

        yield* second.control.send(Buffer.from("?"))
        assert.strictEqual(yield* second.control.closed, "reset")

        for (const reason of ["kicked", "unresponsive", "shutdown"] as const) {
          const node = yield* RelayTest.register(address)
          for (const session of relay.controlStreams()) {
            session.end(reason)
          }
          assert.strictEqual(yield* node.control.closed, "reset")
        }
      })))
})

const mebibyte = 1024 * 1024

/** Sends 64 MiB and the end, and hashes what is sent and what arrives. */
const transfer = async (from: Duplex, to: Duplex) => {
  const sent = createHash("sha256")
  const received = createHash("sha256")
  const seed = randomBytes(mebibyte)
  await Promise.all([
    (async () => {
      for (let i = 0; i < 64; i++) {
        seed.writeUInt32BE(i)
        sent.update(seed)
        if (!from.write(Buffer.from(seed))) {
          await new Promise((resolve) => from.once("drain", resolve))
        }
      }
      from.end()
    })(),
    new Promise((resolve) => to.on("data", (chunk) => received.update(chunk)).once("end", resolve))
  ])
  return { sent: sent.digest("hex"), received: received.digest("hex") }
}
