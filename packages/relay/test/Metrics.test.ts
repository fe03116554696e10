import { assert, describe, it } from "@effect/vitest"
import { RelayError, RelayEvents, RelayMetrics } from "@tx3/relay"
import { Effect, Metric, MetricState, TestClock } from "effect"
import { withMemoryRelay } from "./utils/memoryTransport.js"
import { settableClock } from "./utils/settableClock.js"

/** Every number that this process has counted under a relay's name, by name and labels. */
const counted = Effect.sync(() => {
  const values = new Map<string, number>()
  for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
    if (metricKey.name.startsWith("tx3_relay_")) {
      const labels = Array.from(metricKey.tags, ({ key, value }) => `${key}=${value}`).join(",")
      const name = labels === "" ? metricKey.name : `${metricKey.name}{${labels}}`
      values.set(
        name,
        MetricState.isCounterState(metricState)
          ? Number(metricState.count)
          : MetricState.isHistogramState(metricState)
          ? metricState.count
          : assert.fail(`${name} is neither counter nor histogram`)
      )
    }
  }
  return values
})

const sumOf = (histogram: Metric.Metric.Histogram<number>) => Effect.map(Metric.value(histogram), ({ sum }) => sum)

const seconds = Effect.all({
  timeToSplice: sumOf(RelayMetrics.timeToSplice),
  spliceDuration: sumOf(RelayMetrics.spliceDuration)
})

/** The seconds added since then. Other tests of this process have added fractions, so a difference of sums is not exact. */
const secondsSince = (before: Effect.Effect.Success<typeof seconds>) =>
  Effect.map(seconds, ({ spliceDuration, timeToSplice }) => ({
    timeToSplice: Math.round((timeToSplice - before.timeToSplice) * 1e6) / 1e6,
    spliceDuration: Math.round((spliceDuration - before.spliceDuration) * 1e6) / 1e6
  }))

describe("RelayMetrics", () => {
  it("every metric has a name that tells whose it is and what its unit is", () => {
    const all = Object.values(RelayMetrics).flatMap((metric) => "keyType" in metric ? [metric] : Object.values(metric))
    const names = new Set<string>()
    for (const metric of all) {
      metric.unsafeUpdate(0, [])
    }
    for (const { metricKey } of Metric.unsafeSnapshot()) {
      names.add(metricKey.name)
    }
    const own = Array.from(names).filter((name) => !name.startsWith("effect_"))
    assert.strictEqual(own.length, Object.keys(RelayMetrics).length)
    for (const name of own) {
      assert.match(name, /^tx3_relay_[a-z_]+_(total|seconds)$/)
    }
  })

  it("there is one for each reason", () => {
    assert.deepStrictEqual(Object.keys(RelayMetrics.rejections), [...RelayError.rejectionReasons])
    assert.deepStrictEqual(Object.keys(RelayMetrics.controlStreamsEnded), [...RelayEvents.endReasons])
  })

  it.effect("they move with the totals of a relay, and by as much", () =>
    Effect.gen(function*() {
      const before = yield* counted
      const secondsBefore = yield* seconds
      const totals = yield* withMemoryRelay({ maxRelaysPerControl: 1 }, ({ dialer, has, register, relay, send }) =>
        Effect.gen(function*() {
          const node = yield* register
          const peer = yield* send(node.digest)
          yield* has({ pending: 1 })
          yield* Effect.flatMap(send(node.digest), (surplus) =>
            surplus.closed)
          yield* TestClock.adjust("3 seconds")
          const inside = yield* send(yield* node.control.receive(32))
          yield* peer.send(Buffer.from("hello"))
          yield* inside.receive(5)
          yield* inside.send(Buffer.from("hello yourself"))
          yield* peer.receive(14)
          yield* TestClock.adjust("5 seconds")
          yield* Effect.all([peer.end, inside.end])
          yield* has({ spliced: 0 })
          yield* Effect.flatMap(send(new Uint8Array(32)), (stranger) => stranger.closed)
          yield* dialer.failAccept
          yield* node.control.end
          yield* has({ control: 0 })
          yield* Effect.flatMap(
            dialer.connect(),
            (silent) => Effect.zipRight(TestClock.adjust("20 seconds"), silent.closed)
          )
          return (yield* relay.snapshot).totals
        }))
      assert.deepStrictEqual(
        {
          ...totals,
          rejections: Object.fromEntries(
            Object.entries(totals.rejections).filter(([, count]) =>
              count > 0
            )
          ),
          controlStreamsEnded: Object.fromEntries(
            Object.entries(totals.controlStreamsEnded).filter(([, count]) => count > 0)
          )
        },
        {
          accepted: 6,
          acceptErrors: 1,
          rejections: { maxRelaysPerControl: 1, preambleTimeout: 1, unknownPreamble: 1 },
          controlStreams: 1,
          controlStreamsEnded: { closed: 1 },
          splices: 1,
          unclaimedTokens: 0,
          bytesFromPeers: 5,
          bytesFromNodes: 14
        }
      )

      const after = yield* counted
      const moved = Array.from(after, ([name, value]) => [name, value - (before.get(name) ?? 0)] as const)
      assert.deepStrictEqual(Object.fromEntries(moved.filter(([, difference]) => difference !== 0)), {
        "tx3_relay_accepted_total": 6,
        "tx3_relay_accept_errors_total": 1,
        "tx3_relay_rejections_total{reason=maxRelaysPerControl}": 1,
        "tx3_relay_rejections_total{reason=preambleTimeout}": 1,
        "tx3_relay_rejections_total{reason=unknownPreamble}": 1,
        "tx3_relay_control_streams_total": 1,
        "tx3_relay_control_streams_ended_total{reason=closed}": 1,
        "tx3_relay_splices_total": 1,
        "tx3_relay_carried_bytes_total{from=node}": 14,
        "tx3_relay_carried_bytes_total{from=peer}": 5,
        "tx3_relay_time_to_splice_seconds": 1,
        "tx3_relay_splice_duration_seconds": 1
      })
      assert.deepStrictEqual(yield* secondsSince(secondsBefore), { timeToSplice: 3, spliceDuration: 5 })
    }))

  it.effect("durations are right though somebody sets the wall clock", () =>
    Effect.gen(function*() {
      const testClock = yield* Effect.clock
      const adjust = (seconds: number) => TestClock.adjust(`${seconds} seconds`).pipe(Effect.withClock(testClock))
      const { clock, setAhead } = yield* settableClock
      const before = yield* seconds
      yield* withMemoryRelay({}, ({ has, register, send }) =>
        Effect.gen(function*() {
          const node = yield* register
          const peer = yield* send(node.digest)
          yield* has({ pending: 1 })
          yield* adjust(3)
          setAhead(-3_600_000)
          const inside = yield* send(yield* node.control.receive(32))
          yield* has({ spliced: 2 })
          yield* adjust(5)
          setAhead(7_200_000)
          yield* Effect.all([peer.end, inside.end])
          yield* has({ spliced: 0 })
        })).pipe(Effect.withClock(clock))
      assert.deepStrictEqual(yield* secondsSince(before), { timeToSplice: 3, spliceDuration: 5 })
    }))
})
