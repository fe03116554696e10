import { assert, describe, it } from "@effect/vitest"
import { CertDigest, Preamble, Source, SpliceToken } from "@tx3/protocol"
import type { RelayEvents } from "@tx3/relay"
import { ControlSession } from "@tx3/relay"
import { Effect, Exit, Fiber, Scope, TestClock } from "effect"
import { randomBytes } from "node:crypto"
import { Duplex } from "node:stream"
import * as Deadlines from "../src/internal/deadlines.js"

/** A control stream whose node takes a write when `takeWrite` is called, and not before. */
class Stream extends Duplex {
  readonly written: Array<Buffer> = []
  private taking: (() => void) | undefined

  override _read() {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error) => void) {
    this.written.push(chunk)
    this.taking = callback
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void) {
    this.takeWrite()
    callback(error)
  }

  takeWrite() {
    const taking = this.taking
    this.taking = undefined
    taking?.()
  }
}

const [a, b] = [Source.fromAddress("192.0.2.1"), Source.fromAddress("192.0.2.2")]

/** Lets the session's fiber and the stream's events come to rest. */
const rest = Effect.promise(() => new Promise((resolve) => setImmediate(() => setImmediate(resolve))))

const start = () =>
  Effect.gen(function*() {
    const stream = new Stream()
    const scope = yield* Scope.make()
    const writeDeadlines = yield* Deadlines.make(() => 2_000, (stall: () => void) => stall()).pipe(Scope.extend(scope))
    const session = yield* ControlSession.make({
      accepted: { id: 1, since: 0, source: Source.fromAddress("192.0.2.1") },
      node: CertDigest.fromBytes(randomBytes(32)),
      stream,
      writeDeadlines
    }).pipe(Scope.extend(scope))
    const reasons: Array<RelayEvents.EndReason> = []
    session.onEnd((reason) => reasons.push(reason))
    const serving = yield* Effect.fork(Effect.flip(session.serve))
    yield* rest
    return { close: Scope.close(scope, Exit.void), reasons, session, serving, stream }
  })

const tokens = (count: number) => Array.from({ length: count }, SpliceToken.random)

const bytesOf = (...tokens: ReadonlyArray<SpliceToken.SpliceToken>) => Buffer.concat(tokens.map(SpliceToken.toBytes))

