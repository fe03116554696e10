/**
 * A connection that is cut off never looks like one that has ended: every way to cut it, in every interface, towards a reader
 * with unread bytes, which has ended its own side or not.
 */
import { HttpClient, HttpServer, HttpServerRequest, HttpServerResponse, Socket } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import * as NodeConfig from "@tx3/node/NodeConfig"
import type { ConnectionError } from "@tx3/node/NodeError"
import type * as Tx3Connection from "@tx3/node/Tx3Connection"
import * as Tx3HttpClient from "@tx3/node/Tx3HttpClient"
import * as Tx3HttpServer from "@tx3/node/Tx3HttpServer"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as Identity from "@tx3/protocol/Identity"
import * as Expose from "@tx3/reach/Expose"
import * as Forward from "@tx3/reach/Forward"
import * as LocalEndpoint from "@tx3/reach/LocalEndpoint"
import * as Relay from "@tx3/relay/Relay"
import * as RelayTest from "@tx3/relay/RelayTest"
import * as Reset from "@tx3/sockets/Reset"
import { sendUrgentAndEnd } from "@tx3/testing/libc"
import { localServer, portOf } from "@tx3/testing/localServer"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Context, Deferred, Effect, Either, Exit, Fiber, Layer, Option, Queue, Redacted, Scope, Stream } from "effect"
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import type * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  addressOf,
  alice,
  atRest,
  bob,
  eventually,
  live,
  pair,
  payload,
  rawBob,
  received,
  taken
} from "./utils/nodes.js"

const bytes = payload.subarray(0, 300_000)

/** How a reader sees a connection end: `end`, or the reason why it did not. */
type Seen = string

const reason = (error: unknown): Seen => (error as ConnectionError).reason ?? String(error)

const readers: Record<string, (connection: Tx3Connection.Tx3Connection) => Effect.Effect<Seen>> = {
  readable: ({ readable }) => Effect.match(Stream.runDrain(readable), { onFailure: reason, onSuccess: () => "end" }),
  socket: ({ socket }) =>
    Effect.match(socket.run(() => {}), {
      onFailure: (error) => reason(error.reason === "Read" ? error.cause : error),
      onSuccess: () => "end"
    }),
  "duplex, iterated": ({ duplex }) =>
    Effect.promise(async () => {
      try {
        for await (const _ of duplex) { /* only the end matters */ }
        return "end"
      } catch (error) {
        return reason(error)
      }
    }),
  "duplex, by events": ({ duplex }) =>
    Effect.async((resume) => {
      const done = (seen: Seen) => resume(Effect.succeed(seen))
      if (duplex.errored !== null) {
        // Nothing was listening when it failed.
        return done(reason(duplex.errored))
      }
      duplex.once("end", () => done("end")).once("error", (error) => done(reason(error))).resume()
    })
}

interface Cut {
  readonly relay: Relay.Relay["Type"]
  readonly stopRelay: Effect.Effect<void>
  readonly far: Tx3Connection.Tx3Connection
  readonly stopFar: Effect.Effect<void>
}

const cuts: Record<string, (cut: Cut) => Effect.Effect<unknown>> = {
  "the other end resets": ({ far }) => far.reset,
  "the other end destroys its stream": ({ far }) => Effect.sync(() => far.duplex.destroy()),
  "the other end's node closes": ({ stopFar }) => stopFar,
  "the operator kicks the splice": ({ relay }) => Effect.forEach(Array.from(relay.splices()), ({ reset }) => reset),
  "the relay stops": ({ stopRelay }) => stopRelay,
  // Nothing is said any more, and the relay's timers are up.
  "the splice is silent": () => Effect.void
}

const isCutOff = (seen: Seen) => seen === "lost" || seen === "truncated"

interface Running {
  readonly relay: Relay.Relay["Type"]
  readonly stopRelay: Effect.Effect<void>
}

/**
 * Does it again when it fails because the splice was silent before everything was sent, as it is on a machine that is busy. What
 * was seen of the end is not done again.
 */
const untilSent = <A, E, R>(how: string, effect: Effect.Effect<A, E, R>) =>
  how === "the splice is silent" ? Effect.retry(effect, { times: 20 }) : effect

/** A relay whose splices are silent for a short or a long time before it ends them. */
const running = (silenceMs: number): Effect.Effect<Running, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
    const layer = RelayTest.layer({
      maxShareOfNode: 1,
      drainTimeoutMs: 50,
      idleTimeoutMs: silenceMs,
      lingerTimeoutMs: silenceMs
    })
    const relay = Context.get(yield* Scope.extend(Layer.build(layer), scope), Relay.Relay)
    return { relay, stopRelay: Scope.close(scope, Exit.void) }
  })

