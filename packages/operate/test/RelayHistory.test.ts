/**
 * What is kept of a relay: events in words, samples, and who carried most.
 */
import { assert, describe, it } from "@effect/vitest"
import { LogLevelSwitch, RelayJournal } from "@tx3/operate"
import { Source } from "@tx3/protocol"
import { RelayError, RelayEvents, RelayTest } from "@tx3/relay"
import { Effect, FastCheck, Layer, Logger, LogLevel, TestClock } from "effect"
import { digestOf, liveSettings, logTo } from "../../policy/test/utils/operated.js"
import { settableClock } from "../../relay/test/utils/settableClock.js"
import { Talkers } from "../src/internal/talkers.js"
import { withOperatedRelay } from "./utils/operatedRelay.js"

const rejected = (connection: number): RelayEvents.RelayEvent => ({
  _tag: "Rejected",
  connection,
  source: Source.fromAddress(`192.0.2.${connection % 250}`),
  reason: "maxInboundPerIp"
})

const refused = "this address has reached its limit of 7 connections that are neither a node nor spliced"

const journal = Layer.provide(RelayJournal.layer, liveSettings(() => ({ maxInboundPerIp: 7, maxSocketsPerIp: 9 })))

describe("RelayJournal", () => {
  it.effect("tells what happens once, and every ten seconds how much more there was of it", () =>
    Effect.gen(function*() {
      const journal = yield* RelayJournal.RelayJournal
      const { publish } = yield* RelayEvents.RelayEvents
      for (let connection = 1; connection <= 50; connection++) {
        publish(rejected(connection))
      }
      publish({
        _tag: "ControlStreamBegan",
        connection: 60,
        node: digestOf(1),
        source: Source.fromAddress("192.0.2.1")
      })
      journal.note("something")
      assert.deepStrictEqual(journal.recent().map(({ kind, text }) => `${kind}: ${text}`), [
        `rejection: 192.0.2.1: ${refused}`,
        `node: node ${digestOf(1).slice(0, 8)} registered from 192.0.2.1`,
        "operator: something"
      ])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(journal.recent().slice(3).map(({ text }) => text), [
        `49 more like this; the last: 192.0.2.50: ${refused}`
      ])
      publish(rejected(7))
      assert.strictEqual(journal.recent().at(-1)!.text, `192.0.2.7: ${refused}`)
    }).pipe(Effect.provide(journal)))

  it.effect("goes on after the wall clock was set back by an hour", () =>
    Effect.gen(function*() {
      const { clock, setAhead } = yield* settableClock
      yield* Effect.gen(function*() {
        const journal = yield* RelayJournal.RelayJournal
        const { publish } = yield* RelayEvents.RelayEvents
        publish(rejected(1))
        publish(rejected(2))
        setAhead(-3_600_000)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(journal.recent().slice(1).map(({ text }) => text), [
          `1 more like this; the last: 192.0.2.2: ${refused}`
        ])
        publish(rejected(3))
        const last = journal.recent().at(-1)!
        assert.deepStrictEqual([last.text, last.at], [`192.0.2.3: ${refused}`, 10_000 - 3_600_000])
      }).pipe(Effect.provide(yield* Layer.build(journal).pipe(Effect.withClock(clock))))
    }).pipe(Effect.scoped))

  it.effect("has words for all that happens", () =>
    Effect.gen(function*() {
      const journal = yield* RelayJournal.RelayJournal
      const { publish } = yield* RelayEvents.RelayEvents
      const party = { connection: 1, node: digestOf(1), source: Source.fromAddress("192.0.2.1") }
      RelayError.rejectionReasons.forEach((reason) => publish({ ...rejected(1), reason } as RelayEvents.RelayEvent))
      RelayEvents.endReasons.forEach((reason) => publish({ _tag: "ControlStreamEnded", ...party, reason }))
      publish({
        _tag: "SpliceEnded",
        ...party,
        durationMs: 12_400,
        fromLeft: 4_000_000,
        fromRight: 194_304,
        outcome: "completed"
      })
      const texts = journal.recent().map(({ text }) => text)
      assert.strictEqual(texts.length, RelayError.rejectionReasons.length + RelayEvents.endReasons.length + 1)
      texts.forEach((text) => assert.notMatch(text, /NaN|undefined|[a-z][A-Z]/))
      assert.include(texts, "192.0.2.1: this address has reached its limit of 4 nodes")
      assert.include(
        texts,
        `192.0.2.1 with node ${digestOf(1).slice(0, 8)}: both sides were done, after 12 s and 4.19 MB`
      )
    }).pipe(Effect.provide(journal)))

  it.effect("keeps the last hundred", () =>
    Effect.gen(function*() {
      const journal = yield* RelayJournal.RelayJournal
      for (let number = 0; number < 250; number++) {
        journal.note(`${number}`)
      }
      assert.deepStrictEqual(
        journal.recent().map(({ text }) => text),
        Array.from({ length: 100 }, (_, i) => `${150 + i}`)
      )
    }).pipe(Effect.provide(journal)))
})

