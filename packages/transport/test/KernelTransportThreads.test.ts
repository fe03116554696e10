import { describe, it } from "@effect/vitest"
import type { Transport } from "@tx3/transport"
import { KernelTransport, Rate } from "@tx3/transport"
import { Effect, Exit, Fiber, Layer, Queue, Scope } from "effect"
import { assert } from "vitest"
import { connect, payload } from "./utils/client.js"
import {
  accepted,
  arrived,
  echoes,
  heap,
  hungUp,
  listening,
  mebibyte,
  noLeak,
  pump,
  splice,
  stalled
} from "./utils/fixtures.js"
import type { Line } from "./utils/kernel.js"
import { breakThread, logInto, noDescriptorLeak, ofTwoThreads, threadOf } from "./utils/kernel.js"
import { connectionSubjects } from "./utils/subjects.js"
import { eventually, socketsAt, turns } from "./utils/system.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("KernelTransport with two threads", KernelTransport.layer({ threads: 2 }), connectionSubjects)

describe("threads of KernelTransport", () => {
  const test = (
    title: string,
    threads: number,
    body: (log: Array<Line>) => Effect.Effect<unknown, unknown, Transport.Transport | Scope.Scope>
  ) =>
    it.scopedLive(title, () =>
      Effect.gen(function*() {
        yield* noLeak
        yield* noDescriptorLeak
        const log: Array<Line> = []
        const context = yield* Layer.build(KernelTransport.layer({ threads }).pipe(Layer.provide(logInto(log))))
        yield* Effect.provide(body(log), context)
      }))

  test("a splice of connections of two threads carries bytes, and ends, as any other", 2, () =>
    Effect.gen(function*() {
      const listener = yield* listening()
      for (const swapped of [false, true]) {
        const [first, second] = yield* ofTwoThreads(listener)
        const [left, right] = swapped ? [second, first] : [first, second]
        left.client.socket.write("before")
        right.client.socket.write("before")
        yield* turns()
        const { report } = yield* splice(left, right)
        const bytes = payload(8 * mebibyte)
        left.client.socket.end(bytes)
        right.client.socket.end(bytes)
        for (const { client } of [left, right]) {
          const received = yield* client.readAll
          assert.strictEqual(received.ending, "end")
          assert.isTrue(received.bytes.equals(Buffer.concat([Buffer.from("before"), bytes])))
        }
        const count = bytes.length + 6
        assert.deepStrictEqual(yield* report, { fromLeft: count, fromRight: count, outcome: "completed" })
      }
    }))

  test("splices of two threads keep to a rate together", 2, () =>
    Effect.gen(function*() {
      const listener = yield* listening()
      const rates = [Rate.make(8 * mebibyte)]
      const pairs = yield* Effect.forEach(yield* ofTwoThreads(listener), (left) =>
        Effect.flatMap(arrived(listener, { reading: false }), (right) => splice(left, right, { rates })))
      const carried = () =>
        pairs.map(({ carried }) => carried().fromLeft)
      const began = performance.now()
      yield* Effect.forEach(pairs, ({ left, right }) => pump(left.client, right.client))
      yield* Effect.sleep("1 second")
      const [one, other] = carried() as [number, number]
      const seconds = (performance.now() - began) / 1_000
      assert.isAtMost(one + other, (seconds + 0.25) * 8 * mebibyte)
      assert.isAtLeast(one + other, 4 * mebibyte)
      assert.isAbove(Math.min(one, other), (one + other) / 4)
    }))

  test(
    "a splice of connections of two threads that were reset or had ended before says so",
    2,
    () =>
      Effect.gen(function*() {
        const listener = yield* listening()
        for (const swapped of [false, true]) {
          const [first, second] = yield* ofTwoThreads(listener)
          const [left, right] = swapped ? [second, first] : [first, second]
          right.client.reset()
          yield* hungUp(right)
          assert.strictEqual((yield* (yield* splice(left, right)).report).outcome, "reset")
          assert.strictEqual((yield* left.client.readAll).ending, "reset")
        }
        const [left, right] = yield* ofTwoThreads(listener)
        right.client.socket.end("all")
        yield* hungUp(right)
        const { report } = yield* splice(left, right)
        assert.deepStrictEqual(yield* left.client.readAll, { bytes: Buffer.from("all"), ending: "end" })
        left.client.socket.end()
        assert.deepStrictEqual(yield* report, { fromLeft: 0, fromRight: 3, outcome: "completed" })
      })
  )

  test("a thread that dies ends what it had, and a new one takes over", 1, (log) =>
    Effect.gen(function*() {
      const listener = yield* listening()
      for (let deaths = 1; deaths <= 2; deaths++) {
        const [left, right] = [yield* arrived(listener), yield* arrived(listener)]
        const running = yield* splice(left, right)
        yield* echoes(left, right)
        const [full, stuck] = [yield* arrived(listener), yield* arrived(listener, { reading: false })]
        const stalling = yield* splice(full, stuck)
        full.client.stream(payload(heap))
        yield* stalled(full.client)
        const silent = yield* accepted(listener)
        silent.client.socket.write(payload(31))
        const preamble = yield* Effect.fork(Effect.flip(silent.connection.preamble))
        const waiting = yield* arrived(listener)
        let hangUps = 0
        waiting.connection.onHangUp(() => hangUps++)
        const given = yield* arrived(listener)
        const duplex = yield* given.connection.toDuplex
        yield* turns()
        assert.strictEqual(hangUps, 0)

        const died = Date.now()
        yield* breakThread(threadOf(left))
        left.client.socket.write("!")
        assert.strictEqual((yield* running.report).outcome, "failed")
        assert.strictEqual((yield* stalling.report).outcome, "failed")
        stuck.client.startReading()
        for (const { client } of [left, right, full, stuck]) {
          assert.strictEqual((yield* client.readAll).ending, "reset")
        }
        assert.strictEqual((yield* Fiber.join(preamble))._tag, "HungUp")
        yield* silent.client.readAll
        yield* eventually("a hang-up", () => hangUps > 0)
        assert.strictEqual((yield* Effect.flip(waiting.connection.toDuplex))._tag, "HungUp")
        yield* waiting.client.readAll

        // What has left the transport goes on.
        duplex.write("still here")
        assert.strictEqual((yield* given.client.read(10)).toString(), "still here")

        const [one, other] = [yield* arrived(listener), yield* arrived(listener)]
        assert.isBelow(Date.now() - died, takesOverWithinMs)
        yield* splice(one, other)
        yield* echoes(one, other)
        assert.strictEqual(hangUps, 1)
        assert.deepStrictEqual(log, Array.from({ length: deaths }, () => death))
      }
    }))

  test(
    "a thread that dies ends who owes it a header, and a new one knows the proxies",
    1,
    (log) =>
      Effect.gen(function*() {
        const listener = yield* listening({ proxies: ["127.0.0.1"] })
        const direct = yield* accepted(yield* listening())
        const silent = yield* connect(listener)
        silent.socket.write("PROXY ")
        yield* eventually("it to be accepted", () => socketsAt(listener.port) === 1)
        yield* Effect.sleep(20)
        yield* breakThread(threadOf(direct))
        silent.socket.write("TCP4 ")
        yield* silent.readAll
        const next = yield* connect(listener)
        next.socket.write(Buffer.concat([Buffer.from("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), payload(32)]))
        const connection = yield* Queue.take(listener.connections)
        assert.strictEqual(connection.remoteAddress, "192.0.2.1")
        yield* connection.preamble
        assert.deepStrictEqual(log, [death])
      })
  )

  test("a thread that dies leaves the other one's splices alone", 2, (log) =>
    Effect.gen(function*() {
      const listener = yield* listening()
      const [ofFirst, ofSecond] = yield* ofTwoThreads(listener)
      const others = yield* ofTwoThreads(listener)
      const first = threadOf(ofFirst)
      const alsoOfFirst = others.find((link) => threadOf(link) === first)!
      const alsoOfSecond = others.find((link) => threadOf(link) !== first)!
      // Each thread carries for a connection that was the other's.
      const doomed = yield* splice(ofFirst, alsoOfSecond)
      const survivor = yield* splice(ofSecond, alsoOfFirst)
      yield* echoes(ofFirst, alsoOfSecond)
      yield* echoes(ofSecond, alsoOfFirst)

      yield* breakThread(first)
      ofFirst.client.socket.write("!")
      assert.strictEqual((yield* doomed.report).outcome, "failed")
      assert.strictEqual((yield* ofFirst.client.readAll).ending, "reset")
      assert.strictEqual((yield* alsoOfSecond.client.readAll).ending, "reset")
      yield* eventually("the error", () => log.length > 0)
      yield* echoes(ofSecond, alsoOfFirst)

      const [one, other] = yield* ofTwoThreads(listener)
      yield* splice(one, other)
      yield* echoes(one, other)
      yield* echoes(ofSecond, alsoOfFirst)
      // It is the splice's connection, and no longer one of the thread that died.
      yield* alsoOfFirst.connection.close
      assert.strictEqual((yield* survivor.report).outcome, "closed")
      assert.strictEqual((yield* ofSecond.client.readAll).ending, "reset")
      assert.deepStrictEqual(log, [death])
    }))

  test("a listener that closes while its thread dies is closed", 1, (log) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const listener = yield* Scope.extend(listening(), scope)
      const link = yield* arrived(listener)
      yield* breakThread(threadOf(link))
      link.client.socket.write("!")
      yield* Scope.close(scope, Exit.void).pipe(Effect.disconnect, Effect.timeout(takesOverWithinMs))
      assert.strictEqual((yield* Effect.flip(connect(listener))).code, "ECONNREFUSED")
      yield* eventually("the error", () => log.length > 0)
      assert.deepStrictEqual(log, [death])
    }))
})

const takesOverWithinMs = 30_000

const death: Line = { level: "ERROR", message: "a thread of the kernel transport died, and what it carried with it" }
