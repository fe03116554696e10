/** What a splice takes and gives back, and what is told of it while it runs. */
import { assert, describe, it } from "@effect/vitest"
import { Access, Bandwidth, RelayEvents } from "@tx3/relay"
import { Effect, Layer, TestClock } from "effect"
import type { MemoryRelay } from "./utils/memoryTransport.js"
import { withMemoryRelay } from "./utils/memoryTransport.js"

/** Policies that keep what they are told: events, and the members of `Bandwidth`. */
const watching = () => {
  const events: Array<RelayEvents.RelayEvent> = []
  const members: Array<string> = []
  return {
    events,
    members,
    carried: () => events.flatMap((event) => event._tag === "Carried" ? [[event.fromLeft, event.fromRight]] : []),
    policies: Layer.mergeAll(
      Access.layerOpen,
      Layer.succeed(Bandwidth.Bandwidth, {
        join: (node) => {
          members.push(node)
          return { rates: [], leave: () => members.splice(members.indexOf(node), 1) }
        }
      }),
      Layer.succeed(RelayEvents.RelayEvents, { publish: (event) => events.push(event) })
    )
  }
}

/** The two ends of a new splice. */
const spliced = ({ has, register, send }: MemoryRelay) =>
  Effect.gen(function*() {
    const node = yield* register
    const peer = yield* send(node.digest)
    const inside = yield* send(yield* node.control.receive(32))
    yield* has({ spliced: 2 })
    return { inside, peer }
  })

describe("Splices", () => {
  it.effect("a running one is metered every second without a snapshot, each byte once", () => {
    const { carried, policies } = watching()
    return withMemoryRelay({}, (relay) =>
      Effect.gen(function*() {
        const { inside, peer } = yield* spliced(relay)
        yield* peer.send(Buffer.alloc(10))
        yield* inside.receive(10)
        assert.deepStrictEqual(carried(), [])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(carried(), [[10, 0]])
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(carried(), [[10, 0]])
        yield* inside.send(Buffer.alloc(20))
        yield* peer.receive(20)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(carried(), [[10, 0], [0, 20]])
      }), policies)
  })

  it.effect("a snapshot includes the bytes of running ones, and publishes no event", () => {
    const { carried, events, policies } = watching()
    return withMemoryRelay({}, (relay) =>
      Effect.gen(function*() {
        const { inside, peer } = yield* spliced(relay)
        yield* peer.send(Buffer.alloc(10))
        yield* inside.receive(10)
        for (const _ of [1, 2]) {
          const { totals } = yield* relay.relay.snapshot
          assert.deepStrictEqual([totals.bytesFromPeers, totals.bytesFromNodes], [10, 0])
        }
        assert.deepStrictEqual(carried(), [])
        yield* Effect.all([peer.end, inside.end])
        yield* relay.has({ spliced: 0 })
        // What was not told before is told at the end, ahead of the end itself.
        assert.deepStrictEqual(carried(), [[10, 0]])
        assert.deepStrictEqual(events.slice(-2).map(({ _tag }) => _tag), ["Carried", "SpliceEnded"])
      }), policies)
  })

  for (const ending of ["both ends", "an operator"] as const) {
    it.effect(`one that is over by ${ending} gives back all that it took`, () => {
      const { events, members, policies } = watching()
      return withMemoryRelay({}, (relay) =>
        Effect.gen(function*() {
          const { inside, peer } = yield* spliced(relay)
          assert.lengthOf(members, 1)
          if (ending === "an operator") {
            yield* Effect.forEach(Array.from(relay.relay.splices()), ({ reset }) => reset)
          } else {
            yield* Effect.all([peer.end, inside.end])
          }
          yield* relay.has({ spliced: 0 })
          assert.deepStrictEqual([members, Array.from(relay.relay.splices())], [[], []])
          assert.lengthOf(events.filter(({ _tag }) => _tag === "SpliceEnded"), 1)
        }), policies)
    })
  }

  it.effect("those that run when the relay stops give back all that they took", () => {
    const { events, members, policies } = watching()
    return withMemoryRelay({ drainTimeoutMs: 1 }, ({ dialer, has, register, send }) =>
      Effect.gen(function*() {
        const node = yield* register
        for (const _ of [1, 2, 3]) {
          const peer = yield* dialer.connect()
          yield* peer.send(node.digest)
          yield* send(yield* node.control.receive(32))
        }
        yield* has({ spliced: 6 })
        assert.lengthOf(members, 3)
      }), policies).pipe(
        Effect.zipRight(Effect.sync(() => {
          assert.deepStrictEqual(members, [])
          assert.lengthOf(events.filter(({ _tag }) => _tag === "SpliceEnded"), 3)
        }))
      )
  })
})
