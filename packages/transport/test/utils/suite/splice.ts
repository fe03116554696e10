/** What a splice carries, and what it keeps meanwhile. */
import type { Transport } from "@tx3/transport"
import { Effect } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import {
  arrived,
  bulkSplice,
  heap,
  hungUp,
  insideFromLeft,
  keptMax,
  listening,
  mebibyte,
  sha256,
  sides,
  splice,
  spliced,
  stalled
} from "../fixtures.js"
import { bufferBytes, eventually, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const spliceTests: Subject = (test) => {
  test(
    "carries 64 MiB both ways at once",
    Effect.gen(function*() {
      const { carried, left, report, right } = yield* spliced()
      const [fromLeft, fromRight] = [payload(64 * mebibyte), payload(64 * mebibyte)]
      left.client.socket.end(fromLeft)
      right.client.socket.end(fromRight)
      const [atLeft, atRight] = yield* Effect.all([left.client.readAll, right.client.readAll], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([atLeft.ending, atRight.ending], ["end", "end"])
      assert.strictEqual(sha256(atLeft.bytes), sha256(fromRight))
      assert.strictEqual(sha256(atRight.bytes), sha256(fromLeft))
      const counts = { fromLeft: fromLeft.length, fromRight: fromRight.length }
      assert.deepStrictEqual(yield* report, { ...counts, outcome: "completed" })
      assert.deepStrictEqual(carried(), counts)
    })
  )

  test(
    "delivers what came before it first and in order, both ways",
    Effect.gen(function*() {
      const listener = yield* listening()
      const [fromLeft, fromRight] = [payload(200_000), payload(150_000)]
      const left = yield* arrived(listener, { behind: fromLeft.subarray(0, 100) })
      const right = yield* arrived(listener, { behind: fromRight.subarray(0, 1) })
      for (const [from, to] of [[100, 101], [101, 900], [900, 30_000]] as const) {
        left.client.socket.write(fromLeft.subarray(from, to))
        right.client.socket.write(fromRight.subarray(from - 99, to - 99))
        yield* turns()
      }
      left.client.socket.write(fromLeft.subarray(30_000, 100_000))
      right.client.socket.write(fromRight.subarray(29_901, 100_000))
      const { carried } = yield* splice(left, right)
      left.client.socket.write(fromLeft.subarray(100_000))
      right.client.socket.write(fromRight.subarray(100_000))
      assert.isTrue((yield* right.client.read(fromLeft.length)).equals(fromLeft))
      assert.isTrue((yield* left.client.read(fromRight.length)).equals(fromRight))
      assert.deepStrictEqual(carried(), { fromLeft: fromLeft.length, fromRight: fromRight.length })
    })
  )

  for (const first of ["left", "right"] as const) {
    test(
      `passes a half-close of the ${first} side on, and data the other way afterwards`,
      Effect.gen(function*() {
        const pair = yield* spliced()
        const [one, other] = sides(pair, first)
        const [request, response] = [payload(5_000), payload(3 * mebibyte)]
        one.client.socket.end(request)
        const got = yield* other.client.readAll
        assert.isTrue(got.bytes.equals(request))
        assert.strictEqual(got.ending, "end")

        yield* turns(20)
        other.client.socket.write(response.subarray(0, 100))
        yield* one.client.read(100)
        assert.strictEqual(one.client.ending, undefined)
        other.client.socket.end(response.subarray(100))
        const answer = yield* one.client.readAll
        assert.isTrue(answer.bytes.equals(response.subarray(100)))
        assert.strictEqual(answer.ending, "end")
        assert.deepStrictEqual(yield* pair.report, {
          fromLeft: first === "left" ? request.length : response.length,
          fromRight: first === "left" ? response.length : request.length,
          outcome: "completed"
        })
      })
    )

    test(
      `passes a FIN on that the ${first} side sent before the splice began`,
      Effect.gen(function*() {
        const listener = yield* listening()
        const one = yield* arrived(listener, { behind: Buffer.from("request") })
        one.client.socket.end()
        yield* hungUp(one)
        const other = yield* arrived(listener)
        const pair = first === "left" ? yield* splice(one, other) : yield* splice(other, one)
        const request = yield* other.client.readAll
        assert.deepStrictEqual([request.bytes.toString(), request.ending], ["request", "end"])
        other.client.socket.end("response")
        const response = yield* one.client.readAll
        assert.deepStrictEqual([response.bytes.toString(), response.ending], ["response", "end"])
        assert.strictEqual((yield* pair.report).outcome, "completed")
      })
    )
  }

  test(
    "a side that does not read stalls the sender, and everything arrives when it reads",
    Effect.gen(function*() {
      const pair = yield* spliced({ rightReads: false })
      const { carried, left, report, right } = pair
      const bytes = payload(heap)
      left.client.stream(bytes)
      yield* stalled(left.client)
      assert.isBelow(left.client.accepted, bytes.length)
      assert.isAbove(carried().fromLeft, 0)
      assert.isBelow(insideFromLeft(pair), keptMax)

      // The other direction is free, though this one is stuck.
      right.client.socket.write("still here")
      assert.strictEqual((yield* left.client.read(10)).toString(), "still here")

      right.client.startReading()
      assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
      left.client.socket.end()
      right.client.socket.end()
      assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 10, outcome: "completed" })
    })
  )

  test(
    "a stalled splice does not hold up another",
    Effect.gen(function*() {
      const stuck = yield* spliced({ rightReads: false })
      stuck.left.client.stream(payload(heap))
      yield* stalled(stuck.left.client)

      const { left, right } = yield* spliced()
      const bytes = payload(8 * mebibyte)
      left.client.socket.write(bytes)
      assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
      right.client.socket.write(bytes)
      assert.isTrue((yield* left.client.read(bytes.length)).equals(bytes))
      assert.strictEqual(stuck.right.client.ending, undefined)
    })
  )

  test(
    "bulk both ways does not hold up small exchanges, nor they it",
    Effect.gen(function*() {
      const listener = yield* listening()
      const bulk = yield* bulkSplice(listener)
      const small = yield* Effect.replicateEffect(
        Effect.flatMap(
          Effect.all([arrived(listener), arrived(listener)]),
          ([left, right]) => splice(left, right)
        ),
        16
      )
      const flows = (before: Transport.Carried) =>
        eventually("more bulk, both ways", () => {
          const { fromLeft, fromRight } = bulk.carried()
          return Math.min(fromLeft - before.fromLeft, fromRight - before.fromRight) > 4 * mebibyte
        })
      yield* flows({ fromLeft: 0, fromRight: 0 })

      const before = bulk.carried()
      yield* Effect.forEach(small, ({ left, right }) =>
        Effect.gen(function*() {
          for (let trip = 0; trip < 100; trip++) {
            for (const [from, to] of [[left, right], [right, left]] as const) {
              const bytes = payload(64)
              from.client.socket.write(bytes)
              assert.isTrue((yield* to.client.read(bytes.length)).equals(bytes))
            }
          }
        }), { concurrency: "unbounded", discard: true })
      const after = bulk.carried()
      assert.isAbove(after.fromLeft - before.fromLeft, mebibyte)
      assert.isAbove(after.fromRight - before.fromRight, mebibyte)
      for (const { carried } of small) {
        assert.deepStrictEqual(carried(), { fromLeft: 6_400, fromRight: 6_400 })
      }
      yield* flows(after)
    })
  )

  test(
    "keeps nothing of what it has carried",
    Effect.gen(function*() {
      const { left, right } = yield* spliced()
      const bytes = payload(4 * mebibyte)
      const before = bufferBytes()
      for (let time = 0; time < 8; time++) {
        left.client.socket.write(bytes)
        yield* right.client.read(bytes.length)
      }
      yield* eventually("freed buffers", () => bufferBytes() - before < 2 * bytes.length)
    })
  )

  test(
    "carried can be read while it runs, by side",
    Effect.gen(function*() {
      const { carried, left, right } = yield* spliced()
      assert.deepStrictEqual(carried(), { fromLeft: 0, fromRight: 0 })
      left.client.socket.write(payload(1_000))
      yield* right.client.read(1_000)
      assert.deepStrictEqual(carried(), { fromLeft: 1_000, fromRight: 0 })
      right.client.socket.write(payload(70_000))
      yield* left.client.read(70_000)
      assert.deepStrictEqual(carried(), { fromLeft: 1_000, fromRight: 70_000 })
      left.client.socket.write(payload(1))
      yield* right.client.read(1)
      assert.deepStrictEqual(carried(), { fromLeft: 1_001, fromRight: 70_000 })
    })
  )
}