/** Alice behind a relay, in a scope that the test can close. */
const behind = ({ relay, stopRelay }: Running) =>
  Effect.gen(function*() {
    const farScope = yield* Scope.make()
    yield* Effect.addFinalizer((exit) => Scope.close(farScope, exit))
    const node = yield* Scope.extend(
      Tx3Node.make({ bind: [relay.addresses[0] as AddressWithDigest], identity: alice, requireRegistration: true }),
      farScope
    )
    return { address: addressOf(node), node, relay, stopFar: Scope.close(farScope, Exit.void), stopRelay }
  })

describe("a connection that is cut off", { timeout: 180_000 }, () => {
  for (const [how, cut] of Object.entries(cuts)) {
    const silenceMs = how === "the splice is silent" ? 200 : 60_000
    const endsRelay = how === "the relay stops"

    live(`${how}: no reader takes it for the end, half-closed or open`, () =>
      Effect.gen(function*() {
        const before = endsRelay ? undefined : yield* running(silenceMs)
        for (const [name, read] of Object.entries(readers)) {
          for (const halfClosed of [true, false]) {
            const once = Effect.scoped(Effect.gen(function*() {
              const { address, node, ...rest } = yield* behind(before ?? (yield* running(silenceMs)))
              const near = yield* Effect.flatMap(Tx3Node.make({ identity: bob }), ({ connect }) => connect(address))
              const far = yield* taken(node)
              if (halfClosed) {
                yield* near.end
              }
              yield* far.write(bytes)
              yield* atRest(() => near.duplex.readableLength)
              yield* cut({ far, ...rest })
              yield* eventually(() => Array.from(rest.relay.splices()).length === 0)
              const seen = yield* read(near)
              assert.isTrue(isCutOff(seen), `${name}, ${halfClosed ? "half-closed" : "open"}: ${seen}`)
            }))
            yield* untilSent(how, once)
          }
        }
      }))

    live(`${how}: a local program of forward finds a reset`, () =>
      Effect.gen(function*() {
        const before = endsRelay ? undefined : yield* running(silenceMs)
        for (const halfClosed of [true, false]) {
          yield* Effect.scoped(Effect.gen(function*() {
            const { address, node, ...rest } = yield* behind(before ?? (yield* running(silenceMs)))
            const endpoint = yield* Forward.listen({
              node: yield* Tx3Node.make({ identity: bob }),
              destination: address,
              endpoint: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 0 })
            })
            const local = yield* LocalEndpoint.connect(endpoint, 5_000)
            const far = yield* taken(node)
            if (halfClosed) {
              local.end()
            }
            yield* far.write(bytes)
            yield* cut({ far, ...rest })
            yield* eventually(() => Array.from(rest.relay.splices()).length === 0)
            assert.strictEqual(yield* outcome(local), "ECONNRESET")
          }))
        }
      }))
  }

  live(
    "all bytes come before the error, in every interface; NodeConfig.allowTruncated takes it for the end",
    () =>
      Effect.gen(function*() {
        for (const allowTruncated of [false, true]) {
          const node = yield* Effect.provide(
            Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice }),
            NodeConfig.layer({ allowTruncated })
          )
          for (const read of Object.values(readers)) {
            const raw = yield* rawBob(addressOf(node))
            const connection = yield* taken(node)
            let sent = false
            raw.tls.write(bytes, () => {
              sent = true
            })
            yield* eventually(() => sent)
            // A FIN without close_notify.
            raw.socket.end()
            yield* Effect.yieldNow()
            let count = 0
            const { push } = connection.duplex
            connection.duplex.push = (chunk: Buffer | null) => {
              count += chunk?.length ?? 0
              return push.call(connection.duplex, chunk)
            }
            count += connection.duplex.readableLength
            assert.strictEqual(yield* read(connection), allowTruncated ? "end" : "truncated")
            assert.strictEqual(count, bytes.length)
          }
        }
      })
  )

  live("a reset is never a clean end to a peer that has ended or is writing", () =>
    Effect.gen(function*() {
      const listening = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      const connecting = yield* Tx3Node.make({ identity: bob })
      const times = Number(process.env.TX3_TEST_RESETS ?? 20)
      for (let time = 0; time < times; time++) {
        for (const state of ["ended", "writing"]) {
          const near = yield* connecting.connect(addressOf(listening))
          const far = yield* taken(listening)
          if (state === "ended") {
            yield* near.end
          } else {
            near.duplex.write(payload)
          }
          yield* far.write(bytes)
          yield* far.reset
          const seen = yield* readers.readable!(near)
          assert.isTrue(isCutOff(seen), `${state}: ${seen}`)
          yield* near.reset
        }
      }
    }))

  live(
    "a program's reset behind its last bytes is passed on, also when expose has ended its side",
    () =>
      Effect.gen(function*() {
        const service = yield* serving((socket) => {
          // Not before the request has ended.
          socket.resume().once("end", () => socket.write(bytes, () => socket.resetAndDestroy()))
        })
        const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
        yield* Effect.forkScoped(Expose.serve({ node, service }))
        const { connect } = yield* Tx3Node.make({ identity: bob })
        for (let time = 0; time < 10; time++) {
          const near = yield* connect(addressOf(node))
          yield* near.write(Buffer.from("request"))
          yield* near.end
          yield* atRest(() => near.duplex.readableLength)
          const seen = yield* readers.readable!(near)
          assert.isTrue(isCutOff(seen), seen)
        }
      })
  )

  for (const stopped of ["expose", "forward"] as const) {
    live(`${stopped} that is interrupted resets both of its sides`, () =>
      Effect.gen(function*() {
        const accepted = yield* Deferred.make<net.Socket>()
        const service = yield* serving((socket) => {
          socket.write(bytes)
          Deferred.unsafeDone(accepted, Effect.succeed(socket))
        })
        const scopes = { expose: yield* Scope.make(), forward: yield* Scope.make() }
        yield* Effect.addFinalizer((exit) => Effect.forEach(Object.values(scopes), (scope) => Scope.close(scope, exit)))
        const node = yield* Effect.gen(function*() {
          const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
          yield* Effect.forkScoped(Expose.serve({ node, service }))
          return node
        }).pipe(Scope.extend(scopes.expose))
        const endpoint = yield* Effect.gen(function*() {
          const node2 = yield* Tx3Node.make({ identity: bob })
          return yield* Forward.listen({
            node: node2,
            destination: addressOf(node),
            endpoint: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 0 })
          })
        }).pipe(Scope.extend(scopes.forward))
        const local = yield* LocalEndpoint.connect(endpoint, 5_000)
        const served = yield* Deferred.await(accepted)
        yield* Effect.async<void>((resume) => void local.once("readable", () => resume(Effect.void)))
        yield* Scope.close(scopes[stopped], Exit.void)
        assert.strictEqual(yield* outcome(local), "ECONNRESET")
        assert.strictEqual(yield* outcome(served), "ECONNRESET")
      }))
  }
})

