import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/files"
import { Duplex as duplex, type Tx3Connection, Tx3Node } from "@tx3/node"
import { Address, Handshake, Identity, Tls } from "@tx3/protocol"
import { Up, UpFile, UpLog, UpStatus } from "@tx3/reach"
import * as Reset from "@tx3/sockets/Reset"
import * as programs from "@tx3/testing/builtPrograms"
import { localServer, portOf } from "@tx3/testing/localServer"
import { Deferred, Effect, FiberSet, Logger, Option, type Scope } from "effect"
import * as dgram from "node:dgram"
import { once } from "node:events"
import { writeFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import { alice, rawBob } from "../../node/test/utils/nodes.js"
import { withRelay } from "../../node/test/utils/relays.js"
import { settableClock } from "../../relay/test/utils/settableClock.js"

const reporter: Up.Reporter = { tell: () => Effect.void, onNode: () => Effect.void, onEvent: () => Effect.void }

/** A server on a port of its own, half-open. */
const serving = (onConnection: (socket: net.Socket) => void) =>
  Effect.map(localServer(onConnection, { allowHalfOpen: true }), portOf)

/** How a socket ends. */
const outcome = (socket: net.Socket) =>
  new Promise<string>((resolve) => {
    socket.once("end", () => resolve(Reset.behindEnd(socket).isReset ? "reset" : "end"))
      .once("error", () => resolve("reset")).resume()
  })

const connectedTo = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => net.connect(port, "127.0.0.1").on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  )

const started = (file: string) =>
  Effect.flatMap(
    UpFile.read(file),
    (up) => Up.start(up, { version: "0.0.0", log: UpLog.make(), reporterOf: () => reporter })
  )

const portIn = (at: string) => Number(at.split(":").at(-1))

