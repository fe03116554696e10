/** How splices end other than by silence: by resets and by closing; and what is left of them. */
import type { Transport } from "@tx3/transport"
import { Rate } from "@tx3/transport"
import { Effect } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import type { Link, Spliced } from "../fixtures.js"
import { arrived, echoes, heap, hungUp, listening, megabyte, sides, splice, spliced, stalled } from "../fixtures.js"
import { generator } from "../random.js"
import { eventually, openSockets, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const endingTests: Subject = (test) => {
  for (const first of ["left", "right"] as const) {
    test(
      `a reset of the ${first} side resets the other`,
      Effect.gen(function*() {
        const pair = yield* spliced()
        const [one, other] = sides(pair, first)
        yield* echoes(one, other)
        one.client.reset()
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
        const counts = { fromLeft: 6, fromRight: 6 }
        assert.deepStrictEqual(yield* pair.report, { ...counts, outcome: "reset" })
        assert.deepStrictEqual(pair.carried(), counts)
      })
    )

    test(
      `a reset of the ${first} side right behind unread data resets the other`,
      Effect.gen(function*() {
        const pair = yield* spliced()
        const [one, other] = sides(pair, first)
        one.client.socket.write(payload(1_000))
        one.client.reset()
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
        assert.strictEqual((yield* pair.report).outcome, "reset")
      })
    )

    test(
      `a reset of the ${first} side right behind unread data, after the other's FIN, resets the other`,
      Effect.gen(function*() {
        const pair = yield* spliced()
        const [one, other] = sides(pair, first)
        other.client.socket.end("request")
        yield* one.client.readAll
        yield* turns(20)
        one.client.socket.write("half a resp")
        one.client.reset()
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
        assert.strictEqual((yield* pair.report).outcome, "reset")
      })
    )

    test(
      `a reset of the ${first} side after its own FIN resets the other`,
      Effect.gen(function*() {
        const pair = yield* spliced()
        const [one, other] = sides(pair, first)
        one.client.socket.end("request")
        yield* other.client.readAll
        one.client.reset()
        yield* eventually("the reset", () => {
          other.client.socket.write("response")
          return other.client.ending === "reset"
        })
        assert.strictEqual((yield* pair.report).outcome, "reset")
      })
    )

    test(
      `a reset of the ${first} side while the other does not read resets the other`,
      Effect.gen(function*() {
        const pair = yield* spliced(first === "left" ? { rightReads: false } : { leftReads: false })
        const [one, other] = sides(pair, first)
        one.client.socket.write(payload(1_000))
        yield* turns(20)
        one.client.reset()
        assert.strictEqual((yield* pair.report).outcome, "reset")
        other.client.startReading()
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
      })
    )
  }

  test(
    "a reset before the splice began resets the other",
    Effect.gen(function*() {
      const listener = yield* listening()
      const gone = yield* arrived(listener)
      gone.client.reset()
      yield* hungUp(gone)
      for (const goneFirst of [true, false]) {
        const other = yield* arrived(listener)
        const gone = yield* arrived(listener, { behind: payload(100) })
        gone.client.socket.write(payload(100))
        gone.client.reset()
        yield* hungUp(gone)
        const { report } = goneFirst ? yield* splice(gone, other) : yield* splice(other, gone)
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
        assert.strictEqual((yield* report).outcome, "reset")
      }
      const alsoGone = yield* arrived(listener)
      alsoGone.client.reset()
      yield* hungUp(alsoGone)
      assert.strictEqual((yield* (yield* splice(gone, alsoGone)).report).outcome, "reset")
    })
  )

  test(
    "a connection that was closed just before the splice ends it, with one report",
    Effect.gen(function*() {
      const listener = yield* listening()
      for (const closedFirst of [true, false]) {
        const closed = yield* arrived(listener)
        const other = yield* arrived(listener)
        yield* closed.connection.close
        const { report } = closedFirst ? yield* splice(closed, other) : yield* splice(other, closed)
        yield* report
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
      }
    })
  )

  test(
    "closing right after a FIN has been passed on ends both",
    Effect.gen(function*() {
      const listener = yield* listening()
      for (const endedFirst of [true, false]) {
        for (const closeEnded of [true, false]) {
          const ended = yield* arrived(listener)
          const other = yield* arrived(listener)
          ended.client.socket.end()
          yield* hungUp(ended)
          const { report } = endedFirst ? yield* splice(ended, other) : yield* splice(other, ended)
          yield* (closeEnded ? ended : other).connection.close
          assert.strictEqual((yield* report).outcome, "closed")
          assert.strictEqual((yield* ended.client.readAll).ending, "reset")
        }
      }
    })
  )

  test(
    "a stalled sender's reset arrives behind its data",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ rightReads: false })
      left.client.stream(payload(heap))
      yield* stalled(left.client)
      left.client.reset()
      right.client.startReading()
      assert.strictEqual((yield* right.client.readAll).ending, "reset")
      assert.strictEqual((yield* report).outcome, "reset")
    })
  )

  test(
    "a reset of the side that does not read ends a stalled sender",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ rightReads: false })
      left.client.stream(payload(heap))
      yield* stalled(left.client)
      right.client.reset()
      assert.strictEqual((yield* left.client.readAll).ending, "reset")
      assert.strictEqual((yield* report).outcome, "reset")
    })
  )

  for (const first of ["left", "right"] as const) {
    for (
      const [state, options, prepare] of [
        ["that is open", {}, ({ left, right }: Spliced): Effect.Effect<unknown> => echoes(left, right)],
        ["that has not carried anything", {}, () => Effect.void],
        [
          "that is stalled",
          { rightReads: false },
          ({ left }: Spliced) =>
            Effect.zipRight(Effect.sync(() => left.client.stream(payload(heap))), stalled(left.client))
        ],
        [
          "that is half-closed",
          {},
          ({ left, right }: Spliced) =>
            Effect.zipRight(Effect.sync(() => left.client.socket.end()), right.client.readAll)
        ],
        ["that is half-closed behind a stall", { rightReads: false }, ({ left }: Spliced) =>
          Effect.zipRight(
            Effect.sync(() => left.client.socket.end(payload(heap))),
            turns(50)
          )]
      ] as const
    ) {
      test(
        `closing the ${first} connection of a splice ${state} resets both`,
        Effect.gen(function*() {
          const before = openSockets()
          const pair = yield* spliced(options)
          yield* prepare(pair)
          const [one] = sides(pair, first)
          yield* one.connection.close
          assert.strictEqual((yield* pair.report).outcome, "closed")
          yield* pair.left.connection.close
          yield* pair.right.connection.close
          yield* eventually("two closed descriptors", () => openSockets() <= before + 3)
          for (const { client } of [pair.left, pair.right]) {
            client.startReading()
            yield* client.readAll
            yield* client.wasReset
          }
        })
      )
    }
  }

  test(
    "200 splices that end in every way give back every descriptor",
    Effect.gen(function*() {
      const listener = yield* listening()
      const before = openSockets()
      const random = generator(20_240_607)
      const ways = Object.entries(waysToEnd)
      const order = Array.from({ length: 200 }, (_, index) => ({
        at: random(),
        mirrored: random() < 0.5,
        way: ways[index % ways.length]!
      })).sort((one, other) => one.at - other.at)
      yield* Effect.forEach(order, ({ mirrored, way: [name, way] }) =>
        Effect.gen(function*() {
          const one = yield* arrived(listener)
          const other = yield* arrived(listener, { reading: way.otherReads ?? true })
          yield* way.before?.(one, other) ?? Effect.void
          const { report } = yield* mirrored ? splice(other, one, way.options) : splice(one, other, way.options)
          yield* way.after?.(one, other) ?? Effect.void
          assert.strictEqual((yield* report).outcome, way.outcome, name)
        }).pipe(Effect.scoped), { concurrency: 8, discard: true })
      yield* eventually(`${before} open sockets`, () => openSockets() === before)
    })
  )
}

