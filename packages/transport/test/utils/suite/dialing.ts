/** Connections that the transport opens itself. */
import { Transport } from "@tx3/transport"
import type { Scope } from "effect"
import { Effect, Exit, Fiber, Queue, Scope as Scopes } from "effect"
import { spawn } from "node:child_process"
import * as Net from "node:net"
import { assert } from "vitest"
import { Client, payload } from "../client.js"
import type { Link } from "../fixtures.js"
import { arrived, echoes, hungUp, listening, mebibyte, sha256, sides, splice } from "../fixtures.js"
import { eventually, openSockets, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

interface Serving extends Transport.Bound {
  readonly clients: Queue.Dequeue<Client>
}

/** A server of Node's that the transport dials; it ends with the scope, and its connections with it. */
const serving = (onSocket: (socket: Net.Socket) => void = () => {}): Effect.Effect<Serving, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clients = yield* Queue.unbounded<Client>()
    const sockets: Array<Net.Socket> = []
    const server = yield* Effect.acquireRelease(
      Effect.async<Net.Server>((resume) => {
        const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
          sockets.push(socket)
          clients.unsafeOffer(new Client(socket, true))
          onSocket(socket)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          sockets.forEach((socket) => socket.destroy())
        })
    )
    return { host: "127.0.0.1", port: (server.address() as Net.AddressInfo).port, clients }
  })

const first = payload(32)

const dial = (to: Transport.Bound, timeoutMs = 60_000) =>
  Effect.flatMap(Transport.Transport, (transport) => transport.dial({ first, host: to.host, port: to.port, timeoutMs }))

/** A dialed connection and the socket at its other end, which has read the first bytes. */
const dialed = (server: Serving): Effect.Effect<Link, Transport.DialError, Transport.Transport | Scope.Scope> =>
  Effect.gen(function*() {
    const connection = yield* dial(server)
    const client = yield* Queue.take(server.clients)
    assert.isTrue((yield* client.read(32)).equals(first))
    return { client, connection }
  })

/** A port that takes no more connections: the program that listens does not accept, and its backlog is full. */
const silentPort = Effect.gen(function*() {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, ["-e", deaf], { stdio: ["ignore", "pipe", "inherit"] })),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  const port = yield* Effect.async<number>((resume) => {
    child.stdout.once("data", (line: Buffer) => resume(Effect.succeed(Number(line))))
  })
  const fillers: Array<Net.Socket> = []
  yield* Effect.addFinalizer(() => Effect.sync(() => fillers.forEach((socket) => socket.destroy())))
  let connected = 0
  for (let count = 0; count < 3; count++) {
    fillers.push(Net.connect(port, "127.0.0.1").on("connect", () => connected++).on("error", () => {}))
  }
  yield* eventually("a full backlog", () => connected >= 2)
  yield* Effect.sleep(20)
  return { host: "127.0.0.1", port }
})

const deaf = `
const server = require("node:net").createServer().listen({ backlog: 1, host: "127.0.0.1", port: 0 }, () => {
  require("node:fs").writeSync(1, server.address().port + "\\n")
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60000)
})`

