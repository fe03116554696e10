/** Splices under rates. */
import type { Transport } from "@tx3/transport"
import { Rate } from "@tx3/transport"
import { Effect } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import type { Spliced } from "../fixtures.js"
import {
  arrived,
  echoes,
  greedy,
  heap,
  insideFromLeft,
  keptMax,
  listening,
  mebibyte,
  megabyte,
  pump,
  pumpBothWays,
  sha256,
  sides,
  splice,
  spliced,
  stalled,
  sum,
  timers
} from "../fixtures.js"
import { eventually, kernelSocket, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const rateTests: Subject = (test) => {
  test(
    "bytes of both sides arrive complete, each behind the other's half-close, and no sooner than the rate allows",
    Effect.gen(function*() {
      const bytesPerSecond = 8 * mebibyte
      const { left, report, right } = yield* spliced({ rates: [Rate.make(bytesPerSecond)] })
      const [fromLeft, fromRight] = [payload(4 * mebibyte), payload(3 * mebibyte)]
      const began = performance.now()
      left.client.socket.end(fromLeft)
      right.client.socket.end(fromRight)
      const [atLeft, atRight] = yield* Effect.all([left.client.readAll, right.client.readAll], {
        concurrency: "unbounded"
      })
      const seconds = (performance.now() - began) / 1_000
      assert.deepStrictEqual([atLeft.ending, atRight.ending], ["end", "end"])
      assert.strictEqual(sha256(atLeft.bytes), sha256(fromRight))
      assert.strictEqual(sha256(atRight.bytes), sha256(fromLeft))
      assert.deepStrictEqual(yield* report, {
        fromLeft: fromLeft.length,
        fromRight: fromRight.length,
        outcome: "completed"
      })
      assert.isAtLeast(seconds, (fromLeft.length + fromRight.length) / bytesPerSecond - burst)
    })
  )

  test(
    "a response comes at the rate when the request's side is closed",
    Effect.gen(function*() {
      const { left, report, right } = yield* spliced({ rates: [Rate.make(4 * mebibyte)] })
      const response = payload(2 * mebibyte)
      left.client.socket.end("request")
      assert.strictEqual((yield* right.client.readAll).bytes.toString(), "request")
      const began = performance.now()
      right.client.socket.end(response)
      const got = yield* left.client.readAll
      assert.isTrue(got.bytes.equals(response))
      assert.strictEqual(got.ending, "end")
      assert.isAtLeast((performance.now() - began) / 1_000, 0.5 - burst)
      assert.strictEqual((yield* report).outcome, "completed")
    })
  )

  test(
    "a splice keeps to its rate, both sides together, and they share it",
    Effect.gen(function*() {
      const pair = yield* spliced({ ...greedy, rates: [Rate.make(megabyte)] })
      yield* pumpBothWays(pair)
      const [carried] = yield* flow([pair], ([carried]) => reaches(sum(carried), megabyte))
      holds(sum(carried), carried.seconds, megabyte)
      assert.isAbove(Math.min(carried.fromLeft, carried.fromRight), sum(carried) / 4)
    })
  )

  test(
    "splices that share a rate keep to it together, and get equal shares",
    Effect.gen(function*() {
      const options = { ...greedy, rates: [Rate.make(4 * megabyte)] }
      const pairs = [yield* spliced(options), yield* spliced(options), yield* spliced(options)]
      yield* Effect.forEach(pairs, ({ left, right }) => pump(left.client, right.client))
      const total = (flows: ReadonlyArray<Flow>) => flows.reduce((all, { fromLeft }) => all + fromLeft, 0)
      const flows = yield* flow(pairs, (flows) => reaches(total(flows), 4 * megabyte))
      const all = total(flows)
      holds(all, flows[0].seconds, 4 * megabyte)
      for (const { fromLeft } of flows) {
        assert.isAbove(fromLeft, all / 6)
      }
    })
  )

  test(
    "a splice keeps to each of its rates",
    Effect.gen(function*() {
      const [own, shared] = [Rate.make(megabyte), Rate.make(4 * megabyte)]
      const narrow = yield* spliced({ ...greedy, rates: [shared, own] })
      const wide = yield* spliced({ ...greedy, rates: [shared] })
      yield* Effect.forEach([narrow, wide], ({ left, right }) => pump(left.client, right.client))
      const [inNarrow, inWide] = yield* flow(
        [narrow, wide],
        ([inNarrow, inWide]) =>
          reaches(inNarrow.fromLeft, megabyte) && reaches(inNarrow.fromLeft + inWide.fromLeft, 4 * megabyte)
      )
      holds(inNarrow.fromLeft, inNarrow.seconds, megabyte)
      holds(inNarrow.fromLeft + inWide.fromLeft, inWide.seconds, 4 * megabyte)
      assert.isAbove(inWide.fromLeft, 1.5 * inNarrow.fromLeft)
    })
  )

  for (const [how, to] of [["raised", 64 * megabyte], ["lifted", undefined]] as const) {
    test(
      `a rate that is ${how} lets a running splice go`,
      Effect.gen(function*() {
        const rate = Rate.make(1_000)
        const { carried, left, right } = yield* spliced({ rates: [rate] })
        const bytes = payload(8 * mebibyte)
        left.client.socket.write(bytes)
        yield* right.client.read(1_000)
        yield* turns(20)
        assert.isBelow(carried().fromLeft, 100_000)
        rate.set(to)
        assert.isTrue((yield* right.client.read(bytes.length - 1_000)).equals(bytes.subarray(1_000)))
      })
    )
  }

  for (const [how, from] of [["lowered", 400 * megabyte], ["set", undefined]] as const) {
    test(
      `a rate that is ${how} holds for a running splice`,
      Effect.gen(function*() {
        const rate = Rate.make(from)
        const pair = yield* spliced({ ...greedy, rates: [rate] })
        yield* pumpBothWays(pair)
        yield* eventually("a flow", () => Math.min(...Object.values(pair.carried())) > 4 * mebibyte)
        rate.set(2 * megabyte)
        const [carried] = yield* flow([pair])
        // What either direction was taking just then, by the rate of before.
        const before = 2 * mebibyte
        assert.isAtMost(sum(carried), (carried.seconds + burst) * 2 * megabyte + before)
        assert.isAtLeast(sum(carried), reached * 2 * megabyte)
      })
    )
  }

  test(
    "a running splice that began without rates is put under one",
    Effect.gen(function*() {
      const pair = yield* spliced(greedy)
      yield* pumpBothWays(pair)
      yield* eventually("a flow", () => Math.min(...Object.values(pair.carried())) > 4 * mebibyte)
      pair.limit([Rate.make(2 * megabyte)])
      // A worker hears of it while both directions still go as fast as they can.
      let before = { at: performance.now(), bytes: Infinity }
      yield* eventually("a slower flow", () => {
        const now = { at: performance.now(), bytes: sum(pair.carried()) }
        if (now.at - before.at < 100) {
          return false
        }
        const bytesPerMs = (now.bytes - before.bytes) / (now.at - before.at)
        before = now
        return bytesPerMs >= 0 && bytesPerMs < 4 * megabyte / 1_000
      })
      const [carried] = yield* flow([pair])
      assert.isAtMost(sum(carried), (carried.seconds + burst) * 2 * megabyte + 2 * mebibyte)
      assert.isAtLeast(sum(carried), reached * 2 * megabyte)
    })
  )

  test(
    "a splice that carries little has its turns though others want all of its rate",
    Effect.gen(function*() {
      const options = { rates: [Rate.make(megabyte)] }
      const bulk = [yield* spliced({ ...options, ...greedy }), yield* spliced({ ...options, ...greedy })]
      yield* Effect.forEach(bulk, pumpBothWays)
      const { left, right } = yield* spliced(options)
      const tripMs: Array<number> = []
      for (let trip = 0; trip < 10; trip++) {
        const began = performance.now()
        yield* echoes(left, right)
        tripMs.push(performance.now() - began)
      }
      // Two turns; what a busy machine adds to some is beside the point.
      tripMs.sort((one, other) => one - other)
      assert.isBelow(tripMs[5]!, 400)
    })
  )

  test(
    "a splice that waits for its rate is not idle",
    Effect.gen(function*() {
      const listener = yield* listening()
      const bytes = payload(16_000)
      const left = yield* arrived(listener, { behind: bytes })
      const right = yield* arrived(listener)
      // A piece comes every 100 ms or so.
      const { report } = yield* splice(left, right, { idleTimeoutMs: 30, rates: [Rate.make(20_000)] })
      assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
      assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 0, outcome: "idle" })
    })
  )

  test(
    "a half-closed splice that waits for its rate does not linger",
    Effect.gen(function*() {
      const listener = yield* listening()
      const bytes = payload(16_000)
      const left = yield* arrived(listener, { behind: bytes })
      const right = yield* arrived(listener)
      const { report } = yield* splice(left, right, { lingerTimeoutMs: 30, rates: [Rate.make(20_000)] })
      right.client.socket.end()
      yield* left.client.readAll
      left.client.socket.end()
      const got = yield* right.client.readAll
      assert.isTrue(got.bytes.equals(bytes))
      assert.strictEqual(got.ending, "end")
      assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 0, outcome: "completed" })
    })
  )

  test(
    "a splice under a rate that its receiver stalls is idle",
    Effect.gen(function*() {
      const { left, report } = yield* spliced({
        idleTimeoutMs: 200,
        rates: [Rate.make(64 * megabyte)],
        rightReads: false
      })
      left.client.stream(payload(heap))
      assert.strictEqual((yield* report).outcome, "idle")
    })
  )

  for (const first of ["left", "right"] as const) {
    test(
      `closing the ${first} connection of a splice that waits for its rate resets both at once, and nothing waits on`,
      Effect.gen(function*() {
        const before = timers()
        const pair = yield* spliced({ rates: [dripping()] })
        pair.left.client.socket.write(payload(10_000))
        pair.right.client.socket.write(payload(10_000))
        yield* eventually("a first piece", () => sum(pair.carried()) > 0)
        const [one] = sides(pair, first)
        yield* one.connection.close
        assert.strictEqual((yield* pair.report).outcome, "closed")
        assert.isBelow(sum(pair.carried()), 10_000)
        assert.strictEqual((yield* pair.left.client.readAll).ending, "reset")
        assert.strictEqual((yield* pair.right.client.readAll).ending, "reset")
        yield* eventually("no more timers than before", () => timers() <= before)
      })
    )

    test(
      `a reset of the ${first} side ends a splice whose other side waits for its rate, and nothing waits on`,
      Effect.gen(function*() {
        const before = timers()
        const pair = yield* spliced({ rates: [dripping()] })
        const [one, other] = sides(pair, first)
        other.client.socket.write(payload(10_000))
        yield* one.client.read(1)
        one.client.reset()
        assert.strictEqual((yield* pair.report).outcome, "reset")
        assert.strictEqual((yield* other.client.readAll).ending, "reset")
        yield* eventually("no more timers than before", () => timers() <= before)
      })
    )
  }

  test(
    "a receiver that does not read stalls a sender under a rate, and everything arrives when it reads",
    Effect.gen(function*() {
      const pair = yield* spliced({ rates: [Rate.make(32 * megabyte)], rightReads: false })
      const { left, report, right } = pair
      const bytes = payload(heap)
      left.client.stream(bytes)
      yield* stalled(left.client)
      assert.isBelow(left.client.accepted, bytes.length)
      assert.isBelow(insideFromLeft(pair), keptMax)
      assert.isBelow(untaken(pair), keptMax)
      right.client.startReading()
      assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
      left.client.socket.end()
      right.client.socket.end()
      assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 0, outcome: "completed" })
    })
  )

  test(
    "a rate stalls a sender, and little is kept",
    Effect.gen(function*() {
      const rate = Rate.make(1)
      const pair = yield* spliced({ rates: [rate] })
      const bytes = payload(heap)
      pair.left.client.stream(bytes)
      yield* stalled(pair.left.client)
      assert.isBelow(pair.left.client.accepted, bytes.length)
      assert.isBelow(untaken(pair), keptMax)
      rate.set(undefined)
      assert.isTrue((yield* pair.right.client.read(bytes.length)).equals(bytes))
    })
  )
}

