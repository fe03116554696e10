/**
 * Random sequences of everything that nodes, peers and strangers can do to a relay. In the first test each step is awaited
 * and the relay must be in the state that a small model is in; in the second all happens at once. In both, counters and
 * maps agree at every moment, and nothing is left at the end.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Address, SpliceToken } from "@tx3/protocol"
import { CertDigest, Identity } from "@tx3/protocol"
import { Relay, RelayTest } from "@tx3/relay"
import type { Scope } from "effect"
import { Effect, FastCheck, Fiber, Runtime } from "effect"
import { randomBytes } from "node:crypto"
import type { TestRelay } from "./utils/withRelay.js"
import { empty, withRelay } from "./utils/withRelay.js"

const seed = 20_260_101
const maxRelaysPerControl = 3

const leavings = ["end", "hangUp", "reset"] as const
type Leaving = typeof leavings[number]

const node = FastCheck.nat({ max: 2 })
const how = FastCheck.constantFrom(...leavings)
/** Nodes are of one source, their peers of two. */
const localAddress = FastCheck.constantFrom("127.0.0.1", "127.0.0.2")

const step = FastCheck.oneof(
  FastCheck.record({ do: FastCheck.constant("partial" as const), bytes: FastCheck.nat({ max: 31 }) }),
  FastCheck.record({ do: FastCheck.constant("garbage" as const) }),
  FastCheck.record({ do: FastCheck.constant("register" as const), node }),
  FastCheck.record({ do: FastCheck.constant("speak" as const), node }),
  { arbitrary: FastCheck.record({ do: FastCheck.constant("peer" as const), node, localAddress }), weight: 4 },
  { arbitrary: FastCheck.record({ do: FastCheck.constant("dialBack" as const), node }), weight: 3 },
  FastCheck.record({ do: FastCheck.constant("dialBackAgain" as const) }),
  { arbitrary: FastCheck.record({ do: FastCheck.constant("leave" as const), which: FastCheck.nat(), how }), weight: 3 }
)
type Generated<Arbitrary> = Arbitrary extends FastCheck.Arbitrary<infer A> ? A : never
type Step = Generated<typeof step>

interface Peer {
  readonly node: number
  readonly stream: RelayTest.RawStream
}

/** One side of a splice. */
interface Side {
  readonly stream: RelayTest.RawStream
  open: boolean
  gone: boolean
}

interface Splice {
  readonly node: number
  readonly sides: readonly [Side, Side]
}

class Model {
  readonly strangers = new Set<RelayTest.RawStream>()
  readonly controls = new Map<number, { readonly node: RelayTest.RawNode; readonly tokens: Array<Peer> }>()
  readonly pending = new Set<Peer>()
  readonly splices = new Set<Splice>()
  usedToken: SpliceToken.SpliceToken | undefined

  constructor(
    private readonly address: Address.Address,
    private readonly identities: ReadonlyArray<Identity.Identity>
  ) {}

  connections() {
    return {
      control: this.controls.size,
      handshake: 0,
      pending: this.pending.size,
      preamble: this.strangers.size,
      spliced: 2 * this.splices.size
    }
  }

  private relaysOf(node: number) {
    return [...this.pending, ...this.splices].filter((relay) => relay.node === node).length
  }

  private controlEnds(node: number) {
    this.controls.delete(node)
    for (const peer of this.pending) {
      if (peer.node === node) {
        this.pending.delete(peer)
      }
    }
  }

