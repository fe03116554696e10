import { assert, describe } from "@effect/vitest"
import { ristretto255 } from "@noble/curves/ed25519.js"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import { Deferred, Effect, Either, Fiber, Stream } from "effect"
import { alice, bob, live, taken } from "../../node/test/utils/nodes.js"
import { withRelay } from "../../node/test/utils/relays.js"
import type { Code } from "../src/Code.js"
import { readExactly } from "../src/internal/bytes.js"
import * as CPace from "../src/internal/cpace.js"
import * as Meeting from "../src/Meeting.js"

const code: Code = { number: "417923", words: ["crater", "lemon"] }
const mistaken: Code = { number: "417923", words: ["crater", "melon"] }
const identity = await Effect.runPromise(Identity.derived(`tx3 code 1 ${code.number}`))
const direct = "tx3-st://127.0.0.1:0"

/** Alice waits; what comes of it, and when she is registered. */
const waiting = (relay: AddressWithDigest) =>
  Effect.gen(function*() {
    const registered = yield* Deferred.make<void>()
    const fiber = yield* Effect.forkScoped(Effect.either(Meeting.wait({
      code,
      relays: [relay.toString()],
      ownDigest: alice.digest,
      onRegistered: () => Effect.asVoid(Deferred.succeed(registered, undefined))
    })))
    yield* Deferred.await(registered)
    return { waited: Effect.map(Fiber.join(fiber), outcome) }
  })

/** Bob comes. */
const join = (relay: string | AddressWithDigest, as: Code = code, ...others: ReadonlyArray<AddressWithDigest>) =>
  Effect.map(
    Effect.either(
      Meeting.join({ code: as, relays: [relay.toString(), ...others.map(String)], ownDigest: bob.digest })
    ),
    outcome
  )

const outcome = (result: Either.Either<string, { readonly _tag: string }>) =>
  Either.match(result, {
    onLeft: (error) => error instanceof Meeting.MeetingError ? error.reason : error._tag,
    onRight: (digest) => digest
  })

/** Somebody who knows the number, and how far that leads. */
const stranger = (relay: AddressWithDigest) =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.make({})
    const connection = yield* node.connect(relay.withDigest(identity.digest))
    const inputs = (words: Code["words"], session: Uint8Array) => ({
      password: Buffer.from(words.join("-")),
      channel: CPace.joined("tx3 code 1", CertDigest.toBytes(node.digest), CertDigest.toBytes(identity.digest)),
      session
    })
    return {
      connection,
      /** Exchanges shares, by a run on these words. */
      shares: (words: Code["words"]) =>
        Effect.gen(function*() {
          const run = CPace.begin("initiator", inputs(words, yield* connection.channelBinding))
          yield* connection.write(run.share)
          return run.finish(yield* readExactly(connection.duplex, CPace.shareBytes))!
        })
    }
  })

/** Whether the other end ends without a word. */
const isDismissed = (connection: Tx3Connection) =>
  Effect.map(Stream.runCount(connection.readable), (chunks) => chunks === 0)

/** Answers under the number to all who come, in place of the end that waits there. */
const impostor = (answer: (connection: Tx3Connection) => Effect.Effect<void, unknown>) =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.make({ bind: [direct], identity })
    yield* Effect.forkScoped(Stream.runForEach(node.connections, (connection) => Effect.ignore(answer(connection))))
    return node.addresses[0]!
  })

describe("a meeting by a code", { timeout: 60_000 }, () => {
  live("tells each end the other's digest", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        assert.strictEqual(yield* join(relay), alice.digest)
        assert.strictEqual(yield* waited, bob.digest)
        assert.strictEqual(yield* join(relay), "nobody")
        assert.strictEqual(yield* join(relay, code, relay), "nobody")
      })
    ))

  live("ends with the first wrong words", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        assert.strictEqual(yield* join(relay, mistaken), "unconfirmed")
        assert.strictEqual(yield* waited, "wrong")
        assert.strictEqual(yield* join(relay), "nobody")
      })
    ))

  live("gives one guess to many who come at once", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        const [first, second] = yield* Effect.all([stranger(relay), stranger(relay)])
        const wrong = yield* first.shares(mistaken.words)
        const right = yield* second.shares(code.words)
        yield* first.connection.write(wrong.tag)
        assert.isTrue(yield* isDismissed(first.connection))
        // The words are right, and too late.
        yield* Effect.ignore(second.connection.write(right.tag))
        const reply = yield* Effect.either(readExactly(second.connection.duplex, 1))
        assert.isTrue(Either.isLeft(reply))
        assert.strictEqual(yield* waited, "wrong")
      })
    ))

  live("is not kept up by silence and garbage", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        yield* Effect.replicateEffect(stranger(relay), 12, { concurrency: 4 })
        for (
          const garbage of [new Uint8Array(32), new Uint8Array(96).fill(0xff), Buffer.from("GET / HTTP/1.1\r\n\r\n")]
        ) {
          const { connection } = yield* stranger(relay)
          yield* connection.write(garbage)
          yield* connection.end
          yield* Effect.ignore(Stream.runDrain(connection.readable))
        }
        // Shares without a tag are no guess.
        yield* Effect.flatMap(
          stranger(relay),
          ({ connection, shares }) => Effect.zipRight(shares(mistaken.words), connection.reset)
        )
        assert.strictEqual(yield* join(relay), alice.digest)
        assert.strictEqual(yield* waited, bob.digest)
      })
    ))

  live("goes on where the other end was lost that has the words", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        const { connection, shares } = yield* stranger(relay)
        const key = yield* shares(code.words)
        yield* connection.write(key.tag)
        const reply = yield* readExactly(connection.duplex, CPace.tagBytes + 32)
        assert.isTrue(key.isTag(reply.subarray(0, CPace.tagBytes)))
        yield* connection.reset
        assert.strictEqual(yield* join(relay), alice.digest)
        assert.strictEqual(yield* waited, bob.digest)
      })
    ))

  live("ends when ends come again and again", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        const node = yield* Tx3Node.make({})
        const begin = Effect.gen(function*() {
          const connection = yield* node.connect(relay.withDigest(identity.digest))
          yield* connection.write(ristretto255.Point.BASE.toBytes())
          yield* readExactly(connection.duplex, CPace.shareBytes)
          yield* connection.reset
        }).pipe(Effect.scoped)
        yield* Effect.replicateEffect(begin, 16)
        assert.isTrue(Either.isLeft(yield* Effect.either(begin)))
        assert.strictEqual(yield* waited, "crowded")
      })
    ))

  live("ends when another end registers under the number", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { waited } = yield* waiting(relay)
        yield* Tx3Node.make({ bind: [relay.toString()], identity, requireRegistration: true })
        assert.strictEqual(yield* waited, "displaced")
      })
    ))
})

