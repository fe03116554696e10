/** What strangers can cause at the other members, and no more. */
import { assert, describe, it } from "@effect/vitest"
import { Directory } from "@tx3/cluster"
import { CertDigest, Source } from "@tx3/protocol"
import { Effect, Exit, Fiber, TestClock } from "effect"
import { randomBytes } from "node:crypto"
import * as LookUps from "../src/internal/lookUps.js"
import * as Messages from "../src/internal/messages.js"

/** The name of this member. */
const own = randomBytes(LookUps.nameBytes)

/** Look-ups over an engine that answers as the test says, and counts what it is asked. */
const lookUps = (ask: () => Effect.Effect<string, Directory.NotAnswered>) =>
  Effect.gen(function*() {
    const asked: Array<string> = []
    const made = yield* LookUps.make({
      directory: {
        answer: () => Effect.void,
        ask: (subject) =>
          Effect.suspend(() => {
            asked.push(subject)
            return ask()
          }),
        flush: Effect.void,
        isConnected: () => true,
        listen: () => Effect.void,
        tell: () => Effect.void
      },
      name: LookUps.nameOf(own),
      subjectOf: (preamble) => `owner of ${CertDigest.fromBytes(preamble)}`
    })
    const look = (preamble: Uint8Array, address = "192.0.2.1") =>
      made.find(preamble, { address, source: Source.fromAddress(address) })
    const find = (...args: Parameters<typeof look>) => Effect.map(Effect.flip(look(...args)), ({ reason }) => reason)
    /** Whether there is nothing to ask. */
    const isDecided = (preamble: Uint8Array) => Exit.isExit(look(preamble))
    return { ...made, asked, find, isDecided, look }
  })

const nobody = () => Effect.fail(new Directory.NotAnswered({ reason: "nobody" }))

describe("look-ups", () => {
  it.scoped("are 256 of one source and 1,024 in all at a time", () =>
    Effect.gen(function*() {
      const { counts, find } = yield* lookUps(() => Effect.never)
      const begin = (address: string, count: number) =>
        Effect.forEach(Array.from({ length: count }), () => Effect.fork(find(randomBytes(32), address)))
      const fibers = yield* begin("192.0.2.1", 256)
      yield* Effect.yieldNow()
      assert.strictEqual(yield* find(randomBytes(32), "192.0.2.1"), "maxLookUps")
      for (const address of ["192.0.2.2", "192.0.2.3", "192.0.2.4"]) {
        yield* begin(address, 256)
      }
      yield* Effect.yieldNow()
      assert.strictEqual(counts().lookingUp, 1024)
      assert.strictEqual(yield* find(randomBytes(32), "192.0.2.5"), "maxLookUps")
      yield* Fiber.interruptAll(fibers)
      assert.strictEqual(counts().lookingUp, 768)
      yield* begin("192.0.2.5", 1)
      yield* Effect.yieldNow()
      assert.strictEqual(counts().lookingUp, 769)
      assert.strictEqual(counts().lookUps.limited, 2)
      yield* begin("192.0.2.5", 254)
      yield* Effect.yieldNow()
      const inOneTurn = yield* Effect.forEach([1, 2], () => Effect.fork(find(randomBytes(32), "192.0.2.5")))
      yield* Effect.yieldNow()
      assert.isNull(inOneTurn[0]!.unsafePoll())
      assert.strictEqual(yield* Fiber.join(inOneTurn[1]!), "maxLookUps")
    }))

  it.scoped("ask for a digest that nobody has once a second, and at once when it registers", () =>
    Effect.gen(function*() {
      const { asked, find, isDecided, registered } = yield* lookUps(nobody)
      const preamble = randomBytes(32)
      const node = CertDigest.fromBytes(preamble)
      const owner = `owner of ${node}`
      assert.isFalse(isDecided(preamble))
      for (let i = 0; i < 5; i++) {
        assert.strictEqual(yield* find(preamble), "unknownPreamble")
      }
      assert.isTrue(isDecided(preamble))
      assert.deepStrictEqual(asked, [owner])
      registered(node)
      yield* find(preamble)
      assert.deepStrictEqual(asked, [owner, owner])
      yield* TestClock.adjust("1 second")
      yield* find(preamble)
      assert.strictEqual(asked.length, 3)
    }))

  it.scoped("wait for a node that moves, for five seconds at most", () =>
    Effect.gen(function*() {
      const { asked, find, moving, registered } = yield* lookUps(nobody)
      const preambles = [randomBytes(32), randomBytes(32)]
      const [comes, stays] = preambles.map(CertDigest.fromBytes)
      moving(comes!)
      moving(stays!)
      const fibers = yield* Effect.forEach(preambles, (preamble) => Effect.fork(find(preamble)))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(asked, [])
      registered(comes!)
      yield* Fiber.join(fibers[0]!)
      assert.strictEqual(asked[0], `owner of ${comes}`)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(asked.length, 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fibers[1]!), "unknownPreamble")
    }))

  it.scoped("learn from the answer whether a preamble is a node's or a token", () =>
    Effect.gen(function*() {
      const preamble = randomBytes(32)
      for (const isPeer of [true, false]) {
        const link = { host: "192.0.2.9", port: 1 }
        const text = Messages.answer.encode({ _tag: "Ticket", link, ticket: "AAAA", isPeer })
        const made = yield* lookUps(() => Effect.succeed(text))
        assert.deepStrictEqual(yield* made.look(preamble), {
          link,
          node: isPeer ? CertDigest.fromBytes(preamble) : undefined,
          ticket: Buffer.alloc(3)
        })
      }
    }))

  it.scoped("of tokens of this member fail at once, and those without an engine are unavailable", () =>
    Effect.gen(function*() {
      const { asked, counts, find } = yield* lookUps(() =>
        Effect.fail(new Directory.NotAnswered({ reason: "unavailable" }))
      )
      assert.strictEqual(yield* find(Buffer.concat([own, randomBytes(24)])), "unknownPreamble")
      assert.strictEqual(asked.length, 0)
      assert.strictEqual(yield* find(randomBytes(32)), "clusterUnavailable")
      assert.strictEqual(counts().lookUps.unavailable, 1)
      assert.strictEqual(asked.length, 1)
    }))
})
