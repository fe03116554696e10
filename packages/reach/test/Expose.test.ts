import { assert, describe } from "@effect/vitest"
import * as Tx3Node from "@tx3/node/Tx3Node"
import { Lookup } from "@tx3/sockets/Lookup"
import { localServer, portOf } from "@tx3/testing/localServer"
import { Effect, Either, Mailbox, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  addressOf,
  alice,
  atRest,
  bob,
  eventually,
  live,
  payload,
  received,
  sha256
} from "../../node/test/utils/nodes.js"
import { withRelay } from "../../node/test/utils/relays.js"
import * as Expose from "../src/Expose.js"
import * as Forward from "../src/Forward.js"
import * as LocalEndpoint from "../src/LocalEndpoint.js"

const direct = "tx3-st://127.0.0.1:0"
const anyPort = LocalEndpoint.Tcp({ host: "127.0.0.1", port: 0 })

/** A service on TCP or a unix socket, each of whose connections is handled by this, half-open. */
const service = (onConnection: (socket: net.Socket) => void, path?: string) =>
  Effect.gen(function*() {
    const accepted: Array<net.Socket> = []
    const server = yield* localServer((socket) => {
      accepted.push(socket)
      onConnection(socket)
    }, { allowHalfOpen: true, path })
    return {
      accepted,
      endpoint: path === undefined
        ? LocalEndpoint.Tcp({ host: "127.0.0.1", port: portOf(server) })
        : LocalEndpoint.Unix({ path })
    }
  })

const echoing = (socket: net.Socket) => void socket.pipe(socket)

type Exposing = Partial<Omit<Expose.Options, "node">>

/** Alice exposes a service, bob forwards to it; and what both tell. */
const tunnel = (options: {
  readonly bind: string
  readonly service: LocalEndpoint.LocalEndpoint
  readonly allows?: Exposing["allows"]
  readonly listenAt?: LocalEndpoint.LocalEndpoint
}) =>
  Effect.gen(function*() {
    const exposing = yield* Tx3Node.make({ bind: [options.bind], identity: alice, requireRegistration: true })
    const exposed = yield* Mailbox.make<Expose.Event>()
    yield* Effect.forkScoped(Expose.serve({
      node: exposing,
      service: options.service,
      allows: options.allows,
      onEvent: (event) => Effect.asVoid(exposed.offer(event))
    }))
    const forwarding = yield* Tx3Node.make({ identity: bob })
    const forwarded = yield* Mailbox.make<Forward.Event>()
    const endpoint = yield* Forward.listen({
      node: forwarding,
      destination: addressOf(exposing),
      endpoint: options.listenAt ?? anyPort,
      onEvent: (event) => Effect.asVoid(forwarded.offer(event))
    })
    return { endpoint, exposed, exposing, forwarded }
  })

const connect = (endpoint: LocalEndpoint.LocalEndpoint) => LocalEndpoint.connect(endpoint, 5_000)

/** All that comes until the end, or how it was cut off. */
const all = (socket: net.Socket) =>
  Effect.async<Buffer, NodeJS.ErrnoException>((resume) => {
    const chunks: Array<Buffer> = []
    socket.on("data", (chunk) => chunks.push(chunk))
      .once("end", () => resume(Effect.succeed(Buffer.concat(chunks))))
      .once("error", (error) => resume(Effect.fail(error)))
      .resume()
  })

const next = <A>(mailbox: Mailbox.ReadonlyMailbox<A>) => Effect.orDie(mailbox.take)

const withFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-node-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

