/** The first 32 bytes of a connection. */
import { Effect, Fiber } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import { accepted, arrived, heap, hungUp, keptMax, listening, mebibyte, splice, stalled } from "../fixtures.js"
import { kernelSocket, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const preambleTests: Subject = (test) => {
  test(
    "comes together from single bytes",
    Effect.gen(function*() {
      const { client, connection } = yield* accepted(yield* listening())
      const reading = yield* Effect.fork(connection.preamble)
      const bytes = payload(32)
      for (const byte of bytes) {
        client.socket.write(Uint8Array.of(byte))
        yield* turns()
      }
      assert.deepStrictEqual(Buffer.from(yield* Fiber.join(reading)), bytes)
    })
  )

  test(
    "is 32 bytes; the rest of the segment stays for the next stage",
    Effect.gen(function*() {
      const listener = yield* listening()
      const { client, connection } = yield* accepted(listener)
      const bytes = payload(32 + 1000)
      client.socket.write(bytes)
      assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes.subarray(0, 32))
      const right = yield* arrived(listener)
      yield* splice({ client, connection }, right)
      assert.deepStrictEqual(yield* right.client.read(1000), bytes.subarray(32))
    })
  )

  test(
    "more than anybody keeps, sent before anybody decides, stalls the sender and loses nothing",
    Effect.gen(function*() {
      const listener = yield* listening()
      const { client, connection } = yield* accepted(listener)
      const bytes = payload(heap)
      client.stream(bytes)
      yield* stalled(client)
      const inSockets = kernelSocket(client.socket.localPort!, listener.port)!.sending +
        kernelSocket(listener.port, client.socket.localPort!)!.unread
      assert.isBelow(client.accepted - inSockets, keptMax)

      assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes.subarray(0, 32))
      yield* stalled(client)
      assert.isBelow(client.accepted, bytes.length - mebibyte)
      const right = yield* arrived(listener)
      const { carried } = yield* splice({ client, connection }, right)
      const received = yield* right.client.read(bytes.length - 32)
      assert.isTrue(received.equals(bytes.subarray(32)))
      assert.deepStrictEqual(carried(), { fromLeft: bytes.length - 32, fromRight: 0 })
    })
  )

  test(
    "a FIN before 32 bytes is a hang-up, before or after the wait begins",
    Effect.gen(function*() {
      const listener = yield* listening()
      const first = yield* accepted(listener)
      const waiting = yield* Effect.fork(Effect.flip(first.connection.preamble))
      first.client.socket.write(payload(31))
      yield* turns()
      first.client.socket.end()
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "HungUp")

      const second = yield* accepted(listener)
      second.client.socket.end(payload(31))
      yield* hungUp(second)
      assert.strictEqual((yield* Effect.flip(second.connection.preamble))._tag, "HungUp")
    })
  )

  test(
    "a reset before 32 bytes is a hang-up, before or after the wait begins",
    Effect.gen(function*() {
      const listener = yield* listening()
      const first = yield* accepted(listener)
      const waiting = yield* Effect.fork(Effect.flip(first.connection.preamble))
      first.client.socket.write(payload(31))
      yield* turns()
      first.client.reset()
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "HungUp")

      const second = yield* accepted(listener)
      second.client.reset()
      yield* hungUp(second)
      assert.strictEqual((yield* Effect.flip(second.connection.preamble))._tag, "HungUp")
    })
  )

  test(
    "32 bytes with a FIN behind them are a preamble",
    Effect.gen(function*() {
      const listener = yield* listening()
      const bytes = payload(32)
      const first = yield* accepted(listener)
      first.client.socket.end(bytes)
      assert.deepStrictEqual(Buffer.from(yield* first.connection.preamble), bytes)

      const second = yield* accepted(listener)
      second.client.socket.end(bytes)
      yield* hungUp(second)
      assert.deepStrictEqual(Buffer.from(yield* second.connection.preamble), bytes)
    })
  )

  test(
    "an interrupted wait takes nothing away",
    Effect.gen(function*() {
      const { client, connection } = yield* accepted(yield* listening())
      const bytes = payload(32)
      const first = yield* Effect.fork(connection.preamble)
      client.socket.write(bytes.subarray(0, 20))
      yield* turns()
      yield* Fiber.interrupt(first)
      client.socket.write(bytes.subarray(20))
      yield* turns()
      assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes)
    })
  )
}
