/**
 * A cluster without sockets, in time that passes as fast as it can: nodes register, move and leave, peers come, members are cut off
 * from the engine, and its messages are lost, late, out of order or doubled. When that is over, each node that is still connected has
 * one session, and what is gone has left nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cluster, Directory } from "@tx3/cluster"
import { CertDigest, Identity } from "@tx3/protocol"
import type { RelayTest } from "@tx3/relay"
import { Relay } from "@tx3/relay"
import type { Scope } from "effect"
import { Effect, FastCheck, Layer, Random, Runtime, TestClock } from "effect"
import type { MemoryRelay, Network } from "../../relay/test/utils/memoryTransport.js"
import { memoryRelay, memoryRelayLayer } from "../../relay/test/utils/memoryTransport.js"
import { empty, withoutDefects } from "../../relay/test/utils/withRelay.js"

const seed = 20_261_129
const members = 3

const member = FastCheck.nat({ max: members - 1 })
const node = FastCheck.nat({ max: 1 })
const step = FastCheck.oneof(
  { arbitrary: FastCheck.record({ do: FastCheck.constant("register" as const), node, member }), weight: 9 },
  FastCheck.record({ do: FastCheck.constant("leave" as const), node }),
  { arbitrary: FastCheck.record({ do: FastCheck.constant("peer" as const), node, member }), weight: 3 },
  FastCheck.record({ do: FastCheck.constant("cutOff" as const), member }),
  FastCheck.record({ do: FastCheck.constant("connect" as const), member }),
  {
    arbitrary: FastCheck.record({ do: FastCheck.constant("wait" as const), ticks: FastCheck.nat({ max: 8 }) }),
    weight: 3
  }
)
type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never

/** What a member may be cut off from, and what happens to messages. */
class Engine {
  readonly cutOff = new Set<number>()
  isBad = true

  constructor(private readonly random: Random.Random) {}

  private below(bound: number) {
    return Effect.runSync(this.random.nextIntBetween(0, bound))
  }

  /** A member's side of a directory. */
  readonly of = (member: number) =>
    Layer.effect(
      Directory.Directory,
      Effect.gen(this, function*() {
        const directory = yield* Directory.Directory
        const run = Runtime.runFork(yield* Effect.runtime())
        const away = new Directory.NotAnswered({ reason: "unavailable" })
        const isCut = () => this.cutOff.has(member)
        const late = Effect.suspend(() => this.isBad ? Effect.sleep(this.below(300)) : Effect.void)
        return {
          ...directory,
          ask: (subject, question) =>
            Effect.suspend(() => isCut() || this.isBad && this.below(8) === 0 ? away : directory.ask(subject, question))
              .pipe(
                Effect.zipLeft(late),
                Effect.timeoutFail({ duration: "1 second", onTimeout: () => away }),
                Effect.filterOrFail(() => !isCut(), () => away)
              ),
          answer: (subject, answer) =>
            directory.answer(subject, (question) => isCut() ? Effect.never : answer(question)),
          tell: (subject, text) => Effect.suspend(() => isCut() ? Effect.void : directory.tell(subject, text)),
          listen: (subject, listener) =>
            directory.listen(subject, (text) => {
              const copies = isCut() ? 0 : this.isBad ? [0, 1, 1, 2][this.below(4)]! : 1
              for (let i = 0; i < copies; i++) {
                run(Effect.zipRight(late, Effect.sync(() => listener(text))))
              }
            }),
          isConnected: () => !isCut()
        } satisfies Directory.Directory["Type"]
      })
    )
}

/** Lets all that is due happen, and the time go on. */
const tick = Effect.zipRight(
  Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
  TestClock.adjust("100 millis")
)

