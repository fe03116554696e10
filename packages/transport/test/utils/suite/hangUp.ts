/** What a transport says of a remote end that hangs up. */
import { Effect } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import type { Link } from "../fixtures.js"
import { arrived, hungUp, listening } from "../fixtures.js"
import { eventually, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const hangUpTests: Subject = (test) => {
  for (
    const [how, hangUp] of [
      ["a FIN", ({ client }: Link) => client.socket.end()],
      ["a reset", ({ client }: Link) => client.reset()],
      ["a FIN behind bytes that nobody reads", ({ client }: Link) => client.socket.end(payload(10_000))],
      ["a reset behind bytes that nobody reads", ({ client }: Link) => {
        client.socket.write(payload(10_000))
        client.reset()
      }]
    ] as const
  ) {
    test(
      `${how} calls the listener, once`,
      Effect.gen(function*() {
        const link = yield* arrived(yield* listening(), { behind: payload(100) })
        let calls = 0
        link.connection.onHangUp(() => calls++)
        yield* turns()
        assert.strictEqual(calls, 0)
        hangUp(link)
        yield* eventually("the listener's call", () => calls > 0)
        yield* link.connection.close
        yield* turns(20)
        assert.strictEqual(calls, 1)
      })
    )

    test(
      `${how} in the past calls the listener at once`,
      Effect.gen(function*() {
        const link = yield* arrived(yield* listening())
        hangUp(link)
        yield* hungUp(link)
        let calls = 0
        link.connection.onHangUp(() => calls++)
        assert.strictEqual(calls, 1)
        yield* link.connection.close
        yield* turns(20)
        assert.strictEqual(calls, 1)
      })
    )
  }

  test(
    "undefined takes the listener off, another one replaces it",
    Effect.gen(function*() {
      const listener = yield* listening()
      const off = yield* arrived(listener)
      const replaced = yield* arrived(listener)
      const last = yield* arrived(listener)
      const calls: Array<string> = []
      off.connection.onHangUp(() => calls.push("taken off"))
      off.connection.onHangUp(undefined)
      replaced.connection.onHangUp(() => calls.push("replaced"))
      replaced.connection.onHangUp(() => calls.push("new"))
      off.client.socket.end()
      replaced.client.socket.end()
      yield* turns()
      last.client.socket.end()
      yield* hungUp(last)
      // Threads hear of their connections in no order.
      yield* eventually("a call", () => calls.length > 0)
      yield* turns()
      assert.deepStrictEqual(calls, ["new"])
    })
  )

  test(
    "is not called for bytes, nor when this end closes",
    Effect.gen(function*() {
      const { client, connection } = yield* arrived(yield* listening())
      let calls = 0
      connection.onHangUp(() => calls++)
      client.socket.write(payload(1000))
      yield* turns(20)
      yield* connection.close
      yield* turns(20)
      assert.strictEqual(calls, 0)
    })
  )
}
