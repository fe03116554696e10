/**
 * Two ends that have nothing in common but a code (`Code`) and a relay meet, and learn each other's digest. From then on each
 * knows the other as by an address. The relay needs to know nothing of it.
 *
 * One end waits. It registers at the relay under the identity that belongs to the code's number, whose private key everybody has who
 * knows the number. The other end connects there. In this TLS connection the two run CPace on the words, and send no more than this:
 *
 * 1. The end that has come: its share (32 bytes). It is CPace's initiator.
 * 2. The end that waits: its share (32 bytes).
 * 3. The end that has come: its tag (64 bytes).
 * 4. The end that waits, if that tag is right: its own tag (64 bytes) and the digest (32 bytes) that it goes by from now on.
 * 5. The end that has come, if that tag is right: its digest (32 bytes), and the end.
 *
 * The connection's channel binding is CPace's session identifier, and the digests of both certificates are in its channel
 * identifier, so an end between the two, which has a connection with each, gets no further than one that knows neither word. A tag is
 * the only use of a guess. The end that waits takes one wrong tag, and the end that has come sends one. What is sent behind the tags
 * is as safe as the connection, and the connection is the other end's as surely as it has the words.
 *
 * Registration, connections and runs end with the scope of `wait` and `join`.
 *
 * @since 0.1.0
 */
import type { BindError, ConnectError, ConnectionError, RegistrationError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import type * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Code } from "./Code.js"
import { readExactly } from "./internal/bytes.js"

/** How long an end that is to speak may be silent. */
const patienceMs = 10_000

/** How long an end that waits gives one that has come, from its first byte to its last. */
const runMs = 20_000

/**
 * How many runs of CPace an end that waits begins. One run gives an attacker no guess, but what it takes of the processor, and when it
 * answers, depends on the words.
 */
const maxRuns = 16

const digestBytes = 32

const purpose = "tx3 code 1"

/**
 * Two ends did not meet:
 *
 * - `nobody`: nobody waits under the number;
 * - `unconfirmed`: the end that waits did not confirm the words, or did so wrongly;
 * - `strange`: what waits under the number does not speak as an end that waits;
 * - `wrong`: an end has come that has other words. The code is void;
 * - `crowded`: ends came again and again, and none of them went on. The code is void;
 * - `displaced`: another end has registered under the number. The code is void.
 *
 * @since 0.1.0
 * @category errors
 */
export class MeetingError extends Schema.TaggedError<MeetingError>("@tx3/reach/MeetingError")("MeetingError", {
  reason: Schema.Literal("nobody", "unconfirmed", "strange", "wrong", "crowded", "displaced"),
  number: Schema.String
}) {
  override get message(): string {
    switch (this.reason) {
      case "nobody":
        return `nobody waits under the number ${this.number}: compare it with what the sender sees, and whether both use the same ` +
          "relay (tx3 relay show); a code is over when its sender has ended, and after one wrong try"
      case "unconfirmed":
        return "the sender did not confirm the code: one of the words is wrong, or somebody is in the way; nothing was received, and " +
          "the code is void: ask the sender for a new one"
      case "strange":
        return `what waits under the number ${this.number} is no tx3 send; ask the sender for a new code`
      case "wrong":
        return "somebody came with the number of this code and wrong words, so the code is void, and nothing was sent; it was a " +
          "mistake in a word, or an attack: run the command again for a new code"
      case "crowded":
        return `${maxRuns} connections came under the number of this code and did not go on, so the code is void, and nothing was ` +
          "sent; run the command again for a new code"
      case "displaced":
        return `somebody else has registered under the number ${this.number}, so nobody finds this end there, and the code is void; ` +
          "nothing was sent: run the command again for a new code"
    }
  }
}

/**
 * What an end needs to meet another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly code: Code
  /** Addresses of relays. The two ends meet at one that both have. */
  readonly relays: Arr.NonEmptyReadonlyArray<string>
  /** The digest that the other end is told, and knows this one by from then on. */
  readonly ownDigest: CertDigest.CertDigest
}

const identityOf = ({ number }: Code) => Identity.derived(`${purpose} ${number}`)

type Ends = Readonly<Record<"came" | "waits", CertDigest.CertDigest>>

/** What CPace is run on, in this connection between these ends. */
const run = (role: "initiator" | "responder", { words }: Code, connection: Tx3Connection, { came, waits }: Ends) =>
  Effect.gen(function*() {
    const CPace = yield* Effect.promise(() => import("./internal/cpace.js"))
    return {
      ...CPace.begin(role, {
        password: Buffer.from(words.join("-")),
        channel: CPace.joined(purpose, CertDigest.toBytes(came), CertDigest.toBytes(waits)),
        session: yield* connection.channelBinding
      }),
      CPace
    }
  })

/**
 * Waits for the other end, and returns its digest. `onRegistered` is called with the node that waits.
 *
 * @since 0.1.0
 * @category running
 */