describe("a connection that is closed in order", { timeout: 180_000 }, () => {
  live("serve: a handler that succeeds has closed it, and all that it wrote arrives", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      yield* Effect.forkScoped(node.serve((connection) => connection.write(bytes)))
      const { connect } = yield* Tx3Node.make({ identity: bob })
      for (let time = 0; time < 10; time++) {
        const near = yield* connect(addressOf(node))
        // What the handler does not read must not take its answer back.
        near.duplex.write(bytes)
        assert.strictEqual((yield* received(near)).length, bytes.length)
        yield* near.end
      }
    }))

  live("serve: a handler that fails or is interrupted has reset it", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      let handled = 0
      const serving = yield* Effect.fork(
        node.serve((connection) =>
          Effect.zipRight(connection.write(bytes), handled++ === 0 ? Effect.fail("no") : Effect.never)
        )
      )
      const { connect } = yield* Tx3Node.make({ identity: bob })
      const failed = yield* connect(addressOf(node))
      assert.isTrue(isCutOff(yield* readers.readable!(failed)))
      const interrupted = yield* connect(addressOf(node))
      yield* Effect.orDie(Stream.runHead(interrupted.readable))
      yield* Fiber.interrupt(serving)
      assert.isTrue(isCutOff(yield* readers.readable!(interrupted)))
    }))

  live("connect: a scope that succeeds closes it in order, one that fails resets it", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      const { connect } = yield* Tx3Node.make({ identity: bob })
      for (const [result, expected] of [[Effect.void, "end"], [Effect.fail("no"), "cut off"]] as const) {
        yield* Effect.exit(Effect.scoped(
          Effect.flatMap(connect(addressOf(node)), (near) => Effect.zipRight(near.write(bytes), result))
        ))
        const seen = yield* readers.readable!(yield* taken(node))
        assert.strictEqual(isCutOff(seen) ? "cut off" : seen, expected)
      }
    }))

  live(
    "expose: bytes of a service behind urgent data arrive that come with its end, behind the peer's",
    () =>
      Effect.gen(function*() {
        const service = yield* serving((socket) => {
          socket.resume().once("end", () =>
            sendUrgentAndEnd(socket, bytes.subarray(0, 1_000), bytes.subarray(1_000, 20_000)))
        })
        const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
        const carried = yield* Deferred.make<number>()
        const onEvent = (event: Expose.Event) =>
          event._tag === "Closed" ? Deferred.succeed(carried, event.passage.carried().toPeer) : Effect.void
        yield* Effect.forkScoped(Expose.serve({ node, service, onEvent }))
        const { connect } = yield* Tx3Node.make({ identity: bob })
        const near = yield* connect(addressOf(node))
        yield* near.end
        // The urgent byte may be among them, or not (RFC 6093).
        const got = yield* received(near)
        const [behind, before] = [got.subarray(-19_000), got.subarray(0, 1_000)]
        assert.isTrue(Buffer.concat([before, behind]).equals(bytes.subarray(0, 20_000)), `${got.length} bytes`)
        assert.strictEqual(yield* Deferred.await(carried), got.length)
      })
  )

  live("a peer that takes nothing is given up, and one that does not end is closed", () =>
    Effect.gen(function*() {
      const silent = yield* pair
      silent.near.duplex.write(Buffer.alloc(32 * 1024 * 1024))
      const endless = yield* pair
      yield* Effect.all([silent.near.close, endless.near.close], { concurrency: "unbounded" })
      assert.isTrue(silent.near.duplex.destroyed)
      assert.isTrue(endless.near.duplex.writableFinished)
      assert.strictEqual(yield* readers.readable!(endless.far), "end")
      assert.isTrue(isCutOff(yield* readers.readable!(silent.far)))
      yield* eventually(() => endless.near.duplex.destroyed)
    }))
})