describe("ControlSession", () => {
  it.effect("says the all-clear first, then every token in its turn", () =>
    Effect.gen(function*() {
      const { close, session, stream } = yield* start()
      const [first, second, third] = [SpliceToken.random(), SpliceToken.random(), SpliceToken.random()]
      session.deliver(first, a)
      yield* rest
      assert.deepStrictEqual(stream.written, [Buffer.from(Preamble.allClear)], "waits for the write before")
      stream.takeWrite()
      yield* rest
      session.deliver(second, a)
      session.deliver(third, a)
      stream.takeWrite()
      yield* rest
      assert.deepStrictEqual(stream.written.slice(1), [bytesOf(first), bytesOf(second, third)])
      yield* close
    }))

  it.effect("what waits is written in turns, one token of each source", () =>
    Effect.gen(function*() {
      const { close, session, stream } = yield* start()
      const [of1, of2] = [tokens(3), tokens(1)]
      of1.forEach((token) => session.deliver(token, a))
      of2.forEach((token) => session.deliver(token, b))
      stream.takeWrite()
      yield* rest
      assert.deepStrictEqual(stream.written[1], bytesOf(of1[0]!, of2[0]!, of1[1]!, of1[2]!))
      yield* close
    }))

  it.effect("a token that is withdrawn is not written, and one that was written cannot be", () =>
    Effect.gen(function*() {
      const { close, session, stream } = yield* start()
      const [first, second] = [SpliceToken.random(), SpliceToken.random()]
      session.deliver(first, a)
      session.deliver(second, a)
      assert.isTrue(session.withdraw(first, a))
      assert.isFalse(session.withdraw(first, a))
      stream.takeWrite()
      yield* rest
      assert.deepStrictEqual(stream.written[1], bytesOf(second))
      assert.isFalse(session.withdraw(second, a))
      stream.takeWrite()
      yield* rest
      session.deliver(first, a)
      assert.isTrue(session.withdraw(first, a))
      yield* rest
      assert.strictEqual(stream.written.length, 2)
      yield* close
    }))

  it.effect("controlWriteTimeoutMs: stalled, to the millisecond, if the node does not take the all-clear", () =>
    Effect.gen(function*() {
      const { reasons, serving, stream } = yield* start()
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(reasons, [])
      assert.isFalse(stream.destroyed)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(reasons, ["stalled"])
      assert.isTrue(stream.destroyed)
      assert.strictEqual((yield* Fiber.join(serving)).reason, "stalled")
    }))

  it.effect("controlWriteTimeoutMs: every write has it anew, and an idle stream has none", () =>
    Effect.gen(function*() {
      const { reasons, serving, session, stream } = yield* start()
      stream.takeWrite()
      yield* TestClock.adjust("1 day")
      for (const token of tokens(5)) {
        session.deliver(token, a)
        yield* rest
        yield* TestClock.adjust("1999 millis")
        stream.takeWrite()
        yield* rest
      }
      assert.deepStrictEqual(reasons, [])
      session.deliver(SpliceToken.random(), a)
      yield* rest
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(serving)).reason, "stalled")
    }))

  const ends: ReadonlyArray<readonly [RelayEvents.EndReason, string, (stream: Stream) => void]> = [
    ["closed", "the node ends the stream", (stream) => stream.push(null)],
    ["closed", "the stream fails", (stream) => stream.destroy(new Error("ECONNRESET"))],
    ["closed", "the stream is closed", (stream) => stream.destroy()],
    ["spoke", "the node says a word", (stream) => stream.push(Buffer.from([0]))]
  ]
  for (const [reason, name, happen] of ends) {
    it.effect(`ends, ${reason}, when ${name}`, () =>
      Effect.gen(function*() {
        const { close, reasons, serving, session, stream } = yield* start()
        stream.takeWrite()
        yield* rest
        happen(stream)
        yield* rest
        assert.deepStrictEqual(reasons, [reason])
        assert.isTrue(stream.destroyed)
        assert.strictEqual((yield* Fiber.join(serving)).reason, reason)
        session.deliver(SpliceToken.random(), a)
        yield* rest
        assert.strictEqual(stream.written.length, 1)
        yield* close
        assert.deepStrictEqual(reasons, [reason], "the first reason counts, once")
      }))
  }

  it.effect("ends, replaced, in order, once the node has taken what is being written; what waits is dropped", () =>
    Effect.gen(function*() {
      const { close, reasons, serving, session, stream } = yield* start()
      session.deliver(SpliceToken.random(), a)
      session.end("replaced")
      session.end("spoke")
      assert.deepStrictEqual(reasons, ["replaced"])
      yield* rest
      assert.isFalse(stream.destroyed)
      stream.takeWrite()
      assert.strictEqual((yield* Fiber.join(serving)).reason, "replaced")
      assert.isTrue(stream.writableFinished)
      assert.isTrue(stream.destroyed)
      yield* close
      assert.deepStrictEqual(reasons, ["replaced"])
      assert.strictEqual(stream.written.length, 1)
    }))

  it.effect("ends, replaced, after controlWriteTimeoutMs if the node takes nothing", () =>
    Effect.gen(function*() {
      const { close, reasons, serving, session, stream } = yield* start()
      session.end("replaced")
      yield* TestClock.adjust("1999 millis")
      assert.isFalse(stream.destroyed)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(serving)).reason, "replaced")
      assert.isTrue(stream.destroyed)
      yield* close
      assert.deepStrictEqual(reasons, ["replaced"])
    }))

  it.effect("ends, shutdown, with its scope", () =>
    Effect.gen(function*() {
      const { close, reasons, serving, stream } = yield* start()
      yield* close
      assert.deepStrictEqual(reasons, ["shutdown"])
      assert.isTrue(stream.destroyed)
      assert.strictEqual((yield* Fiber.join(serving)).reason, "shutdown")
    }))

  it.effect("tells of its end those that still want to know", () =>
    Effect.gen(function*() {
      const { close, session } = yield* start()
      const told: Array<string> = []
      session.onEnd(() => told.push("a"))
      const forget = session.onEnd(() => told.push("b"))
      session.onEnd(() => told.push("c"))
      forget()
      yield* close
      assert.deepStrictEqual(told, ["a", "c"])
    }))
})
