/** When a silent splice ends. */
import { Effect } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import type { Link } from "../fixtures.js"
import { arrived, echoes, heap, hungUp, listening, mebibyte, sides, splice, spliced } from "../fixtures.js"
import { eventually } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const silenceTests: Subject = (test) => {
  test(
    "a reader slower than lingerTimeoutMs and idleTimeoutMs gets everything, for it never pauses",
    Effect.gen(function*() {
      const bytes = payload(mebibyte)
      yield* Effect.forEach(["linger", "idle"] as const, (which) =>
        Effect.gen(function*() {
          const ms = 1_500
          const pair = yield* spliced(
            which === "linger"
              ? { lingerTimeoutMs: ms, rightReads: false }
              : { idleTimeoutMs: ms, rightReads: false }
          )
          const { left, right } = pair
          left.client.socket.write(bytes)
          if (which === "linger") {
            left.client.socket.end()
          }
          // From here on the transport has nothing to move; what it has moved waits in the kernel.
          yield* eventually("all of it to be taken", () => pair.carried().fromLeft === bytes.length)
          const began = Date.now()
          const received: Array<Buffer> = []
          while (Date.now() - began < 2.5 * ms) {
            yield* Effect.sleep(50)
            const piece = right.client.socket.read(8 * 1024) as Buffer | null
            if (piece !== null) {
              received.push(piece)
            }
            assert.isUndefined(right.client.ending)
          }
          // Else it has been faster than was meant.
          assert.isBelow(Buffer.concat(received).length, bytes.length)
          right.client.startReading()
          received.push(yield* right.client.read(bytes.length - Buffer.concat(received).length))
          assert.isTrue(Buffer.concat(received).equals(bytes))
        }), { concurrency: "unbounded", discard: true })
    })
  )

  test(
    "lingerTimeoutMs: a half-closed splice ends after so long without a byte",
    Effect.gen(function*() {
      for (const first of ["left", "right"] as const) {
        const pair = yield* spliced({ lingerTimeoutMs: 60 })
        const [one, other] = sides(pair, first)
        const began = Date.now()
        one.client.socket.end()
        assert.strictEqual((yield* pair.report).outcome, "lingered")
        assert.isAtLeast(Date.now() - began, 55)
        assert.strictEqual((yield* one.client.readAll).ending, "reset")
        yield* other.client.wasReset
      }
    })
  )

  test(
    "lingerTimeoutMs: does not run before a side's FIN",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ lingerTimeoutMs: 50 })
      yield* Effect.sleep(150)
      yield* echoes(left, right)
      right.client.socket.end()
      assert.strictEqual((yield* report).outcome, "lingered")
    })
  )

  test(
    "lingerTimeoutMs: a byte starts it again",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ lingerTimeoutMs: 1_200 })
      left.client.socket.end()
      const last = yield* trickle(right, left, 1_500)
      assert.strictEqual((yield* report).outcome, "lingered")
      assert.isAtLeast(Date.now() - last, 1_190)
    })
  )

  test(
    "lingerTimeoutMs: ends a half-closed splice whose other side does not read",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ lingerTimeoutMs: 100, rightReads: false })
      const bytes = payload(heap)
      left.client.socket.end(bytes)
      right.client.socket.end()
      assert.strictEqual((yield* report).outcome, "lingered")
      right.client.startReading()
      const got = yield* right.client.readAll
      assert.strictEqual(got.ending, "reset")
      assert.isBelow(got.bytes.length, bytes.length)
    })
  )

  test(
    "idleTimeoutMs: an open splice ends after so long without a byte",
    Effect.gen(function*() {
      const began = Date.now()
      const { left, report, right } = yield* spliced({ idleTimeoutMs: 60 })
      assert.strictEqual((yield* report).outcome, "idle")
      assert.isAtLeast(Date.now() - began, 55)
      assert.strictEqual((yield* left.client.readAll).ending, "reset")
      assert.strictEqual((yield* right.client.readAll).ending, "reset")
    })
  )

  test(
    "idleTimeoutMs: a byte starts it again, from either side",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ idleTimeoutMs: 1_200 })
      yield* trickle(left, right, 1_500)
      const last = yield* trickle(right, left, 1_500)
      assert.strictEqual((yield* report).outcome, "idle")
      assert.isAtLeast(Date.now() - last, 1_190)
    })
  )

  test(
    "idleTimeoutMs: ends a stalled splice",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ idleTimeoutMs: 100, rightReads: false })
      left.client.stream(payload(heap))
      assert.strictEqual((yield* report).outcome, "idle")
      assert.strictEqual((yield* left.client.readAll).ending, "reset")
      right.client.startReading()
      assert.strictEqual((yield* right.client.readAll).ending, "reset")
    })
  )

  test(
    "idleTimeoutMs: gives way to lingerTimeoutMs once half-closed",
    Effect.gen(function*() {
      const listener = yield* listening()
      const left = yield* arrived(listener)
      left.client.socket.end()
      yield* hungUp(left)
      const right = yield* arrived(listener)
      const began = Date.now()
      const { report } = yield* splice(left, right, { idleTimeoutMs: 30, lingerTimeoutMs: 120 })
      assert.strictEqual((yield* report).outcome, "lingered")
      assert.isAtLeast(Date.now() - began, 115)
    })
  )
}

/** Sends a byte every 15 ms and waits for it. Returns when the last one was sent, which is before it was carried. */
const trickle = (from: Link, to: Link, ms: number) =>
  Effect.gen(function*() {
    const until = Date.now() + ms
    let sentAt = Date.now()
    while (Date.now() < until) {
      sentAt = Date.now()
      from.client.socket.write("x")
      yield* to.client.read(1)
      yield* Effect.sleep(15)
    }
    return sentAt
  })
