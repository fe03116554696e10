import * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import { assert, describe } from "@effect/vitest"
import * as RemoteDigest from "@tx3/node/RemoteDigest"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Tx3Socket from "@tx3/node/Tx3Socket"
import * as Tx3SocketServer from "@tx3/node/Tx3SocketServer"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { addressOf, alice, atRest, bob, eventually, live, payload, sha256 } from "./utils/nodes.js"
import { withRelay } from "./utils/relays.js"

/** Alice serves this; and the address she is at. */
const serving = <E>(bind: string, handler: (socket: Socket.Socket) => Effect.Effect<unknown, E>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      Tx3SocketServer.layer({ bind: [bind], identity: alice, requireRegistration: true })
    )
    yield* Effect.forkScoped(Context.get(context, SocketServer.SocketServer).run(handler))
    return Context.get(context, Tx3Node.Tx3Node)
  })

const direct = "tx3-st://127.0.0.1:0"

const socketTo = (node: Tx3Node.Tx3Node["Type"]) =>
  Effect.map(Layer.build(Tx3Socket.layer(addressOf(node), { identity: bob })), Context.get(Socket.Socket))

const echo = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const write = yield* socket.writer
  yield* socket.run(write)
}, Effect.scoped)

/** All that comes, when the other end has ended. */
const collect = (socket: Socket.Socket, onOpen?: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const chunks: Array<Uint8Array> = []
    yield* socket.run((chunk) => void chunks.push(chunk), { onOpen })
    return Buffer.concat(chunks)
  })