export const dialTests: Subject = (test) => {
  test(
    "sends the first bytes and gives a connection without a preamble, which can become a Duplex",
    Effect.gen(function*() {
      const server = yield* serving()
      const { client, connection } = yield* dialed(server)
      assert.deepStrictEqual([connection.remoteAddress, connection.remotePort], [server.host, server.port])
      client.socket.write("early")
      yield* turns(20)
      assert.strictEqual((yield* connection.preamble).length, 0)
      const duplex = yield* connection.toDuplex
      const bytes = yield* Effect.async<Buffer>((resume) => {
        duplex.once("data", (bytes: Buffer) => resume(Effect.succeed(bytes))).resume()
      })
      assert.strictEqual(bytes.toString(), "early")
      duplex.end("there")
      assert.strictEqual((yield* client.readAll).bytes.toString(), "there")
    })
  )

  test(
    "fails where no program listens",
    Effect.gen(function*() {
      const { host, port } = yield* Effect.scoped(serving())
      const error = yield* Effect.flip(dial({ host, port }))
      assert.deepStrictEqual([error._tag, error.cause.code, error.port], ["DialError", "ECONNREFUSED", port])
    })
  )

  test(
    "fails where no route leads",
    Effect.gen(function*() {
      // TCP has no broadcasts.
      const error = yield* Effect.flip(dial({ host: "127.255.255.255", port: 38141 }))
      assert.strictEqual(error.cause.code, "ENETUNREACH")
    })
  )

  test(
    "fails for an address that is not numeric",
    Effect.gen(function*() {
      const error = yield* Effect.flip(dial({ host: "not.an.address.invalid", port: 1 }))
      assert.strictEqual(error._tag, "DialError")
    })
  )

  test(
    "fails at its deadline, and an interruption ends it before; neither leaves a socket",
    Effect.gen(function*() {
      const silent = yield* silentPort
      const before = openSockets()
      const error = yield* Effect.flip(dial(silent, 50))
      assert.strictEqual(error.cause.code, "ETIMEDOUT")
      yield* eventually("no socket of a late dial", () => openSockets() === before)
      const fiber = yield* Effect.fork(Effect.scoped(dial(silent)))
      yield* eventually("a socket that connects", () => openSockets() === before + 1)
      yield* Fiber.interrupt(fiber)
      yield* eventually("no socket of an interrupted dial", () => openSockets() === before)
    })
  )

  test(
    "interrupted at any time, it leaves no socket",
    Effect.gen(function*() {
      const server = yield* serving((socket) => void socket.on("end", () => socket.end()))
      const before = openSockets()
      for (let round = 0; round < 20; round++) {
        const fiber = yield* Effect.fork(Effect.scoped(Effect.zipRight(dial(server), Effect.never)))
        yield* turns(round)
        yield* Fiber.interrupt(fiber)
      }
      yield* eventually(`${before} open sockets`, () => openSockets() === before)
    })
  )

  test(
    "tells of a remote end that closes at once",
    Effect.gen(function*() {
      const server = yield* serving((socket) => void socket.end())
      const connection = yield* dial(server)
      yield* hungUp({ connection, client: yield* Queue.take(server.clients) })
      assert.strictEqual((yield* Effect.flip(connection.toDuplex))._tag, "HungUp")
    })
  )

  test(
    "calls the listener of a hang-up, once",
    Effect.gen(function*() {
      const { client, connection } = yield* dialed(yield* serving())
      let calls = 0
      connection.onHangUp(() => calls++)
      client.socket.write(payload(1_000))
      yield* turns(20)
      assert.strictEqual(calls, 0)
      client.reset()
      yield* eventually("the listener's call", () => calls > 0)
      yield* connection.close
      yield* turns(20)
      assert.strictEqual(calls, 1)
    })
  )

  test(
    "ends the connection with its scope",
    Effect.gen(function*() {
      const server = yield* serving()
      const scope = yield* Scopes.make()
      const { client } = yield* Scopes.extend(dialed(server), scope)
      yield* Scopes.close(scope, Exit.void)
      yield* client.readAll
    })
  )

  for (const dialedIs of ["left", "right"] as const) {
    const joined = Effect.gen(function*() {
      const accepted = yield* arrived(yield* listening(), { behind: Buffer.from("early") })
      const ours = yield* dialed(yield* serving())
      const pair = yield* dialedIs === "left" ? splice(ours, accepted) : splice(accepted, ours)
      assert.strictEqual((yield* ours.client.read(5)).toString(), "early")
      return { accepted, ours, pair }
    })

    test(
      `spliced as the ${dialedIs} side, carries bytes and half-closes both ways`,
      Effect.gen(function*() {
        const { accepted, ours, pair } = yield* joined
        yield* echoes(accepted, ours)
        const [request, response] = [payload(8 * mebibyte), payload(8 * mebibyte)]
        ours.client.socket.end(request)
        assert.strictEqual(sha256((yield* accepted.client.readAll).bytes), sha256(request))
        accepted.client.socket.end(response)
        assert.strictEqual(sha256((yield* ours.client.readAll).bytes), sha256(response))
        const [fromDialed, fromAccepted] = [request.length + 6, response.length + 5 + 6]
        assert.deepStrictEqual(yield* pair.report, {
          fromLeft: dialedIs === "left" ? fromDialed : fromAccepted,
          fromRight: dialedIs === "left" ? fromAccepted : fromDialed,
          outcome: "completed"
        })
      })
    )

    for (const reset of ["left", "right"] as const) {
      test(
        `spliced as the ${dialedIs} side, passes a reset of the ${reset} side on`,
        Effect.gen(function*() {
          const { pair } = yield* joined
          const [one, other] = sides(pair, reset)
          yield* echoes(one, other)
          one.client.reset()
          assert.strictEqual((yield* other.client.readAll).ending, "reset")
          assert.strictEqual((yield* pair.report).outcome, "reset")
        })
      )
    }
  }

  test(
    "a reset before the splice began resets the accepted side",
    Effect.gen(function*() {
      const accepted = yield* arrived(yield* listening())
      const ours = yield* dialed(yield* serving())
      ours.client.reset()
      yield* hungUp(ours)
      const { report } = yield* splice(accepted, ours)
      assert.strictEqual((yield* accepted.client.readAll).ending, "reset")
      assert.strictEqual((yield* report).outcome, "reset")
    })
  )

  test(
    "100 dials at once reach their servers, and give every descriptor back",
    Effect.gen(function*() {
      const server = yield* serving()
      const before = openSockets()
      yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => Effect.scoped(dial(server)),
        { concurrency: "unbounded", discard: true }
      )
      for (let count = 0; count < 100; count++) {
        const client = yield* Queue.take(server.clients)
        yield* client.readAll
        client.socket.destroy()
      }
      yield* eventually(`${before} open sockets`, () => openSockets() === before)
    })
  )
}