interface Way {
  readonly outcome: Transport.SpliceOutcome
  readonly options?: Partial<Transport.SpliceOptions>
  /** False: the other client does not read. */
  readonly otherReads?: boolean
  /** Before the splice. */
  readonly before?: (one: Link, other: Link) => Effect.Effect<unknown>
  readonly after?: (one: Link, other: Link) => Effect.Effect<unknown>
}

const waysToEnd: Record<string, Way> = {
  "one after the other": {
    outcome: "completed",
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(100_000))
        yield* other.client.readAll
        other.client.socket.end(payload(100_000))
        yield* one.client.readAll
      })
  },
  "both at once": {
    outcome: "completed",
    after: (one, other) =>
      Effect.sync(() => {
        one.client.socket.end(payload(10_000))
        other.client.socket.end(payload(10_000))
      })
  },
  "both before": {
    outcome: "completed",
    before: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end()
        other.client.socket.end()
        yield* hungUp(one)
        yield* hungUp(other)
      })
  },
  "reset": { outcome: "reset", after: (one) => Effect.sync(() => one.client.reset()) },
  "reset behind data": {
    outcome: "reset",
    after: (one) =>
      Effect.sync(() => {
        one.client.socket.write(payload(10_000))
        one.client.reset()
      })
  },
  "reset before": {
    outcome: "reset",
    before: (one) => Effect.zipRight(Effect.sync(() => one.client.reset()), hungUp(one))
  },
  "reset of both": {
    outcome: "reset",
    after: (one, other) =>
      Effect.sync(() => {
        one.client.reset()
        other.client.reset()
      })
  },
  "reset of a side that does not read": {
    outcome: "reset",
    otherReads: false,
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.write(payload(heap))
        yield* turns(10)
        other.client.reset()
      })
  },
  "linger": {
    outcome: "lingered",
    options: { lingerTimeoutMs: 20 },
    after: (one) => Effect.sync(() => one.client.socket.end())
  },
  "linger behind a stall": {
    outcome: "lingered",
    options: { lingerTimeoutMs: 20 },
    otherReads: false,
    after: (one, other) =>
      Effect.sync(() => {
        one.client.socket.end(payload(heap))
        other.client.socket.end()
      })
  },
  "idle": { outcome: "idle", options: { idleTimeoutMs: 20 } },
  "idle behind a stall": {
    outcome: "idle",
    options: { idleTimeoutMs: 20 },
    otherReads: false,
    after: (one) => Effect.sync(() => one.client.socket.write(payload(heap)))
  },
  "closed": { outcome: "closed", after: (one) => one.connection.close },
  "closed half-closed": {
    outcome: "closed",
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end()
        yield* other.client.readAll
        yield* other.connection.close
      })
  },
  "closed behind a stall": {
    outcome: "closed",
    otherReads: false,
    after: (one) =>
      Effect.gen(function*() {
        one.client.socket.write(payload(heap))
        yield* turns(10)
        yield* one.connection.close
      })
  },
  "one after the other under a rate": {
    outcome: "completed",
    options: { rates: [Rate.make(2 * megabyte)] },
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(100_000))
        yield* other.client.readAll
        other.client.socket.end(payload(100_000))
        yield* one.client.readAll
      })
  },
  "reset behind data under a rate": {
    outcome: "reset",
    options: { rates: [Rate.make(megabyte)] },
    after: (one) =>
      Effect.sync(() => {
        one.client.socket.write(payload(10_000))
        one.client.reset()
      })
  },
  "closed while it waits for its rate": {
    outcome: "closed",
    options: { rates: [Rate.make(1_000)] },
    after: (one) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(100_000))
        yield* turns(10)
        yield* one.connection.close
      })
  },
  "closed half-closed behind a stall": {
    outcome: "closed",
    otherReads: false,
    after: (one) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(heap))
        yield* turns(10)
        yield* one.connection.close
      })
  }
}