  readonly run = (step: Step): Effect.Effect<void, unknown, Scope.Scope> => {
    const { address } = this
    switch (step.do) {
      case "partial":
        return Effect.map(RelayTest.sendPreamble(address, new Uint8Array(step.bytes)), (stream) => {
          this.strangers.add(stream)
        })
      case "garbage":
        return Effect.flatMap(RelayTest.sendPreamble(address, randomBytes(32)), (stream) => stream.closed)
      case "register":
        return Effect.gen(this, function*() {
          const old = this.controls.get(step.node)
          const node = yield* RelayTest.register(address, { identity: this.identities[step.node]! })
          this.controlEnds(step.node)
          this.controls.set(step.node, { node, tokens: [] })
          if (old !== undefined) {
            yield* Effect.exit(old.node.control.receiveAll)
          }
        })
      case "speak":
        return Effect.suspend(() => {
          const control = this.controls.get(step.node)
          this.controlEnds(step.node)
          return control === undefined ? Effect.void : control.node.control.send(Buffer.from("?"))
        })
      case "peer":
        return Effect.gen(this, function*() {
          const control = this.controls.get(step.node)
          const stream = yield* RelayTest.sendPreamble(
            address,
            CertDigest.toBytes(this.identities[step.node]!.digest),
            { localAddress: step.localAddress }
          )
          if (control === undefined || this.relaysOf(step.node) === maxRelaysPerControl) {
            yield* stream.closed
          } else {
            const peer = { node: step.node, stream }
            control.tokens.push(peer)
            this.pending.add(peer)
          }
        })
      case "dialBack":
        return Effect.gen(this, function*() {
          const control = this.controls.get(step.node)
          const peer = control?.tokens.shift()
          if (control === undefined || peer === undefined) {
            return
          }
          const token = yield* control.node.token
          const stream = yield* RelayTest.dialBack(address, token)
          if (this.pending.delete(peer)) {
            this.usedToken = token
            yield* stream.send(Buffer.from("from the node"))
            assert.strictEqual((yield* peer.stream.receive(13)).toString(), "from the node")
            yield* peer.stream.send(Buffer.from("from the peer"))
            assert.strictEqual((yield* stream.receive(13)).toString(), "from the peer")
            const side = (stream: RelayTest.RawStream): Side => ({ stream, open: true, gone: false })
            this.splices.add({ node: step.node, sides: [side(peer.stream), side(stream)] })
          } else {
            yield* stream.closed
          }
        })
      case "dialBackAgain":
        return this.usedToken === undefined
          ? Effect.void
          : Effect.flatMap(RelayTest.dialBack(address, this.usedToken), (stream) => stream.closed)
      case "leave":
        return Effect.suspend(() => {
          const candidates = this.leavers()
          return candidates.length === 0 ? Effect.void : candidates[step.which % candidates.length]!(step.how)
        })
    }
  }

  /** Every end of a connection that can be closed, and what that leads to. */
  private leavers(): ReadonlyArray<(how: Leaving) => Effect.Effect<void>> {
    return [
      ...Array.from(this.strangers, (stream) => (how: Leaving) => {
        this.strangers.delete(stream)
        return stream[how]
      }),
      ...Array.from(this.pending, (peer) => (how: Leaving) => {
        this.pending.delete(peer)
        return peer.stream[how]
      }),
      ...Array.from(this.controls, ([key, { node }]) => (how: Leaving) => {
        this.controlEnds(key)
        return how === "reset" ? node.tcp.reset : node.control[how]
      }),
      ...Array.from(
        this.splices,
        (splice) =>
          splice.sides.filter((side) => !side.gone).map((side) => (how: Leaving) => {
            side.open = false
            side.gone = how !== "end"
            if (how === "reset" || splice.sides.every((side) => !side.open)) {
              this.splices.delete(splice)
            }
            return side.stream[how]
          })
      ).flat()
    ]
  }
}

/** Dies as soon as a counter of the relay and what it counts differ. */
const consistent = (relay: TestRelay["relay"]) =>
  Effect.flatMap(
    relay.inconsistencies,
    (found) => found.length > 0 ? Effect.dieMessage(`inconsistent: ${found.join("; ")}`) : Effect.void
  )

const check = <A>(
  arbitrary: FastCheck.Arbitrary<A>,
  numRuns: number,
  run: (value: A) => Effect.Effect<void, unknown, Relay.Relay | Scope.Scope>
) =>
  Effect.flatMap(Effect.runtime<Relay.Relay>(), (runtime) =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(arbitrary, (value) =>
          Runtime.runPromise(runtime, Effect.zipRight(Effect.scoped(run(value)), empty))),
        { seed, numRuns, endOnFailure: true }
      )
    ))