describe("Tx3SocketServer and Tx3Socket", () => {
  live(
    "carry 8 MiB there and back through a relay, and the end of both sides",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const socket = yield* socketTo(yield* serving(String(relay), echo))
          const collecting = yield* Effect.fork(collect(socket))
          yield* Effect.scoped(Effect.flatMap(socket.writer, (write) => write(payload)))
          assert.strictEqual(sha256(yield* Fiber.join(collecting)), sha256(payload))
        })
      )
  )

  live("a handler learns the digest of whom it serves, and nobody's elsewhere", () =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<Option.Option<string>>()
      const node = yield* serving(direct, () =>
        Effect.flatMap(RemoteDigest.RemoteDigest, (digest) => Deferred.succeed(seen, digest)))
      yield* (yield* socketTo(node)).run(() => {})
      assert.strictEqual(Option.getOrNull(yield* Deferred.await(seen)), bob.digest)
      assert.isTrue(Option.isNone(yield* RemoteDigest.RemoteDigest))
    }))

  live(
    "a handler that does not keep up holds the sender back, through a relay, and loses nothing",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const goOn = yield* Deferred.make<void>()
          const received: Array<Uint8Array> = []
          let begun = 0
          const done = yield* Deferred.make<void>()
          const node = yield* serving(String(relay), (socket) =>
            Effect.zipRight(
              socket.run((chunk) => {
                begun++
                received.push(chunk)
                return Deferred.await(goOn)
              }),
              Deferred.succeed(done, undefined)
            ))
          const socket = yield* socketTo(node)
          const running = yield* Effect.fork(socket.run(() => {}))
          let written = 0
          const piece = Buffer.alloc(1024 * 1024, "x")
          const writing = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
            const write = yield* socket.writer
            for (let index = 0; index < 128; index++) {
              yield* write(piece)
              written++
            }
          })))
          // What fits into the buffers of three hops, and not 128 MiB.
          yield* eventually(() => begun === 64)
          assert.isBelow(yield* atRest(() => written), 64)
          assert.strictEqual(begun, 64)
          yield* Deferred.succeed(goOn, undefined)
          yield* Fiber.join(writing)
          yield* Deferred.await(done)
          assert.strictEqual(received.reduce((sum, { length }) => sum + length, 0), 128 * piece.length)
          yield* Fiber.join(running)
        })
      )
  )

  live("handlers begin in the order of their chunks", () =>
    Effect.gen(function*() {
      const chunks: Array<Uint8Array> = []
      const ended = yield* Deferred.make<void>()
      const node = yield* serving(direct, (socket) =>
        Effect.zipRight(
          socket.run((chunk) => Effect.zipRight(Effect.sync(() => chunks.push(chunk)), Effect.yieldNow())),
          Deferred.succeed(ended, undefined)
        ))
      const socket = yield* socketTo(node)
      yield* Effect.fork(socket.run(() => {}))
      yield* Effect.scoped(Effect.flatMap(socket.writer, (write) => write(payload)))
      yield* Deferred.await(ended)
      assert.strictEqual(sha256(Buffer.concat(chunks)), sha256(payload))
    }))

  live(
    "a handler that fails ends its connection and no other; a reset is nobody's failure",
    () =>
      Effect.gen(function*() {
        let served = 0
        const node = yield* serving(direct, (socket) => ++served === 1 ? Effect.fail<unknown>("no") : echo(socket))
        assert.deepInclude(yield* Effect.flip(collect(yield* socketTo(node))), { reason: "Read" })
        const socket = yield* socketTo(node)
        const first = yield* Deferred.make<string>()
        const running = yield* Effect.fork(
          socket.run((chunk) => Deferred.succeed(first, Buffer.from(chunk).toString()))
        )
        const write = yield* socket.writer
        yield* write("text")
        assert.strictEqual(yield* Deferred.await(first), "text")
        yield* write(new Socket.CloseEvent())
        const error = yield* Effect.flip(Fiber.join(running))
        assert.deepInclude(error, { reason: "Close", code: 1000 })
      })
  )

  live("a run that cannot connect says why, and can be run again", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const node = yield* Scope.extend(serving(direct, echo), scope)
      const socket = yield* socketTo(node)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(socket.run(() => {}))
      assert.deepInclude(error, { reason: "Open" })
      assert.deepInclude((error as Socket.SocketGenericError).cause, { _tag: "DialError" })

      yield* serving(`tx3-st://127.0.0.1:${addressOf(node).port}`, echo)
      for (const text of ["once", "twice"]) {
        const collecting = yield* Effect.fork(collect(socket))
        yield* Effect.scoped(Effect.flatMap(socket.writer, (write) => write(text)))
        assert.strictEqual((yield* Fiber.join(collecting)).toString(), text)
      }
    }))

  live(
    "a writer that waits while a run ends as it opens does not die, and writes to the next",
    () =>
      Effect.gen(function*() {
        const socket = yield* socketTo(yield* serving(direct, echo))
        const write = yield* socket.writer
        const waiting = yield* Effect.fork(write("early"))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(socket.run(() => {}, { onOpen: Effect.die("no") }))))
        const late = yield* Deferred.make<void>()
        let text = ""
        const running = yield* Effect.fork(socket.run((chunk) => {
          text += Buffer.from(chunk)
          return text.endsWith("late") ? Deferred.succeed(late, undefined) : undefined
        }))
        yield* write("late")
        yield* Deferred.await(late)
        const exit = yield* Fiber.await(waiting)
        assert.isFalse(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        yield* Fiber.interrupt(running)
      })
  )

  live("a handler's failure is the run's, and ends it", () =>
    Effect.gen(function*() {
      const node = yield* serving(direct, echo)
      const socket = yield* socketTo(node)
      const running = yield* Effect.fork(socket.run(() => Effect.fail("enough")))
      yield* (yield* socket.writer)("x")
      assert.strictEqual(yield* Effect.flip(Fiber.join(running)), "enough")
    }))

  live("the server's layer says why it could not be made", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Tx3SocketServer.layer({ bind: ["tx3-st://"] }))))
      assert.deepInclude(error, { reason: "Open" })
      assert.deepInclude(error.cause, { _tag: "AddressError" })
    }))
})