export const wait = (
  { code, onRegistered = () => Effect.void, ownDigest, relays }: Options & {
    readonly onRegistered?: (node: Tx3Node.Tx3Node["Type"]) => Effect.Effect<void, never, Scope.Scope>
  }
): Effect.Effect<CertDigest.CertDigest, MeetingError | Address.AddressError | BindError | RegistrationError> =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.make({
      bind: relays,
      identity: yield* identityOf(code),
      requireRegistration: true
    })
    const met = yield* Deferred.make<CertDigest.CertDigest, MeetingError>()
    const over = (reason: MeetingError["reason"]) =>
      Deferred.fail(met, new MeetingError({ reason, number: code.number }))
    // A tag is looked at while it is open, and what that shows is entered in the same step: there is one guess, however many come.
    let state: "open" | "confirmed" | "void" = "open"
    let runs = 0

    const answer = (connection: Tx3Connection) =>
      Effect.gen(function*() {
        const { pointIn, shareBytes, tagBytes } = yield* Effect.promise(() => import("./internal/cpace.js"))
        const theirs = yield* readExactly(connection.duplex, shareBytes, patienceMs)
        if (state !== "open" || pointIn(theirs) === undefined) {
          return
        }
        if (++runs > maxRuns) {
          state = "void"
          yield* Effect.uninterruptible(over("crowded"))
          return
        }
        const { finish, share } = yield* run("responder", code, connection, {
          came: connection.remoteDigest,
          waits: node.digest
        })
        yield* connection.write(share)
        const key = finish(theirs)!
        const tag = yield* readExactly(connection.duplex, tagBytes, patienceMs)
        if (state !== "open") {
          return
        }
        if (!key.isTag(tag)) {
          state = "void"
          yield* Effect.uninterruptible(Effect.zipRight(connection.close, over("wrong")))
          return
        }
        state = "confirmed"
        yield* Effect.gen(function*() {
          yield* connection.write(Buffer.concat([key.tag, CertDigest.toBytes(ownDigest)]))
          const digest = yield* readExactly(connection.duplex, digestBytes, patienceMs)
          yield* Deferred.succeed(met, CertDigest.fromBytes(digest))
        }).pipe(
          // It has the words, and may come again.
          Effect.onError(() =>
            Effect.sync(() => {
              state = "open"
            })
          )
        )
      }).pipe(
        Effect.timeoutOption(runMs),
        Effect.ignore,
        Effect.catchAllDefect((defect) => Effect.logError("a meeting died", defect)),
        Effect.ensuring(connection.close)
      )

    const displaced = Effect.raceAll(node.registrations.map(({ state }) =>
      state.changes.pipe(
        Stream.filter((state) => state._tag === "Lost" && state.because.isContested),
        Stream.runHead,
        Effect.zipRight(over("displaced")),
        Effect.zipRight(Effect.never)
      )
    ))
    yield* Effect.forkScoped(displaced)
    yield* Effect.forkScoped(
      Stream.runForEach(node.connections, (connection) => Effect.forkScoped(answer(connection)))
    )
    yield* onRegistered(node)
    return yield* Deferred.await(met)
  }).pipe(Effect.scoped)

/**
 * Meets the end that waits under a code's number, and returns its digest. It tries once.
 *
 * @since 0.1.0
 * @category running
 */
export const join = (
  { code, ownDigest, relays }: Options
): Effect.Effect<
  CertDigest.CertDigest,
  MeetingError | ConnectError | ConnectionError | BindError | RegistrationError
> =>
  Effect.gen(function*() {
    const { digest: waits } = yield* identityOf(code)
    // Who waits there is not known yet, and is not shown the identity that this end goes by.
    const node = yield* Tx3Node.make({})
    const addresses = yield* Effect.forEach(relays, (relay) =>
      Effect.map(Address.parse(relay), (address) => address.withDigest(waits)))
    const connection = yield* Effect.mapError(
      node.connect(addresses),
      (error) =>
        isNobody(error) ? new MeetingError({ reason: "nobody", number: code.number }) : error
    )
    return yield* Effect.timeoutFail(prove(connection, { came: node.digest, code, ownDigest, waits }), {
      duration: runMs,
      onTimeout: () => new MeetingError({ reason: "unconfirmed", number: code.number })
    })
  }).pipe(Effect.scoped)

/** Proves the words to the end that waits, which has to do so, too. Returns the digest that it says then. */
const prove = (
  connection: Tx3Connection,
  { code, ownDigest, ...ends }: Pick<Options, "code" | "ownDigest"> & Ends
) =>
  Effect.gen(function*() {
    const fail = (reason: MeetingError["reason"]) => new MeetingError({ reason, number: code.number })
    const { CPace, finish, share } = yield* run("initiator", code, connection, ends)
    yield* connection.write(share)
    const theirs = yield* Effect.mapError(
      readExactly(connection.duplex, CPace.shareBytes, patienceMs),
      (error) => error._tag === "Short" ? fail("strange") : error
    )
    const key = finish(theirs)
    if (key === undefined) {
      return yield* fail("strange")
    }
    // From here on the other end may have made its guess.
    return yield* Effect.gen(function*() {
      yield* connection.write(key.tag)
      const reply = yield* readExactly(connection.duplex, CPace.tagBytes + digestBytes, patienceMs)
      if (!key.isTag(reply.subarray(0, CPace.tagBytes))) {
        return yield* fail("unconfirmed")
      }
      yield* connection.write(CertDigest.toBytes(ownDigest))
      yield* connection.end
      yield* Effect.ignore(Effect.timeoutOption(Stream.runDrain(connection.readable), patienceMs))
      return CertDigest.fromBytes(reply.subarray(CPace.tagBytes))
    }).pipe(Effect.mapError(() => fail("unconfirmed")))
  })

/** Whether a relay has said that there is no such node, and no other relay anything else. */
const isNobody = (error: ConnectError): boolean =>
  error._tag === "PeerUnavailable" ||
  error._tag === "NoneReachable" &&
    error.failures.every(({ cause }) => (cause as ConnectError)._tag === "PeerUnavailable")