describe("expose and forward", () => {
  live(
    "8 MiB both ways at once through a relay, counted, and each end knows the other",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const { endpoint: at } = yield* service(echoing)
          const { endpoint, exposed, forwarded } = yield* tunnel({ bind: String(relay), service: at })
          const socket = yield* connect(endpoint)
          socket.end(payload)
          assert.strictEqual(sha256(yield* all(socket)), sha256(payload))
          for (const [events, peer] of [[exposed, bob.digest], [forwarded, alice.digest]] as const) {
            const opened = yield* next<Expose.Event | Forward.Event>(events)
            const closed = yield* next<Expose.Event | Forward.Event>(events)
            assert(opened._tag === "Opened" && closed._tag === "Closed")
            assert.strictEqual(opened.passage, closed.passage)
            assert.strictEqual(opened.passage.peer, peer)
            assert.strictEqual(opened.passage.via.port, relay.port)
            assert.deepStrictEqual(closed.passage.carried(), { fromPeer: payload.length, toPeer: payload.length })
            assert.isUndefined(closed.because)
          }
        })
      )
  )

  live("a unix socket at both ends, its file for its owner only", () =>
    Effect.gen(function*() {
      const folder = yield* withFolder
      const { endpoint: at } = yield* service(echoing, join(folder, "service"))
      const listenAt = LocalEndpoint.Unix({ path: join(folder, "forward") })
      const { endpoint } = yield* tunnel({ bind: direct, service: at, listenAt })
      assert.deepStrictEqual(endpoint, listenAt)
      assert.strictEqual(statSync(listenAt.path).mode & 0o777, 0o600)
      const socket = yield* connect(endpoint)
      socket.end("through files")
      assert.strictEqual((yield* all(socket)).toString(), "through files")
    }))

  live(
    "a unix socket whose program has closed it loses nothing, however late it is read",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const folder = yield* withFolder
          const bytes = payload.subarray(0, 1024 * 1024)
          const { accepted, endpoint: at } = yield* service(
            (socket) => void socket.resume().end(bytes, () => socket.destroySoon()),
            join(folder, "service")
          )
          const { endpoint, exposed, forwarded } = yield* tunnel({ bind: String(relay), service: at })
          const socket = yield* connect(endpoint)
          socket.pause()
          yield* eventually(() => accepted[0]?.closed === true)
          // It has been read to its end by now, and what is on the way is all in buffers.
          yield* atRest(() => accepted[0]!.bytesWritten)
          assert.strictEqual(sha256(yield* all(socket)), sha256(bytes))
          socket.end()
          for (const events of [exposed, forwarded]) {
            assert.strictEqual((yield* next<Expose.Event | Forward.Event>(events))._tag, "Opened")
            const closed = yield* next<Expose.Event | Forward.Event>(events)
            assert(closed._tag === "Closed")
            assert.isUndefined(closed.because)
          }
        })
      )
  )

  live("50 connections at once, each its own", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { endpoint: at } = yield* service(echoing)
        const { endpoint } = yield* tunnel({ bind: String(relay), service: at })
        yield* Effect.forEach(Array.from({ length: 50 }), () =>
          Effect.gen(function*() {
            const bytes = randomBytes(100_000)
            const socket = yield* connect(endpoint)
            socket.end(bytes)
            assert.strictEqual(sha256(yield* all(socket)), sha256(bytes))
          }), { concurrency: "unbounded" })
      })
    ))

  live("either end may end first, and still gets the answer", () =>
    Effect.gen(function*() {
      const answering = yield* service((socket) => {
        socket.once("data", () => {}).once("end", () => socket.end("answer"))
      })
      const ending = yield* service((socket) => {
        socket.end("first")
        socket.once("data", (bytes) => socket.emit("heard", bytes.toString()))
      })
      const first = yield* tunnel({ bind: direct, service: answering.endpoint })
      const asking = yield* connect(first.endpoint)
      asking.end("question")
      assert.strictEqual((yield* all(asking)).toString(), "answer")

      const second = yield* tunnel({ bind: direct, service: ending.endpoint })
      const listening = yield* connect(second.endpoint)
      assert.strictEqual((yield* all(listening)).toString(), "first")
      const heard = Effect.async<string>((resume) =>
        void ending.accepted[0]!.once("heard", (text) => resume(Effect.succeed(text)))
      )
      yield* Effect.zip(heard, Effect.sync(() => listening.end("still")), { concurrent: true }).pipe(
        Effect.map(([text]) => assert.strictEqual(text, "still"))
      )
    }))

  live("a reset at either end is one at the other", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { accepted, endpoint: at } = yield* service((socket) => void socket.write("hello"))
        const { endpoint, exposed, forwarded } = yield* tunnel({ bind: String(relay), service: at })
        const opened = Effect.gen(function*() {
          const socket = yield* connect(endpoint)
          yield* Effect.async<void>((resume) => void socket.once("data", () => resume(Effect.void)))
          yield* next(exposed)
          yield* next(forwarded)
          return socket
        })

        const near = yield* opened
        accepted[0]!.resetAndDestroy()
        assert.strictEqual((yield* Effect.flip(all(near))).code, "ECONNRESET")
        const atService = yield* next(exposed)
        assert(atService._tag === "Closed" && atService.because?._tag === "Lost")
        assert.strictEqual(atService.because.side, "local")
        const because = yield* next(forwarded)
        assert(because._tag === "Closed" && because.because?._tag === "Lost")
        assert.strictEqual(because.because.side, "peer")

        const again = yield* opened
        const ended = yield* Effect.fork(Effect.flip(all(accepted[1]!)))
        again.resetAndDestroy()
        assert.strictEqual((yield* ended).code, "ECONNRESET")
      })
    ))

  live(
    "who does not read holds the sender back, at either end, and gets all in the end",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const big = randomBytes(64 * 1024 * 1024)
          const { accepted, endpoint: at } = yield* service((socket) => void socket.pause())
          const { endpoint } = yield* tunnel({ bind: String(relay), service: at })
          const socket = yield* connect(endpoint)
          socket.pause()
          socket.end(big)
          // What is in sockets and buffers on the way, of 64 MiB.
          yield* eventually(() => accepted.length === 1)
          assert.isBelow(yield* atRest(() => socket.bytesWritten - socket.writableLength), 32 * 1024 * 1024)
          const far = accepted[0]!
          assert.strictEqual(sha256(yield* all(far)), sha256(big))
          far.end(big)
          assert.isBelow(yield* atRest(() => far.bytesWritten - far.writableLength), 32 * 1024 * 1024)
          assert.strictEqual(sha256(yield* all(socket)), sha256(big))
        })
      )
  )

  live(
    "a peer that is not allowed is told so, is reset, and the service never sees it",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const { accepted, endpoint: at } = yield* service(echoing)
          const { endpoint, exposed, exposing, forwarded } = yield* tunnel({
            bind: String(relay),
            service: at,
            allows: (peer) => Effect.succeed(peer === alice.digest)
          })
          const socket = yield* connect(endpoint)
          socket.write(payload)
          assert.strictEqual((yield* Effect.flip(all(socket))).code, "ECONNRESET")
          assert.deepStrictEqual(yield* next(exposed), { _tag: "Refused", peer: bob.digest } as Expose.Event)
          yield* next(forwarded)
          const closed = yield* next(forwarded)
          assert(closed._tag === "Closed" && closed.because?._tag === "Refused")
          assert.include(closed.because.message, `does not allow ${bob.digest}, which is you, to connect`)
          assert.deepStrictEqual(accepted, [])

          // Somebody else's end sees a line of text.
          const stranger = yield* Effect.flatMap(
            Tx3Node.make({}),
            (node) =>
              Effect.map(node.connect(addressOf(exposing)), (connection) => ({ connection, digest: node.digest }))
          )
          yield* stranger.connection.end
          assert.strictEqual(
            (yield* received(stranger.connection)).toString(),
            `tx3: refused ${stranger.digest}: it is not allowed to connect here\n`
          )
          assert.deepStrictEqual(accepted, [])
        })
      )
  )

  live("a service that is not there is told to the peer", () =>
    Effect.gen(function*() {
      const { endpoint, exposed, forwarded } = yield* tunnel({
        bind: direct,
        service: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 1 })
      })
      const socket = yield* connect(endpoint)
      assert.strictEqual((yield* Effect.flip(all(socket))).code, "ECONNRESET")
      const unavailable = yield* next(exposed)
      assert(unavailable._tag === "Unavailable")
      assert.strictEqual(unavailable.because.message, "cannot connect to 127.0.0.1:1: nothing listens there")
      yield* next(forwarded)
      const closed = yield* next(forwarded)
      assert(closed._tag === "Closed" && closed.because?._tag === "Refused")
      assert.include(closed.because.message, "the service behind it does not answer")
    }))

  live("text that only begins like a refusal comes through, whole and in pieces", () =>
    Effect.gen(function*() {
      const line = `tx3: refused ${bob.digest}: it is not allowed to connect here\n`
      const texts = [line.slice(0, 20), `${line}and more`, "tx3", line.replace(bob.digest, alice.digest)]
      for (const text of texts) {
        const { endpoint: at } = yield* service((socket) => {
          const bytes = Array.from(Buffer.from(text))
          const sendOne = () => {
            const byte = bytes.shift()
            if (byte === undefined) {
              socket.end()
            } else {
              socket.write(Buffer.of(byte), () => setImmediate(sendOne))
            }
          }
          socket.setNoDelay(true)
          sendOne()
        })
        const { endpoint } = yield* tunnel({ bind: direct, service: at })
        const socket = yield* connect(endpoint)
        socket.end()
        assert.strictEqual((yield* all(socket)).toString(), text)
      }
    }))

  live(
    "a node that is not there yet is waited for; one that does not come is a reset",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const { endpoint: at } = yield* service(echoing)
          const forwarding = yield* Tx3Node.make({ identity: bob })
          const forwarded = yield* Mailbox.make<Forward.Event>()
          const listen = Forward.listen({
            node: forwarding,
            destination: relay.withDigest(alice.digest),
            endpoint: anyPort,
            onEvent: (event) => Effect.asVoid(forwarded.offer(event))
          })
          const socket = yield* connect(yield* listen)
          socket.end("early")
          const waiting = yield* next(forwarded)
          assert(waiting._tag === "Waiting" && waiting.because._tag === "PeerUnavailable")
          const node = yield* Tx3Node.make({ bind: [relay], identity: alice, requireRegistration: true })
          yield* Effect.forkScoped(Expose.serve({ node, service: at }))
          assert.strictEqual((yield* all(socket)).toString(), "early")
          assert.strictEqual((yield* next(forwarded))._tag, "Opened")
          assert.strictEqual((yield* next(forwarded))._tag, "Closed")

          const impatient = yield* Forward.listen({
            node: forwarding,
            destination: relay.withDigest(bob.digest),
            endpoint: anyPort,
            patienceMs: 0,
            onEvent: (event) => Effect.asVoid(forwarded.offer(event))
          })
          const reset = yield* connect(impatient)
          assert.strictEqual((yield* Effect.flip(all(reset))).code, "ECONNRESET")
          assert.strictEqual((yield* next(forwarded))._tag, "Waiting")
          assert.strictEqual((yield* next(forwarded))._tag, "Failed")
        })
      )
  )

  live(
    "a local connection that is reset while it waits is let go of; 64 wait, and others are told at once",
    () =>
      Effect.gen(function*() {
        const node = yield* Tx3Node.make({ identity: bob })
        const events: Array<Forward.Event["_tag"]> = []
        const endpoint = yield* Forward.listen({
          node,
          destination: `tx3-st://127.0.0.1:1/${alice.digest}`,
          endpoint: anyPort,
          onEvent: (event) => Effect.sync(() => void events.push(event._tag))
        })
        const count = (tag: Forward.Event["_tag"]) => events.filter((event) => event === tag).length
        const sockets = yield* Effect.forEach(Array.from({ length: 65 }), () => connect(endpoint))
        yield* eventually(() => count("Waiting") === 64 && count("Failed") === 1)
        sockets.forEach((socket) => socket.resetAndDestroy())
        const again = yield* Effect.forEach(Array.from({ length: 64 }), () => connect(endpoint))
        yield* eventually(() => count("Waiting") === 128)
        again.forEach((socket) => socket.resetAndDestroy())
      })
  )

  live("interrupted, both ends close all they have", () =>
    Effect.gen(function*() {
      const { accepted, endpoint: at } = yield* service((socket) => {
        socket.resume().once("end", () => socket.end()).write("hello")
      })
      const socket = yield* Effect.scoped(Effect.gen(function*() {
        const { endpoint } = yield* tunnel({ bind: direct, service: at })
        const socket = net.connect({ host: "127.0.0.1", port: (endpoint as { readonly port: number }).port })
        socket.on("error", () => {})
        yield* Effect.async<void>((resume) => void socket.once("data", () => resume(Effect.void)))
        return socket
      }))
      yield* eventually(() => socket.closed && accepted[0]!.closed)
    }))
})