describe("an attack on a meeting", { timeout: 60_000 }, () => {
  live(
    "from the middle, with a TLS connection to each end, ends it",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const { waited } = yield* waiting(relay)
          const middle = yield* impostor((near) =>
            Effect.gen(function*() {
              const { connection: far } = yield* stranger(relay)
              const pass = (from: Tx3Connection, to: Tx3Connection) =>
                Effect.zipRight(Stream.run(from.readable, to.writable), to.end)
              yield* Effect.all([pass(near, far), pass(far, near)], { concurrency: 2 })
            }).pipe(Effect.scoped)
          )
          assert.strictEqual(yield* join(middle), "unconfirmed")
          assert.strictEqual(yield* waited, "wrong")
        })
      )
  )

  live("by an end that answers with other words fails", () =>
    Effect.gen(function*() {
      const guesser = yield* impostor((connection) =>
        Effect.gen(function*() {
          const run = CPace.begin("responder", {
            password: Buffer.from(mistaken.words.join("-")),
            channel: CPace.joined(
              "tx3 code 1",
              CertDigest.toBytes(connection.remoteDigest),
              CertDigest.toBytes(identity.digest)
            ),
            session: yield* connection.channelBinding
          })
          const key = run.finish(yield* readExactly(connection.duplex, CPace.shareBytes))!
          yield* connection.write(run.share)
          assert.isFalse(key.isTag(yield* readExactly(connection.duplex, CPace.tagBytes)))
          yield* connection.write(Buffer.concat([key.tag, new Uint8Array(32)]))
        })
      )
      assert.strictEqual(yield* join(guesser), "unconfirmed")
    }))

  live("by sending back to an end what it said fails", () =>
    Effect.gen(function*() {
      const mirror = yield* impostor((connection) =>
        Effect.gen(function*() {
          yield* connection.write(yield* readExactly(connection.duplex, CPace.shareBytes))
          const tag = yield* readExactly(connection.duplex, CPace.tagBytes)
          yield* connection.write(Buffer.concat([tag, new Uint8Array(32)]))
        })
      )
      assert.strictEqual(yield* join(mirror), "unconfirmed")
    }))

  live("by what an end said before is a wrong guess", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const said = yield* Deferred.make<{ readonly share: Buffer; readonly tag: Buffer }>()
        const listener = yield* impostor((connection) =>
          Effect.gen(function*() {
            const share = yield* readExactly(connection.duplex, CPace.shareBytes)
            yield* connection.write(
              CPace.begin("responder", {
                password: Buffer.from("crater-lemon"),
                channel: Buffer.alloc(0),
                session: Buffer.alloc(32)
              }).share
            )
            const tag = yield* readExactly(connection.duplex, CPace.tagBytes)
            yield* Deferred.succeed(said, { share, tag })
            yield* connection.close
          })
        )
        assert.strictEqual(yield* join(listener), "unconfirmed")
        const { share, tag } = yield* Deferred.await(said)
        const { waited } = yield* waiting(relay)
        const { connection } = yield* stranger(relay)
        yield* connection.write(share)
        yield* readExactly(connection.duplex, CPace.shareBytes)
        yield* connection.write(tag)
        assert.isTrue(yield* isDismissed(connection))
        assert.strictEqual(yield* waited, "wrong")
      })
    ))

  for (
    const [what, share] of [["the neutral element", new Uint8Array(32)], [
      "no point",
      new Uint8Array(32).fill(0xff)
    ]] as const
  ) {
    live(`by ${what} as a share gets no tag`, () =>
      Effect.gen(function*() {
        const got = yield* Deferred.make<boolean>()
        const listener = yield* impostor((connection) =>
          Effect.gen(function*() {
            yield* readExactly(connection.duplex, CPace.shareBytes)
            yield* connection.write(share)
            yield* Deferred.succeed(got, Either.isRight(yield* Effect.either(readExactly(connection.duplex, 1))))
          })
        )
        assert.strictEqual(yield* join(listener), "strange")
        assert.isFalse(yield* Deferred.await(got))
      }))
  }

  live("by silence is given up", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: [direct], identity })
      const joining = yield* Effect.fork(join(node.addresses[0]!))
      yield* Effect.flatMap(taken(node), ({ close }) => close)
      assert.strictEqual(yield* Fiber.join(joining), "strange")
    }))
})