const simulate = (steps: ReadonlyArray<Step>, chaos: number, identities: ReadonlyArray<Identity.Identity>) =>
  Effect.gen(function*() {
    const engine = new Engine(Random.make(chaos))
    const network: Network = new Map()
    const relays: Array<MemoryRelay> = []
    const identity = yield* Identity.generate
    for (let index = 0; index < members; index++) {
      const context = yield* Layer.build(
        memoryRelayLayer(
          {
            bind: [`tx3-rst://192.0.2.${index + 1}:38141`],
            identity,
            connectionTimeoutMs: 5_000,
            maxControlStreamsPerIp: 100
          },
          Relay.openPolicies,
          network
        ).pipe(
          Layer.provide(Cluster.layer({ listen: { host: `10.0.0.${index + 1}`, port: 1 } })),
          Layer.provide(engine.of(index)),
          Layer.fresh
        )
      )
      relays.push(yield* Effect.provide(memoryRelay, context))
    }

    // The live control streams of each node, by the address that each came from.
    const streams = identities.map(() => new Map<string, RelayTest.RawStream>())
    let registrations = 0
    const time = yield* Effect.forkScoped(Effect.forever(tick))

    const register = (node: number, member: number) =>
      Effect.gen(function*() {
        const address = `198.51.100.${++registrations}`
        const { control } = yield* relays[member]!.registerAs(identities[node]!, address)
        streams[node]!.set(address, control)
        yield* Effect.ignore(control.receiveAll)
        streams[node]!.delete(address)
      })

    const perform = (step: Step): Effect.Effect<unknown, unknown, Scope.Scope> => {
      switch (step.do) {
        case "register":
          return Effect.forkScoped(register(step.node, step.member))
        case "leave":
          return Effect.forEach(Array.from(streams[step.node]!.values()), ({ hangUp }) => hangUp)
        case "peer":
          return Effect.forkScoped(
            Effect.flatMap(
              relays[step.member]!.send(CertDigest.toBytes(identities[step.node]!.digest)),
              ({ closed }) => closed
            )
          )
        case "cutOff":
          return Effect.sync(() => engine.cutOff.add(step.member))
        case "connect":
          return Effect.sync(() => engine.cutOff.delete(step.member))
        case "wait":
          return Effect.sleep(100 * step.ticks)
      }
    }

    const sessionsOf = (digest: CertDigest.CertDigest) =>
      relays.flatMap(({ relay }) => Array.from(relay.controlStreams())).filter(({ node }) => node === digest)
        .map(({ source }): string => source)

    yield* Effect.scoped(Effect.gen(function*() {
      yield* Effect.forEach(steps, perform, { discard: true })
      engine.cutOff.clear()
      yield* Effect.sleep("3 seconds")
      engine.isBad = false
      // A heartbeat to learn of what was missed, and time for the answers to it.
      yield* Effect.sleep("5 seconds")
      identities.forEach(({ digest }, index) => {
        assert.deepStrictEqual(sessionsOf(digest), Array.from(streams[index]!.keys()), `sessions of node ${index}`)
        assert.isAtMost(streams[index]!.size, 1)
      })
      // Peers that nobody dials back to are gone by now.
      yield* Effect.sleep("7 seconds")
      relays.forEach(({ relay }) => assert.deepStrictEqual(Array.from(relay.peers()), []))
    }))
    for (const { relay } of relays) {
      yield* Effect.provideService(empty, Relay.Relay, relay)
      assert.deepStrictEqual(Array.from(relay.sources()), [])
    }
    yield* Effect.sync(() => time.unsafeInterruptAsFork(time.id()))
  }).pipe(Effect.scoped, Effect.provide(Directory.layerMemory))

describe("a simulated cluster", () => {
  it.effect("has one session of each connected node in the end, and nothing of what is gone", () =>
    Effect.gen(function*() {
      const identities = yield* Effect.replicateEffect(Identity.generate, 2)
      const runtime = yield* Effect.runtime()
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.array(step, { minLength: 20, maxLength: 40, size: "max" }),
            FastCheck.nat(),
            (steps, chaos) => Runtime.runPromise(runtime, simulate(steps, chaos, identities)).then(() => {})
          ),
          { seed, numRuns: 3, endOnFailure: true }
        )
      )
    }).pipe(withoutDefects))
})
