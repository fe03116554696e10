import * as Socket from "@effect/platform/Socket"
import { assert, describe } from "@effect/vitest"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
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
  sendAll,
  sha256,
  taken
} from "./utils/nodes.js"

const piece = payload.subarray(0, 64 * 1024)
const pieces = 512

/** What may be under way where nobody reads: the system's buffers on both sides, and one stream buffer each. */
const underWay = 16 * 1024 * 1024

/** Bob over a socket that the test can reset, and alice's end. */
const resettable = Effect.gen(function*() {
  const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
  const raw = yield* rawBob(addressOf(node))
  return { raw, connection: yield* taken(node) }
})

describe("bytes", () => {
  live("ending in the middle of what comes loses nothing of it", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      // Several TLS records, which arrive as one piece.
      const bytes = payload.subarray(0, 60_000)
      yield* Effect.fork(Effect.zipRight(near.write(bytes), near.end))
      const first = yield* Effect.map(Stream.runHead(far.readable), Option.getOrThrow)
      yield* far.end
      const rest = yield* received(far)
      assert.strictEqual(sha256(Buffer.concat([first, rest])), sha256(bytes))
    }))

  live("8 MiB each way at once", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      const [, atNear, , atFar] = yield* Effect.all(
        [sendAll(far, payload), received(near), sendAll(near, payload), received(far)],
        { concurrency: "unbounded" }
      )
      assert.strictEqual(sha256(atNear), sha256(payload))
      assert.strictEqual(sha256(atFar), sha256(payload))
    }))

  live("who is at the other end", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      assert.strictEqual(near.remoteDigest, alice.digest)
      assert.strictEqual(far.remoteDigest, bob.digest)
      assert.strictEqual(near.remoteAddress.host, "127.0.0.1")
      assert.strictEqual(far.remoteAddress.host, "127.0.0.1")
      assert.notStrictEqual(near.remoteAddress.port, far.remoteAddress.port)
    }))

  live("a stream that is left goes on where it was left", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      yield* near.write(Buffer.from("one"))
      const first = yield* Stream.runCollect(Stream.take(far.readable, 1))
      yield* near.write(Buffer.from("two"))
      yield* near.end
      assert.strictEqual(Buffer.concat(Chunk.toArray(first)).toString(), "one")
      assert.strictEqual((yield* received(far)).toString(), "two")
    }))

  live("the duplex carries the same bytes", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      const echoed = yield* Effect.fork(received(near))
      far.duplex.pipe(far.duplex)
      yield* sendAll(near, payload)
      assert.strictEqual(sha256(yield* Fiber.join(echoed)), sha256(payload))
    }))
})

describe("ending", () => {
  live("either side ends first, and still gets the answer", () =>
    Effect.gen(function*() {
      for (const swap of [false, true]) {
        const { far, near } = yield* pair
        const [first, second] = swap ? [far, near] : [near, far]
        yield* sendAll(first, Buffer.from("request"))
        assert.strictEqual((yield* received(second)).toString(), "request")
        yield* sendAll(second, Buffer.from("answer"))
        assert.strictEqual((yield* received(first)).toString(), "answer")
        yield* eventually(() => near.duplex.closed && far.duplex.closed)
      }
    }))

  live("end twice is end, and write after it fails while reading goes on", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      yield* near.end
      yield* near.end
      assert.strictEqual((yield* Effect.flip(near.write(piece))).reason, "ended")
      assert.strictEqual((yield* Effect.flip(Stream.run(Stream.make(piece), near.writable))).reason, "ended")
      yield* sendAll(far, Buffer.from("still"))
      assert.strictEqual((yield* received(near)).toString(), "still")
    }))

  live("close ends a read and a write under way, and every later one", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      const reading = yield* Effect.fork(Effect.flip(Stream.runDrain(near.readable)))
      const writing = yield* Effect.fork(Effect.flip(Effect.forever(near.write(piece))))
      yield* atRest(() => far.duplex.readableLength + near.duplex.writableLength)
      yield* near.close
      yield* near.close
      assert.strictEqual((yield* Fiber.join(reading)).reason, "closed")
      assert.strictEqual((yield* Fiber.join(writing)).reason, "closed")
      assert.strictEqual((yield* Effect.flip(near.write(piece))).reason, "closed")
      assert.strictEqual((yield* Effect.flip(near.end)).reason, "closed")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(near.readable))).reason, "closed")
    }))

  live("an interrupted read takes nothing", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      yield* Effect.timeoutOption(Stream.runDrain(near.readable), 1)
      yield* sendAll(far, Buffer.from("whole"))
      assert.strictEqual((yield* received(near)).toString(), "whole")
      assert.strictEqual(near.duplex.listenerCount("readable"), 0)
    }))
})