describe("HTTP", { timeout: 180_000 }, () => {
  live("a response without a length that is cut off fails, by a FIN and by a reset", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
      const context = yield* Layer.build(Tx3HttpClient.layer(String(addressOf(node))))
      for (const cut of ["fin", "reset", "end"] as const) {
        const reading = yield* Effect.fork(
          Effect.exit(Effect.flatMap(HttpClient.get("http://node/"), ({ text }) => text)).pipe(Effect.provide(context))
        )
        const connection = yield* taken(node)
        yield* Stream.runHead(connection.readable)
        yield* connection.write(Buffer.from("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\npart of it"))
        yield* cut === "end" ? connection.end : cut === "reset" ? connection.reset : Effect.sync(() => {
          connection.duplex.destroy()
        })
        assert.strictEqual(Exit.isSuccess(yield* Fiber.join(reading)), cut === "end")
      }
    }))

  live("a request that is cut off fails its handler", () =>
    Effect.gen(function*() {
      const handled = yield* Deferred.make<boolean>()
      const app = Effect.gen(function*() {
        const exit = yield* Effect.exit((yield* HttpServerRequest.HttpServerRequest).text)
        yield* Deferred.succeed(handled, Exit.isSuccess(exit))
        return HttpServerResponse.empty()
      })
      const context = yield* Layer.build(Tx3HttpServer.layer({ bind: ["tx3-st://127.0.0.1:0"], identity: alice }))
      const node = Context.get(context, Tx3Node.Tx3Node)
      yield* Effect.provide(HttpServer.serveEffect(app), context)
      const raw = yield* rawBob(addressOf(node))
      raw.tls.write("POST / HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", () =>
        raw.socket.end())
      assert.isFalse(yield* Deferred.await(handled))
    }))

  live(
    "a WebSocket that is cut off fails its client behind the last message, and a close frame ends it",
    () =>
      Effect.gen(function*() {
        const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
        const context = yield* Layer.build(Tx3HttpClient.layer(String(addressOf(node))))
        const frames = { message: [0x81, 2, 0x68, 0x69], close: [0x88, 2, 0x03, 0xe8] }
        for (const cut of ["fin", "reset", "end", "close frame"] as const) {
          const socket = yield* Effect.provide(Socket.makeWebSocket("ws://node/"), context)
          const messages: Array<string> = []
          const running = yield* Effect.fork(Effect.either(socket.runRaw((text) => void messages.push(String(text)))))
          const connection = yield* taken(node)
          const request = String(Option.getOrThrow(yield* Stream.runHead(connection.readable)))
          const key = /^sec-websocket-key: (.*)\r$/mi.exec(request)![1]!
          const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")
          yield* connection.write(Buffer.from(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
              `sec-websocket-accept: ${accept}\r\n\r\n`
          ))
          yield* connection.write(Uint8Array.from(frames.message))
          yield* eventually(() => messages.length === 1)
          switch (cut) {
            case "fin":
              connection.duplex.destroy()
              break
            case "reset":
              yield* connection.reset
              break
            case "end":
              yield* connection.end
              break
            case "close frame":
              yield* connection.write(Uint8Array.from(frames.close))
              yield* connection.end
          }
          const ended = yield* Fiber.join(running)
          assert.strictEqual(
            Either.isRight(ended) ? "end" : ended.left.reason,
            cut === "close frame" ? "end" : "Read",
            cut
          )
          assert.deepStrictEqual(messages, ["hi"])
        }
      })
  )

  live("a WebSocket that is cut off interrupts its handler", () =>
    Effect.gen(function*() {
      const handled = yield* Queue.unbounded<Exit.Exit<unknown, unknown>>()
      const app = Effect.gen(function*() {
        const socket = yield* (yield* HttpServerRequest.HttpServerRequest).upgrade
        yield* Effect.onExit(socket.runRaw(() => {}), (exit) => handled.offer(exit))
        return HttpServerResponse.empty()
      }).pipe(Effect.orDie)
      const context = yield* Layer.build(Tx3HttpServer.layer({ bind: ["tx3-st://127.0.0.1:0"], identity: alice }))
      const node = Context.get(context, Tx3Node.Tx3Node)
      yield* Effect.provide(HttpServer.serveEffect(app), context)
      for (const cut of ["fin", "reset"] as const) {
        const raw = yield* rawBob(addressOf(node))
        raw.tls.write(
          "GET / HTTP/1.1\r\nhost: node\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
            "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        yield* Effect.async<void>((resume) => void raw.tls.once("data", () => resume(Effect.void)))
        if (cut === "fin") {
          raw.socket.end()
        } else {
          raw.socket.resetAndDestroy()
        }
        const exit = yield* handled.take
        assert.isTrue(Exit.isFailure(exit), cut)
      }
    }))
})

