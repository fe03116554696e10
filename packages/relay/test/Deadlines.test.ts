/**
 * The deadlines of a whole relay on connections in memory, under a TestClock: nothing is late here and nothing early.
 */
import { assert, describe, it } from "@effect/vitest"
import { CertDigest } from "@tx3/protocol"
import { Effect, TestClock } from "effect"
import * as Deadlines from "../src/internal/deadlines.js"
import { withMemoryRelay } from "./utils/memoryTransport.js"
import { settableClock } from "./utils/settableClock.js"

describe("connectionTimeoutMs", () => {
  it.effect("preambleTimeout: all 32 bytes must be there 20 s after accept", () =>
    withMemoryRelay({}, ({ dialer, has, rejected }) =>
      Effect.gen(function*() {
        const silent = yield* dialer.connect()
        const slow = yield* dialer.connect()
        yield* TestClock.adjust("19999 millis")
        yield* slow.send(new Uint8Array(31))
        yield* has({ preamble: 2 })
        yield* TestClock.adjust("1 millis")
        yield* rejected("preambleTimeout", 2)
        assert.strictEqual(yield* silent.closed, "ended")
        assert.strictEqual(yield* slow.closed, "ended")
      })))

  it.effect("handshakeTimeout: the same 20 s, not 20 more", () =>
    withMemoryRelay({}, ({ dialer, has, rejected, relay }) =>
      Effect.gen(function*() {
        const node = yield* dialer.connect()
        yield* TestClock.adjust("15 seconds")
        yield* node.send(CertDigest.toBytes(relay.digest))
        yield* has({ handshake: 1 })
        yield* TestClock.adjust("4999 millis")
        yield* has({ handshake: 1 })
        yield* TestClock.adjust("1 millis")
        yield* rejected("handshakeTimeout", 1)
        assert.strictEqual(yield* node.closed, "ended")
      })))

  it.effect("pendingTimeout: the same 20 s; the peer's place is free and its token worth nothing", () =>
    withMemoryRelay({ maxRelaysPerControl: 1 }, ({ dialer, has, register, rejected, send }) =>
      Effect.gen(function*() {
        const node = yield* register
        const peer = yield* dialer.connect()
        yield* TestClock.adjust("15 seconds")
        yield* peer.send(node.digest)
        yield* has({ pending: 1 })
        yield* TestClock.adjust("4999 millis")
        yield* has({ pending: 1 })
        yield* TestClock.adjust("1 millis")
        yield* rejected("pendingTimeout", 1)
        assert.strictEqual(yield* peer.closed, "ended")

        const late = yield* send(yield* node.control.receive(32))
        assert.strictEqual(yield* late.closed, "ended")
        yield* rejected("unknownPreamble", 1)

        yield* send(node.digest)
        yield* has({ pending: 1 })
      })))

  it.effect("ends neither a node nor a splice, which were in time by a millisecond", () =>
    withMemoryRelay({}, ({ dialer, has, register, rejected, send }) =>
      Effect.gen(function*() {
        const node = yield* register
        const peer = yield* dialer.connect()
        yield* TestClock.adjust("19999 millis")
        yield* peer.send(node.digest)
        const inside = yield* send(yield* node.control.receive(32))
        yield* has({ control: 1, spliced: 2 })
        // Thirty times the time that it had. What it carries is metered every second, so this is 600 steps.
        yield* TestClock.adjust("10 minutes")
        yield* peer.send(Buffer.from("hello"))
        assert.strictEqual((yield* inside.receive(5)).toString(), "hello")
        yield* has({ control: 1, spliced: 2 })
        yield* rejected("pendingTimeout", 0)
      })))

  it.effect("counts for each connection from its own accept", () =>
    withMemoryRelay({}, ({ dialer, has, rejected }) =>
      Effect.gen(function*() {
        for (const _ of [1, 2, 3]) {
          yield* dialer.connect()
          yield* TestClock.adjust("5 seconds")
        }
        yield* has({ preamble: 3 })
        for (const closed of [1, 2, 3]) {
          yield* TestClock.adjust("5 seconds")
          yield* rejected("preambleTimeout", closed)
          yield* has({ preamble: 3 - closed })
        }
      })))

  it.scoped("a time that is made shorter is felt within a second, by those that run too", () =>
    Effect.gen(function*() {
      let timeoutMs = 20_000
      const expired: Array<string> = []
      const deadlines = yield* Deadlines.make<string>(() => timeoutMs, (item) => void expired.push(item))
      deadlines.start("old")
      yield* TestClock.adjust("5 seconds")
      deadlines.start("new")
      timeoutMs = 6_000
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(expired, ["old"])
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(expired, ["old"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(expired, ["old", "new"])
      assert.strictEqual(deadlines.size(), 0)
    }))
})

/** Deadlines of 10 ms whose items are called when they expire. */
const make = Effect.map(
  Deadlines.make(() => 10, (onExpired: () => void) => onExpired()),
  ({ cancel, size, start }) => ({
    size,
    start: (onExpired: () => void) => {
      start(onExpired)
      return () => cancel(onExpired)
    }
  })
)

describe("Deadlines", () => {
  it.scoped("expire in order, each once and on time", () =>
    Effect.gen(function*() {
      const deadlines = yield* make
      const expired: Array<string> = []
      deadlines.start(() => expired.push("a"))
      yield* TestClock.adjust(4)
      deadlines.start(() => expired.push("b"))
      deadlines.start(() => expired.push("c"))
      yield* TestClock.adjust(5)
      assert.deepStrictEqual(expired, [])
      assert.strictEqual(deadlines.size(), 3)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(expired, ["a"])
      yield* TestClock.adjust(4)
      assert.deepStrictEqual(expired, ["a", "b", "c"])
      assert.strictEqual(deadlines.size(), 0)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(expired, ["a", "b", "c"])
    }))

  it.scoped("a cancelled one never expires, and cancelling twice or late does nothing", () =>
    Effect.gen(function*() {
      const deadlines = yield* make
      const expired: Array<string> = []
      const cancel = deadlines.start(() => expired.push("cancelled"))
      const cancelLate = deadlines.start(() => expired.push("kept"))
      cancel()
      cancel()
      assert.strictEqual(deadlines.size(), 1)
      yield* TestClock.adjust(10)
      cancelLate()
      assert.deepStrictEqual(expired, ["kept"])
      assert.strictEqual(deadlines.size(), 0)
    }))

  it.scoped("one that is started after all others are over expires too", () =>
    Effect.gen(function*() {
      const deadlines = yield* make
      let expired = 0
      const start = () => deadlines.start(() => expired++)
      start()
      yield* TestClock.adjust(1_000)
      start()()
      yield* TestClock.adjust(1_000)
      start()
      yield* TestClock.adjust(9)
      assert.strictEqual(expired, 1)
      yield* TestClock.adjust(1)
      assert.strictEqual(expired, 2)
    }))

  it.scoped("one may start the next, and cancel another that is due with it", () =>
    Effect.gen(function*() {
      const deadlines = yield* make
      const expired: Array<string> = []
      deadlines.start(() => {
        expired.push("first")
        cancel()
        deadlines.start(() => expired.push("next"))
      })
      const cancel = deadlines.start(() => expired.push("cancelled"))
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(expired, ["first"])
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(expired, ["first", "next"])
    }))

  it.effect("none expires once the scope is closed", () =>
    Effect.gen(function*() {
      let expired = 0
      yield* Effect.scoped(Effect.map(make, (deadlines) => deadlines.start(() => expired++)))
      yield* TestClock.adjust(1_000)
      assert.strictEqual(expired, 0)
    }))

  it.scoped("are on time though somebody sets the wall clock back", () =>
    Effect.gen(function*() {
      const { clock, setAhead } = yield* settableClock
      const deadlines = yield* Effect.withClock(make, clock)
      const expired: Array<string> = []
      yield* TestClock.adjust(100)
      deadlines.start(() => expired.push("before"))
      setAhead(-50)
      deadlines.start(() => expired.push("after"))
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(expired, ["before", "after"])
    }))
})