describe("LocalEndpoint", () => {
  live("reads and writes HOST:PORT and unix:PATH, and nothing else", () =>
    Effect.sync(() => {
      for (const text of ["127.0.0.1:22", "[::1]:8080", "localhost:0", "my-host.example:65535", "unix:/run/x.sock"]) {
        assert.strictEqual(LocalEndpoint.format(Either.getOrThrow(LocalEndpoint.parse(text))), text)
      }
      for (
        const text of ["99999", "127.0.0.1", ":22", "::1:22", "[1.2.3.4]:22", "h:65536", "unix:", "h:-1", "h:1:2", ""]
      ) {
        const error = Either.getOrThrow(Either.flip(LocalEndpoint.parse(text)))
        assert.include(error.message, "write HOST:PORT")
      }
      assert.strictEqual(LocalEndpoint.format(Either.getOrThrow(LocalEndpoint.parse("22"))), "127.0.0.1:22")
    }))

  live("refuses a path that no socket can have, on Windows each but a named pipe's", () =>
    Effect.sync(() => {
      const problemOf = (text: string, platform: NodeJS.Platform) =>
        Either.getOrThrow(Either.flip(LocalEndpoint.parse(text, platform))).message
      assert.include(
        problemOf("unix:C:\\x.sock", "win32"),
        "cannot use unix:C:\\x.sock: Windows has no unix sockets; use a port of 127.0.0.1, or a named pipe"
      )
      assert.include(problemOf(`unix:/${"x".repeat(107)}`, "linux"), "longer than the")
      const pipe = LocalEndpoint.parse("unix:\\\\.\\pipe\\x", "win32")
      assert.deepStrictEqual({ ...Either.getOrThrow(pipe) }, { _tag: "Unix", path: "\\\\.\\pipe\\x" })
    }))

  live("a name listens at all its addresses at one port, localhost in both families", () =>
    Effect.gen(function*() {
      const sockets: Array<net.Socket> = []
      const endpoint = yield* LocalEndpoint.listen(LocalEndpoint.Tcp({ host: "localhost", port: 0 }), (socket) => {
        sockets.push(socket)
        socket.destroy()
      })
      assert(endpoint._tag === "Tcp" && endpoint.host === "localhost")
      for (const host of ["127.0.0.1", "::1"]) {
        yield* LocalEndpoint.connect(LocalEndpoint.Tcp({ host, port: endpoint.port }), 60_000)
      }
      yield* eventually(() => sockets.length === 2)
      // Taken in one family is taken.
      const { port } = yield* Effect.flatMap(
        LocalEndpoint.listen(LocalEndpoint.Tcp({ host: "::1", port: 0 }), () => {}),
        (endpoint) => endpoint._tag === "Tcp" ? Effect.succeed(endpoint) : Effect.die(endpoint)
      )
      const error = yield* Effect.flip(LocalEndpoint.listen(LocalEndpoint.Tcp({ host: "localhost", port }), () => {}))
      assert.include(error.message, `cannot listen at [::1]:${port}: another program listens there`)
      // And nothing of it is left in the other.
      yield* LocalEndpoint.listen(LocalEndpoint.Tcp({ host: "127.0.0.1", port }), () => {})
    }))

  live(
    "an address that this machine does not have is left out of a name's, as long as one is left",
    () =>
      Effect.gen(function*() {
        const listen = LocalEndpoint.listen(LocalEndpoint.Tcp({ host: "name.test", port: 0 }), () => {})
        const named = (...addresses: ReadonlyArray<string>) =>
          Effect.provideService(
            listen,
            Lookup,
            () => Effect.succeed(addresses.map((address) => ({ address, family: net.isIP(address) })))
          )
        assert.strictEqual((yield* named("192.0.2.1", "127.0.0.1"))._tag, "Tcp")
        assert.strictEqual(
          (yield* Effect.flip(named("192.0.2.1"))).message,
          "cannot listen at 192.0.2.1:0: this machine has no such address"
        )
      })
  )

  live("a port that is taken, and one where nothing listens, are errors that say so", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* service(() => {})
      const taken = yield* Effect.flip(Effect.scoped(LocalEndpoint.listen(endpoint, () => {})))
      assert.include(taken.message, `cannot listen at ${LocalEndpoint.format(endpoint)}: another program listens there`)
      const folder = yield* withFolder
      const long = LocalEndpoint.Unix({ path: join(folder, "x".repeat(108)) })
      const opening = [Effect.asVoid(LocalEndpoint.listen(long, () => {})), LocalEndpoint.connect(long, 1_000)]
      for (const open of opening) {
        assert.include(
          (yield* Effect.flip(Effect.scoped<unknown, LocalEndpoint.LocalError, Scope.Scope>(open))).message,
          "longer than the 107 bytes"
        )
      }
      assert.deepStrictEqual(readdirSync(folder), [])
      const missing = LocalEndpoint.Unix({ path: join(folder, "none") })
      const error = yield* Effect.flip(Effect.scoped(LocalEndpoint.connect(missing, 1_000)))
      assert.strictEqual(error.message, `cannot connect to unix:${missing.path}: there is no such file or folder`)
    }))
})
