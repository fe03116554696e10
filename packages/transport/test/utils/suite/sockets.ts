/** What is set on accepted sockets. */
import { Effect } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import { arrived, listening, spliced } from "../fixtures.js"
import { eventually, kernelSocket } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const socketTests: Subject = (test) => {
  test(
    "keep-alive runs on an accepted connection, 7 seconds at most",
    Effect.gen(function*() {
      const listener = yield* listening()
      const { client } = yield* arrived(listener)
      yield* eventually("a keep-alive timer", () => {
        const { sending, timer, timerMs } = kernelSocket(listener.port, client.socket.localPort!)!
        // Below a second it is a delayed acknowledgement.
        return sending === 0 && timer === 2 && timerMs > 1_000 && timerMs <= 7_000
      })
    })
  )

  test(
    "TCP_NODELAY is set: a second small write does not wait for the first one's acknowledgement",
    Effect.gen(function*() {
      const { left, right } = yield* spliced()
      const half = payload(10 * 1024)
      const exchangeMs: Array<number> = []
      for (let exchange = 0; exchange < 50; exchange++) {
        const began = performance.now()
        for (const [from, to] of [[left, right], [right, left]] as const) {
          from.client.socket.write(half)
          yield* to.client.read(half.length)
          from.client.socket.write(half)
          yield* to.client.read(half.length)
        }
        exchangeMs.push(performance.now() - began)
      }
      // Waiting costs 40 ms each way, but not yet in the first exchanges. A busy machine delays some of the others, and not all.
      assert.isBelow(Math.min(...exchangeMs.slice(20)), 40)
    })
  )
}