describe("Up", () => {
  it.scopedLive("the status tells ages by a clock that is not set", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { clock, setAhead } = yield* settableClock
        const folder = yield* programs.temporaryFolder
        const file = join(folder, "tx3.yml")
        const identity = yield* IdentityFile.create(join(folder, "id.pem"))
        const port = yield* serving((socket) => void socket.resume())
        writeFileSync(
          file,
          `{ relays: ['${relay}'], expose: { a: { service: '127.0.0.1:${port}', identity: id.pem } }, ` +
            `forward: { b: { to: ['${relay.withDigest(identity.digest)}'], listen: '127.0.0.1:0' } } }`
        )
        const up = yield* UpFile.read(file)
        const ages = Effect.map(UpStatus.ask(up.status), ({ services, since }) => {
          const now = clock.unsafeCurrentTimeMillis()
          return [
            since,
            ...services.flatMap(({ connections, registrations }) => [
              ...connections.map(({ since }) => since),
              ...registrations.flatMap(({ state }) => state.is === "live" ? [state.since] : [])
            ])
          ].map((since) => now - since)
        })
        const { places } = yield* Effect.withClock(started(file), clock)
        yield* connectedTo(portIn(places.find(({ name }) => name === "b")!.at))
        // The program, the registration, and the connection at both of its ends.
        yield* Effect.iterate(0, { while: (found) => found < 4, body: () => Effect.map(ages, ({ length }) => length) })
        for (const ahead of [-3_600_000, 3_600_000]) {
          setAhead(ahead)
          const found = yield* ages
          assert.strictEqual(found.length, 4)
          assert.isTrue(found.every((age) => age >= 0 && age < 3_000_000), `${found}`)
        }
      }).pipe(Effect.provide(NodeContext.layer))
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))

  it.scopedLive("runs a UDP service and a SOCKS5 proxy", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const file = join(folder, "tx3.yml")
        const [udp, lan] = yield* Effect.forEach(["udp.pem", "lan.pem"], (name) =>
          IdentityFile.create(join(folder, name)))
        const me = yield* IdentityFile.create(join(folder, "me.pem"))
        const socket = yield* Effect.acquireRelease(
          Effect.sync(() =>
            dgram.createSocket("udp4")
          ),
          (socket) => Effect.sync(() => socket.close())
        )
        socket.on("message", (datagram, { address, port }) => socket.send(`${datagram} back`, port, address))
        yield* Effect.async<void>((resume) => void socket.bind(0, "127.0.0.1", () => resume(Effect.void)))
        const web = yield* serving((socket) => void socket.pipe(socket))
        const to = (digest: typeof me.digest) => `['${relay.withDigest(digest)}']`
        writeFileSync(
          file,
          `{ relays: ['${relay}'], identity: me.pem, expose: { ` +
            `dns: { service: 'udp:127.0.0.1:${socket.address().port}', identity: udp.pem, allow: [${me.digest}] }, ` +
            `lan: { service: socks, to: ['127.0.0.1:${web}'], identity: lan.pem, allow: [${me.digest}] } }, forward: { ` +
            `dnsHere: { to: ${to(udp!.digest)}, listen: 'udp:127.0.0.1:0' }, ` +
            `lanHere: { to: ${to(lan!.digest)}, listen: '127.0.0.1:0' } } }`
        )
        const { places } = yield* started(file)
        const portOfPlace = (name: string) => portIn(places.find((place) => place.name === name)!.at)
        const client = yield* Effect.acquireRelease(
          Effect.sync(() => dgram.createSocket("udp4")),
          (client) => Effect.sync(() => client.close())
        )
        const answer = yield* Effect.async<string>((resume) => {
          client.once("message", (datagram) => resume(Effect.succeed(datagram.toString())))
          client.send("there and", portOfPlace("dnsHere"), "127.0.0.1")
        })
        assert.strictEqual(answer, "there and back")
        const socks = yield* connectedTo(portOfPlace("lanHere"))
        const reply = yield* Effect.async<Buffer>((resume) => {
          let came = Buffer.alloc(0)
          socks.on("data", (chunk) => {
            came = Buffer.concat([came, chunk])
            if (came.length === 16) {
              resume(Effect.succeed(came))
            }
          })
          socks.write(Buffer.from([5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, web >> 8, web & 0xff, ...Buffer.from("echo")]))
        })
        assert.strictEqual(reply.subarray(12).toString(), "echo")
        const { services } = yield* UpStatus.ask((yield* UpFile.read(file)).status)
        assert.deepStrictEqual(services.map(({ endpoint }) => endpoint.replace(/\d+$/, "")), [
          "udp:127.0.0.1:",
          "socks to 127.0.0.1:",
          "udp:127.0.0.1:",
          "127.0.0.1:"
        ])
      }).pipe(Effect.provide(NodeContext.layer))
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))

  for (const allowTruncated of [false, true]) {
    it.scopedLive(`allowTruncated ${allowTruncated} holds for what is exposed and what is forwarded`, () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const file = join(folder, "tx3.yml")
        yield* IdentityFile.create(join(folder, "id.pem"))
        const served = yield* Deferred.make<string>()
        const service = yield* serving((socket) => Deferred.unsafeDone(served, Effect.promise(() => outcome(socket))))
        // A peer that never sends close_notify.
        const run = yield* FiberSet.makeRuntime<Scope.Scope>()
        const peer = yield* serving((socket) =>
          void run(Effect.map(
            Handshake.accept(socket, Tls.secureContext(alice)),
            (secured) => secured.socket.write("some", () => socket.end())
          ))
        )
        writeFileSync(
          file,
          JSON.stringify({
            relays: ["tx3-st://127.0.0.1:0"],
            expose: { a: { service: `127.0.0.1:${service}`, identity: "id.pem", allowTruncated } },
            forward: {
              b: { to: [`tx3-st://127.0.0.1:${peer}/${alice.digest}`], listen: "127.0.0.1:0", allowTruncated }
            }
          })
        )
        const [exposed, forwarded] = (yield* started(file)).places as unknown as [{ at: string }, { at: string }]
        const expected = allowTruncated ? "end" : "reset"
        const stranger = yield* rawBob(yield* Address.parseWithDigest(exposed.at))
        stranger.tls.write("some", () => stranger.socket.end())
        assert.strictEqual(yield* Deferred.await(served), expected)
        const local = yield* connectedTo(portIn(forwarded.at))
        assert.strictEqual(yield* Effect.promise(() => outcome(local)), expected)
      }).pipe(Effect.provide([NodeContext.layer, Logger.remove(Logger.defaultLogger)])))
  }
  it.scopedLive("forwards to a name, and says which it does not know", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const [file, known] = [join(folder, "tx3.yml"), join(folder, "known")]
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      yield* Effect.forkScoped(node.serve((connection) => connection.write(Buffer.from("hello\n"))))
      writeFileSync(known, `${alice.digest} home ${node.addresses[0]}\n`)
      const text = (name: string) => `{ known: known, forward: { a: { to: [${name}], listen: '127.0.0.1:0' } } }`
      writeFileSync(file, text("house"))
      const error = yield* Effect.flip(Effect.scoped(started(file)))
      assert.strictEqual(
        error.message,
        `${file}: forward.a: "house" is no address and no name in ${known}; write tx3-rst://HOST:PORT/DIGEST, or make it a ` +
          "name: tx3 name add house ADDRESS"
      )
      writeFileSync(file, text("home"))
      const { places: [place] } = yield* started(file)
      const socket = yield* connectedTo(portIn(place!.at))
      const [bytes] = yield* Effect.promise(() => once(socket, "data") as Promise<[Buffer]>)
      assert.strictEqual(bytes.toString(), "hello\n")
    }).pipe(Effect.provide([NodeContext.layer, Logger.remove(Logger.defaultLogger)])))

  it.scopedLive("a file that is up already is not brought up again: the second takes nothing, and names the first", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const file = join(folder, "tx3.yml")
        yield* IdentityFile.create(join(folder, "id.pem"))
        writeFileSync(file, `{ relays: ['${relay}'], expose: { a: { service: '127.0.0.1:1', identity: id.pem } } }`)
        yield* started(file)
        const { status } = yield* UpFile.read(file)
        const isLive = Effect.map(
          UpStatus.ask(status),
          ({ services }) => services[0]!.registrations[0]!.state.is === "live"
        )
        yield* Effect.repeat(isLive, { until: (isLive) => isLive })
        const error = yield* Effect.flip(started(file))
        assert.strictEqual(
          error.message,
          `${file} is up already, in process ${process.pid}; tx3 status says what it does, and kill ${process.pid} ends it`
        )
        assert.isTrue(yield* isLive)
      }).pipe(Effect.provide(NodeContext.layer))
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))

  it.scopedLive("a reload keeps what has not changed, drops who is not allowed any longer, and is all or nothing", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const file = join(folder, "tx3.yml")
      yield* IdentityFile.create(join(folder, "id.pem"))
      const echo = yield* serving((socket) => void socket.pipe(socket))
      const [friend, stranger] = [yield* Identity.generate, yield* Identity.generate]
      const exposed = {
        a: {
          service: `127.0.0.1:${echo}`,
          identity: "id.pem",
          relays: ["tx3-st://127.0.0.1:0"],
          allow: [friend.digest]
        }
      }
      const write = (content: unknown) => Effect.sync(() => writeFileSync(file, JSON.stringify(content)))
      yield* write({ expose: { a: { ...exposed.a, allow: [friend.digest, stranger.digest] } } })
      const { places, reload } = yield* started(file)
      const address = places[0]!.at
      const connected = (identity: Identity.Identity) =>
        Effect.flatMap(Tx3Node.make({ identity }), (node) => node.connect(address))
      const answers = (connection: Tx3Connection.Tx3Connection) =>
        Effect.gen(function*() {
          yield* connection.write(Buffer.from("x"))
          assert.strictEqual((yield* duplex.read(connection.duplex, 1)).length, 1)
        })
      const friends = yield* connected(friend)
      const strangers = yield* connected(stranger)
      yield* answers(friends)
      yield* answers(strangers)

      const forward = (listen: string) => ({ b: { to: [address], listen } })
      yield* write({ expose: exposed, forward: forward("127.0.0.1:0") })
      assert.deepStrictEqual(yield* reload, {
        kept: ["expose.a"],
        started: ["forward.b"],
        stopped: [],
        needsRestart: []
      })
      assert.isTrue(Option.isSome(yield* Effect.flip(duplex.read(strangers.duplex, 1))))
      yield* answers(friends)

      const { status } = yield* UpFile.read(file)
      const endpoints = Effect.map(
        UpStatus.ask(status),
        ({ services }) => services.map(({ endpoint, name }) => `${name} ${endpoint.replace(/:\d+$/, "")}`)
      )
      writeFileSync(file, "expose: { a: { servce: x } }")
      assert.include((yield* Effect.flip(UpStatus.reload(status))).message, "expose.a.servce: there is no such setting")
      yield* write({ expose: exposed, forward: forward(`127.0.0.1:${echo}`) })
      const { message } = yield* Effect.flip(reload)
      assert.include(message, "forward.b: cannot listen at 127.0.0.1:")
      assert.deepStrictEqual(yield* endpoints, ["a 127.0.0.1", "b 127.0.0.1"])
      yield* answers(friends)

      yield* write({ expose: exposed, status: "other.sock" })
      assert.deepStrictEqual(yield* UpStatus.reload(status), {
        kept: ["expose.a"],
        started: [],
        stopped: ["forward.b"],
        needsRestart: ["status"]
      })
      assert.deepStrictEqual(yield* endpoints, ["a 127.0.0.1"])
      yield* answers(friends)
    }).pipe(Effect.provide([NodeContext.layer, Logger.remove(Logger.defaultLogger)])))
})