withPrograms(["openssl"], () => {
  describe("another TLS stack, openssl s_client", { timeout: 180_000 }, () => {
    live(
      "ends with close_notify when its input has ended, and without one when it is killed",
      () =>
        Effect.gen(function*() {
          const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-node-"))),
            (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
          )
          const file = join(folder, "identity.pem")
          writeFileSync(file, Redacted.value(Identity.toPem(bob)))
          for (const [ending, expected] of [["orderly", "end"], ["killed", "truncated"]] as const) {
            const client = yield* Effect.acquireRelease(
              Effect.sync(() =>
                spawn("openssl", [
                  ...["s_client", "-connect", `127.0.0.1:${addressOf(node).port}`, "-cert", file, "-key", file],
                  ...["-quiet", "-no_ign_eof"]
                ], { stdio: ["pipe", "ignore", "ignore"] })
              ),
              (client) => Effect.sync(() => client.kill("SIGKILL"))
            )
            client.stdin.on("error", () => {})
            client.stdin.write("hello\n")
            const connection = yield* taken(node)
            yield* Stream.runHead(connection.readable)
            if (ending === "orderly") {
              client.stdin.end()
            } else {
              client.kill("SIGKILL")
            }
            const seen = yield* readers.readable!(connection)
            assert.isTrue(seen === expected || (expected === "truncated" && seen === "lost"), seen)
          }
        })
    )
  })
})

/** How a local socket ends. libuv, and so Node, takes a reset right behind unread data for an end. */
const outcome = (socket: net.Socket) =>
  Effect.async<string>((resume) => {
    const done = (seen: string) => resume(Effect.succeed(seen))
    const closed = () => done((socket.errored as NodeJS.ErrnoException | null)?.code ?? "close")
    if (socket.closed) {
      return closed()
    }
    socket.once("end", () => done(Reset.behindEnd(socket).isReset ? "ECONNRESET" : "end")).once("close", closed)
      .resume()
  })

/** A service on a port of its own. */
const serving = (onConnection: (socket: net.Socket) => void) =>
  Effect.map(
    localServer(onConnection, { allowHalfOpen: true }),
    (server) => LocalEndpoint.Tcp({ host: "127.0.0.1", port: portOf(server) })
  )