describe("a reset", () => {
  live("fails a read and a write under way", () =>
    Effect.gen(function*() {
      const { connection, raw } = yield* resettable
      const reading = yield* Effect.fork(Effect.flip(Stream.runDrain(connection.readable)))
      const writing = yield* Effect.fork(Effect.flip(Effect.forever(connection.write(piece))))
      yield* atRest(() => connection.duplex.writableLength)
      raw.socket.resetAndDestroy()
      const errors = [yield* Fiber.join(reading), yield* Fiber.join(writing)]
      assert.deepStrictEqual(errors.map(({ _tag, reason }) => [_tag, reason]), [
        ["ConnectionError", "lost"],
        ["ConnectionError", "lost"]
      ])
      assert.strictEqual((yield* Effect.flip(connection.write(piece))).reason, "lost")
    }))

  live("behind unread data is not taken for the end", () =>
    Effect.gen(function*() {
      const { connection, raw } = yield* resettable
      let sent = false
      raw.tls.write(payload.subarray(0, 300_000), () => {
        sent = true
      })
      yield* eventually(() => sent)
      yield* atRest(() => connection.duplex.readableLength)
      raw.socket.resetAndDestroy()
      yield* atRest(() => connection.duplex.readableLength)
      const error = yield* Effect.flip(Stream.runDrain(connection.readable))
      assert.include(["lost", "truncated"], error.reason)
    }))

  live("fails a Socket's run", () =>
    Effect.gen(function*() {
      const { connection, raw } = yield* resettable
      const running = yield* Effect.fork(Effect.flip(connection.socket.run(() => {})))
      yield* atRest(() => connection.duplex.readableLength)
      raw.socket.resetAndDestroy()
      assert.instanceOf(yield* Fiber.join(running), Socket.SocketGenericError)
    }))
})

describe("a peer that breaks TLS", () => {
  live("ends in a typed error", () =>
    Effect.gen(function*() {
      const { connection, raw } = yield* resettable
      const writing = yield* Effect.fork(Effect.flip(Effect.forever(connection.write(piece))))
      raw.socket.write("this is not a TLS record, whatever else it is")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(connection.readable))).reason, "lost")
      assert.strictEqual((yield* Fiber.join(writing)).reason, "lost")
    }))
})

describe("backpressure", () => {
  live("a Stream that is not pulled makes a Sink wait", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      let sent = 0
      const sending = yield* Stream.range(1, pieces).pipe(
        Stream.map(() => piece),
        Stream.tap(() => Effect.sync(() => sent++)),
        Stream.run(near.writable),
        Effect.zipRight(near.end),
        Effect.fork
      )
      let bytes = (yield* Stream.runHead(far.readable).pipe(Effect.flatten)).length
      const sentAtRest = yield* atRest(() => sent)
      assert.isAbove(sentAtRest, 0)
      assert.isBelow(sentAtRest * piece.length, underWay)
      assert.isBelow(far.duplex.readableLength, 1024 * 1024)
      yield* Stream.runForEach(far.readable, (chunk) => Effect.sync(() => bytes += chunk.length))
      assert.strictEqual(bytes, pieces * piece.length)
      yield* Fiber.join(sending)
    }))

  live("a Socket's handler that is not done makes a Socket's writer wait", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      let [sent, bytes, running, atOnce] = [0, 0, 0, 0]
      const latch = yield* Effect.makeLatch()
      const sending = yield* Effect.gen(function*() {
        const write = yield* near.socket.writer
        for (; sent < pieces; sent++) {
          yield* write(piece)
        }
      }).pipe(Effect.scoped, Effect.fork)
      const receiving = yield* Effect.fork(far.socket.run((chunk) => {
        bytes += chunk.length
        running++
        atOnce = Math.max(atOnce, running)
        return Effect.map(latch.await, () => running--)
      }))
      const sentAtRest = yield* atRest(() => sent)
      assert.isAbove(sentAtRest, 0)
      assert.isBelow(sentAtRest * piece.length, underWay)
      assert.strictEqual(running, 64)
      assert.isBelow(far.duplex.readableLength, 1024 * 1024)
      yield* latch.open
      yield* Fiber.join(sending)
      yield* Fiber.join(receiving)
      assert.strictEqual(bytes, pieces * piece.length)
      assert.strictEqual(atOnce, 64)
    }))
})

describe("as a Socket", () => {
  live(
    "onOpen comes first, text is sent as UTF-8, and the writer's scope ends the writing side",
    () =>
      Effect.gen(function*() {
        const { far, near } = yield* pair
        yield* Effect.scoped(Effect.flatMap(near.socket.writer, (write) => write("grüß")))
        const events: Array<string> = []
        yield* far.socket.runRaw((bytes) => void events.push(bytes.toString()), {
          onOpen: Effect.sync(() => events.push("open"))
        })
        assert.deepStrictEqual(events, ["open", "grüß"])
        yield* sendAll(far, Buffer.from("answer"))
        assert.strictEqual((yield* received(near)).toString(), "answer")
      })
  )

  live("a handler's failure is run's, and the connection stays open", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair
      yield* near.write(Buffer.from("one"))
      assert.strictEqual(yield* Effect.flip(far.socket.run(() => Effect.fail("no"))), "no")
      yield* sendAll(near, Buffer.from("two"))
      assert.strictEqual((yield* received(far)).toString(), "two")
    }))

  live("a CloseEvent closes", () =>
    Effect.gen(function*() {
      const { near } = yield* pair
      const write = yield* near.socket.writer
      yield* write(new Socket.CloseEvent())
      assert.isTrue(near.duplex.writableFinished)
      assert.instanceOf(yield* Effect.flip(write("late")), Socket.SocketGenericError)
    }))
})

describe("a channel binding", () => {
  live(
    "is the same at both ends, another one of each connection, and none of a closed one",
    () =>
      Effect.gen(function*() {
        const [one, other] = yield* Effect.all([pair, pair])
        const near = yield* one.near.channelBinding
        assert.strictEqual(near.length, 32)
        assert.deepStrictEqual(yield* one.far.channelBinding, near)
        assert.notDeepEqual(yield* other.near.channelBinding, near)
        yield* one.near.reset
        assert.strictEqual((yield* Effect.flip(one.near.channelBinding)).reason, "closed")
      })
  )
})
