/** Splices of connections that send urgent data (RFC 6093). */
import { sendUrgentAndEnd, withoutUrgent } from "@tx3/testing/libc"
import { Effect } from "effect"
import { assert } from "vitest"
import { ordinary, sendUrgent } from "../client.js"
import { arrived, hungUp, listening, sides, splice, spliced } from "../fixtures.js"
import { eventually, kernelSocket } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const urgentTests: Subject = (test) => {
  for (const ends of [true, false]) {
    test(
      `bytes behind urgent data arrive, ${ends ? "and the end behind them" : "though nothing follows them"}`,
      Effect.gen(function*() {
        const listener = yield* listening()
        // Within the first read of a splice, at the end of it, behind it, and where a pipe is used.
        for (const size of [0, 1, 1_000, 16_384, 16_385, 30_000, 40_000]) {
          // All of it waits when the splice begins, and no event tells of it later.
          const left = yield* arrived(listener)
          const [before, behind] = [ordinary(size), ordinary(1 + size % 10_000)]
          yield* sendUrgent(left.client, before)
          left.client.socket.write(behind)
          if (ends) {
            left.client.socket.end()
            yield* hungUp(left)
          }
          yield* eventually("all of it to be sent", () => {
            const at = kernelSocket(left.client.socket.localPort!, listener.port)
            return at === undefined || at.sending === 0
          })
          const right = yield* arrived(listener)
          const { report } = yield* splice(left, right)
          right.client.socket.end()
          const sent = Buffer.concat([before, behind])
          let received: Buffer = Buffer.alloc(0)
          while (received.length < sent.length) {
            received = withoutUrgent(Buffer.concat([received, yield* right.client.read(1), right.client.rest()]))
          }
          assert.isTrue(received.equals(sent))
          left.client.socket.end()
          assert.strictEqual((yield* right.client.readAll).ending, "end")
          assert.strictEqual((yield* report).outcome, "completed")
        }
      })
    )
  }

  test(
    "bytes behind urgent data arrive that come with their end, when the other side has ended before",
    Effect.gen(function*() {
      for (const first of ["left", "right"] as const) {
        const pair = yield* spliced()
        const [one, other] = sides(pair, first)
        other.client.socket.end()
        assert.strictEqual((yield* one.client.readAll).ending, "end")
        const [before, behind] = [ordinary(1_000), ordinary(20_000)]
        sendUrgentAndEnd(one.client.socket, before, behind)
        const { bytes, ending } = yield* other.client.readAll
        assert.strictEqual(ending, "end")
        assert.isTrue(withoutUrgent(bytes).equals(Buffer.concat([before, behind])), `${bytes.length} bytes`)
        assert.strictEqual((yield* pair.report).outcome, "completed")
      }
    })
  )

  test(
    "bytes among urgent data arrive while they are carried",
    Effect.gen(function*() {
      const pair = yield* spliced()
      for (const first of ["left", "right"] as const) {
        const [one, other] = sides(pair, first)
        const sent: Array<Uint8Array> = []
        for (let piece = 0; piece < 40; piece++) {
          const bytes = ordinary(piece * 7_919 % (piece % 2 === 0 ? 20_000 : 600_000))
          sent.push(bytes)
          yield* sendUrgent(one.client, bytes)
        }
        one.client.socket.end()
        const { bytes, ending } = yield* other.client.readAll
        assert.strictEqual(ending, "end")
        assert.isTrue(withoutUrgent(bytes).equals(Buffer.concat(sent)))
      }
      assert.strictEqual((yield* pair.report).outcome, "completed")
    })
  )
}