describe("Model", () => {
  it.live(
    "the relay is in the state that its rules say, after every step",
    () =>
      withRelay(
        { maxControlStreamsPerIp: 3, maxRelaysPerControl, maxHandshakesPerIp: 4 },
        ({ address, has, relay }) =>
          Effect.gen(function*() {
            const identities = yield* Effect.replicateEffect(Identity.generate, 3)
            yield* check(FastCheck.array(step, { minLength: 5, maxLength: 40, size: "max" }), 25, (steps) => {
              const model = new Model(address, identities)
              return Effect.forEach(steps, (step) =>
                Effect.gen(function*() {
                  yield* model.run(step)
                  yield* consistent(relay)
                  yield* has(model.connections())
                  yield* consistent(relay)
                }), { discard: true })
            }).pipe(Effect.provideService(Relay.Relay, relay))
          })
      ),
    60_000
  )

  const pace = FastCheck.nat({ max: 6 })
  const actor = FastCheck.oneof(
    FastCheck.record({ is: FastCheck.constant("node" as const), node, pace, accepts: FastCheck.nat({ max: 6 }), how }),
    FastCheck.record({
      is: FastCheck.constant("peer" as const),
      node,
      localAddress,
      pace,
      split: FastCheck.nat({ max: 32 }),
      how
    }),
    FastCheck.record({ is: FastCheck.constant("stranger" as const), pace, bytes: FastCheck.nat({ max: 70 }), how })
  )
  type Actor = Generated<typeof actor>

  it.live(
    "counters and maps agree at every moment, whatever happens at once",
    () =>
      withRelay(
        { maxRelaysPerControl, maxHandshakesPerIp: 3, maxInboundPerIp: 12 },
        ({ address, relay }) =>
          Effect.gen(function*() {
            const identities = yield* Effect.replicateEffect(Identity.generate, 3)
            const turns = (count: number) => Effect.repeatN(Effect.promise(() => new Promise(setImmediate)), count)

            const perform = (actor: Actor): Effect.Effect<void, unknown, Scope.Scope> =>
              Effect.gen(function*() {
                yield* turns(actor.pace)
                if (actor.is === "node") {
                  const node = yield* RelayTest.register(address, { identity: identities[actor.node]! })
                  for (let i = 0; i < actor.accepts; i++) {
                    const inside = yield* node.accept
                    yield* inside.send(Buffer.from("hello"))
                    yield* turns(actor.pace)
                    yield* i % 2 === 0 ? inside[actor.how] : Effect.void
                  }
                  yield* actor.how === "reset" ? node.tcp.reset : node.control[actor.how]
                } else if (actor.is === "peer") {
                  const preamble = Buffer.from(CertDigest.toBytes(identities[actor.node]!.digest))
                  const peer = yield* RelayTest.sendPreamble(address, preamble.subarray(0, actor.split), {
                    localAddress: actor.localAddress
                  })
                  yield* turns(actor.pace)
                  yield* peer.send(Buffer.concat([preamble.subarray(actor.split), Buffer.from("early")]))
                  yield* turns(2 * actor.pace)
                  yield* peer[actor.how]
                } else {
                  const stranger = yield* RelayTest.sendPreamble(address, randomBytes(actor.bytes))
                  yield* turns(actor.pace)
                  yield* stranger[actor.how]
                }
              }).pipe(
                // Many wait for what nobody will do.
                Effect.timeoutOption("200 millis"),
                Effect.exit
              )

            yield* check(FastCheck.array(actor, { minLength: 10, maxLength: 40, size: "max" }), 25, (actors) =>
              Effect.gen(function*() {
                const watch = yield* Effect.fork(Effect.forever(Effect.zipRight(consistent(relay), turns(0))))
                yield* Effect.forEach(actors, (actor) => perform(actor), { concurrency: "unbounded", discard: true })
                  .pipe(
                    Effect.raceFirst(Fiber.join(watch))
                  )
                yield* Fiber.interrupt(watch)
              })).pipe(Effect.provideService(Relay.Relay, relay))
          })
      ),
    60_000
  )
})