/** What a rate lets through at once, in seconds of it, and how many seconds of it have to come in the end. */
const burst = 0.21
const reached = 0.5

/** A busy machine takes longer than a second for what an idle one takes half of. */
const windowsMax = 30

const reaches = (bytes: number, bytesPerSecond: number) => bytes >= reached * bytesPerSecond

/** Whose second piece comes after minutes. */
const dripping = () => Rate.make(1)

interface Flow extends Transport.Carried {
  /** Not less than it took. */
  readonly seconds: number
}

/** What splices carry in a second, once all of them carry something, or in as many as it takes to be enough. */
const flow = (
  pairs: ReadonlyArray<Spliced>,
  isEnough: (flows: readonly [Flow, Flow]) => boolean = () => true
) =>
  Effect.gen(function*() {
    const counts = () => pairs.map(({ carried }) => carried())
    yield* eventually("a flow", () => counts().every(({ fromLeft }) => fromLeft > 0))
    const began = performance.now()
    const before = counts()
    for (let window = 1;; window++) {
      yield* Effect.sleep("1 second")
      const after = counts()
      const seconds = (performance.now() - began) / 1_000
      const flows = after.map(({ fromLeft, fromRight }, index): Flow => ({
        fromLeft: fromLeft - before[index]!.fromLeft,
        fromRight: fromRight - before[index]!.fromRight,
        seconds
      })) as [Flow, Flow]
      if (window === windowsMax || isEnough(flows)) {
        return flows
      }
    }
  })

const holds = (bytes: number, seconds: number, bytesPerSecond: number) => {
  assert.isAtMost(bytes, (seconds + burst) * bytesPerSecond)
  assert.isTrue(reaches(bytes, bytesPerSecond), `${bytes} bytes in ${seconds} s`)
}

/** Bytes from the left that are in this process and have not been taken yet. */
const untaken = ({ carried, left }: Spliced) => {
  const { localPort, remotePort } = left.client.socket
  const inSockets = kernelSocket(localPort!, remotePort!)!.sending + kernelSocket(remotePort!, localPort!)!.unread
  return left.client.accepted - inSockets - carried().fromLeft
}