describe("Talkers", () => {
  it("adds up the last 15 minutes, and forgets what is older", () => {
    const talkers = new Talkers()
    talkers.add("a", 1, 0)
    talkers.add("a", 2, 14 * 60_000)
    talkers.add("b", 4, 14.5 * 60_000)
    talkers.add("c", 0, 14.5 * 60_000)
    assert.deepStrictEqual(Object.fromEntries(talkers.bytes(14.9 * 60_000)), { a: 3, b: 4 })
    assert.deepStrictEqual(Object.fromEntries(talkers.bytes(15 * 60_000)), { a: 2, b: 4 })
    assert.strictEqual(talkers.bytes(30 * 60_000).size, 0)
  })

  it("keeps those that carry most, in bounded memory", () =>
    FastCheck.assert(
      FastCheck.property(FastCheck.integer({ min: 2_500, max: 20_000 }), (count) => {
        const talkers = new Talkers()
        for (let number = 0; number < count; number++) {
          talkers.add(`${number}`, 1, 0)
          talkers.add("much", 100, 0)
        }
        const bytes = talkers.bytes(0)
        assert.isAtMost(bytes.size, 2_001)
        assert.strictEqual(bytes.get("much"), 100 * count)
      }),
      { numRuns: 10 }
    ))
})

describe("RelayHistory", () => {
  it.live("counts what splices carried once, whether they run or have ended", () =>
    withOperatedRelay({}, ({ address, history }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const name = node.identity.digest.slice(0, 8)
        const { node: inside, peer } = yield* RelayTest.splice(node)
        const bytesOf = Effect.map(history.status, ({ top }) => top.nodes.byBytes.find((_) => _.name === name)?.bytes)
        yield* peer.send(Buffer.alloc(700))
        yield* inside.receive(700)
        // A running splice is metered every second.
        yield* RelayTest.eventually(Effect.map(bytesOf, (bytes) => bytes === 700))
        yield* inside.send(Buffer.alloc(300))
        yield* peer.receive(300)
        yield* Effect.all([peer.end, inside.end])
        yield* RelayTest.eventually(Effect.map(history.status, ({ splices }) => splices === 0))
        assert.strictEqual(yield* bytesOf, 1_000)
        const { top, totals } = yield* history.status
        assert.deepStrictEqual(top.sources.byBytes, [{ name: "127.0.0.1", splices: 0, bytes: 1_000 }])
        assert.strictEqual(totals.bytesFromPeers + totals.bytesFromNodes, 1_000)
        assert.isAtLeast(history.samples().length, 1)
      })))

  it.live("remembers 15 minutes, whatever the wall clock is set to", () =>
    Effect.gen(function*() {
      const { clock, setAhead } = yield* settableClock
      yield* withOperatedRelay({}, ({ address, history }) =>
        Effect.gen(function*() {
          const { node: inside, peer } = yield* RelayTest.splice(yield* RelayTest.register(address))
          yield* peer.send(Buffer.alloc(700))
          yield* inside.receive(700)
          const bytes = Effect.map(history.status, ({ top }) => top.sources.byBytes.map(({ bytes }) => bytes))
          yield* RelayTest.eventually(Effect.map(bytes, ([bytes]) => bytes === 700))
          setAhead(3_600_000)
          assert.deepStrictEqual(yield* bytes, [700])
        })).pipe(Effect.withClock(clock))
    }))
})

describe("LogLevelSwitch", () => {
  it.effect("changes what is logged by fibers that run already", () => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const level = yield* LogLevelSwitch.LogLevelSwitch
      yield* Effect.logInfo("one")
      level.set(LogLevel.Warning)
      yield* Effect.logInfo("two")
      yield* Effect.logWarning("three")
      level.set(LogLevel.Info)
      yield* Effect.logInfo("four")
      assert.deepStrictEqual(lines, ["INFO one", "WARN three", "INFO four"])
    }).pipe(
      Effect.provide([LogLevelSwitch.layer, logTo(lines)]),
      Logger.withMinimumLogLevel(LogLevel.Info)
    )
  })
})

describe("suspectedProxy", () => {
  it.live("is the source that has most of the sockets while few are left, and nobody before", () =>
    withOperatedRelay(
      { maxInboundConnections: 20, maxRelaysPerControl: 1 },
      ({ address, history, relay }) =>
        Effect.gen(function*() {
          const sockets = (count: number) =>
            Effect.zipRight(
              Effect.replicateEffect(RelayTest.connect(address, { localAddress: "127.0.0.2" }), count),
              RelayTest.eventually(
                Effect.map(history.status, ({ limits }) =>
                  limits.some(({ name, used }) => name === "maxShareOfRelay" && used === total + count))
              )
            )
          let total = 0
          yield* sockets(15)
          assert.isNull((yield* history.status).suspectedProxy)
          total = 15
          yield* sockets(1)
          assert.deepStrictEqual((yield* history.status).suspectedProxy, { source: "127.0.0.2", connections: 16 })
          assert.strictEqual(relay.sources().size, 1)
        })
    ))
})
