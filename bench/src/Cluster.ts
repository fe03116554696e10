/**
 * How (g) is measured: three members of our relay on one NATS server, all on this machine, with one pair of load programs.
 * Everything that a measurement starts ends with it.
 */
import * as Effect from "effect/Effect"
import { BenchError } from "./BenchError.js"
import * as Figure from "./Figure.js"
import * as Load from "./Load.js"
import type * as messages from "./load/messages.js"
import * as Measure from "./Measure.js"
import * as ProcessTree from "./ProcessTree.js"
import type { Loaded } from "./Session.js"
import * as Subject from "./Subject.js"

/** What (g) is chosen by, and its column. */
export const name = "cluster"

/** How much of (g) a run measures. */
export interface Settings {
  /** Seconds of each measurement of time. */
  readonly seconds: number
  readonly returningNodes: number
  readonly subscriptions: number
}

/** Questions and connects whose median is a hop's measure. */
const asked = 300

/** The first backoff of a node of ours, the longest of it. */
const waitMs = 500

const bytesPerKb = 1000

/** Measures a cluster, from its start to the kill of a member, and NATS. */
export const measure = (folder: string, settings: Settings): Effect.Effect<Measure.Values, BenchError> =>
  Effect.gen(function*() {
    const cluster = yield* Subject.startCluster(folder)
    const peers = yield* Load.startPeers(name, folder)
    const farEnds = yield* Load.startFarEnds(name, folder)
    const pids = cluster.members.map(({ process }) => process.pid)
    const durations = { warmUpMs: Math.min(300, settings.seconds * 400), measureMs: settings.seconds * 1000 }

    const placed = yield* Effect.forEach(
      Object.keys(Figure.placements) as Array<Figure.Placement>,
      (placement) =>
        Effect.map(place(cluster, farEnds, placement), (target) => ({
          placement,
          loaded: { farEnds, peers, pids, target } satisfies Loaded
        }))
    )
    // Compilers, and each member's knowledge of the others.
    yield* Effect.forEach(placed, ({ loaded }) => Measure.timedSetUps(loaded, 32, durations))

    const bare = yield* engineTimes(cluster, folder)
    const setUps = yield* Effect.forEach(
      Figure.clusterInFlight,
      (level) =>
        Effect.forEach(
          placed,
          ({ loaded, placement }) =>
            Effect.map(Measure.timedSetUps(loaded, level, durations), ({ cpuMs, p50, p99, perSecond }) =>
              [
                [Figure.clusterSetUpCpu(level, placement), cpuMs],
                [Figure.clusterSetUpRate(level, placement), perSecond],
                [Figure.clusterSetUpTime(level, "p50", placement), p50],
                [Figure.clusterSetUpTime(level, "p99", placement), p99]
              ] satisfies Measure.Values)
        )
    )
    const carried = yield* Effect.forEach(placed, ({ loaded, placement }) =>
      Effect.map(
        Measure.pumpAndStop(loaded, Figure.clusterSplices, durations),
        ({ cpuPerGb, gbPerSecond }) =>
          [
            [Figure.clusterCpuPerGb(placement), cpuPerGb],
            [Figure.clusterThroughput(placement), gbPerSecond]
          ] satisfies Measure.Values
      ))
    const misses = yield* missTimes(cluster, peers, durations)
    const returned = yield* killed(cluster, farEnds, settings.returningNodes)
    const subscribed = yield* subscriptions(cluster, folder, settings.subscriptions)
    return [...bare, ...setUps.flat(2), ...carried.flat(), ...misses, ...returned, ...subscribed]
  }).pipe(Effect.scoped)

/** Registers a node with the first member; its peers go to one member, and it dials back to one. */
const place = ({ members }: Subject.Cluster, farEnds: Loaded["farEnds"], placement: Figure.Placement) =>
  Effect.gen(function*() {
    const { back, door } = Figure.placements[placement]
    const [home, { host, port }, dialBack] = [members[0], members[door], members[back]]
    const { digest } = yield* farEnds.request<messages.Registered>({
      type: "register",
      host: home.host,
      port: home.port,
      relay: home.digest,
      dialBack: { host: dialBack.host, port: dialBack.port }
    })
    return { host, port, preamble: digest } satisfies messages.Target
  })

const engineTimes = ({ server }: Subject.Cluster, folder: string) =>
  Effect.gen(function*() {
    const engine = yield* Load.startEngine(folder)
    const trips = yield* engine.request<messages.Times>({ type: "roundTrips", server, count: asked })
    const connects = yield* engine.request<messages.Times>({ type: "connects", count: asked })
    return [[Figure.engineRoundTrip, trips.p50], [Figure.bareConnect, connects.p50]] satisfies Measure.Values
  }).pipe(Effect.scoped)

/** Digests that nobody has: at a relay alone, and at the second member, whose CPU alone counts. */
const missTimes = ({ alone, members }: Subject.Cluster, peers: Loaded["peers"], durations: Measure.Durations) =>
  Effect.gen(function*() {
    const at = ({ host, port, process }: Subject.Relay) =>
      Measure.unknownPreambles({ peers, pids: [process.pid], target: { host, port, preamble: "" } }, 32, durations)
    const [without, within] = [yield* at(alone), yield* at(members[1])]
    return [
      [Figure.missCpu("alone"), without.cpuMs],
      [Figure.missCpu("member"), within.cpuMs],
      [Figure.missRate, within.perSecond]
    ] satisfies Measure.Values
  })

/** Kills the first member, whose nodes go to the two others. */
const killed = ({ members: [home, ...others] }: Subject.Cluster, farEnds: Loaded["farEnds"], count: number) =>
  Effect.gen(function*() {
    const { digest: relay, host, port } = home
    yield* farEnds.request({ type: "prepareIdentities", count })
    yield* farEnds.request({
      type: "registerReturning",
      host,
      port,
      relay,
      count,
      atATime: 4,
      then: others.map(({ host, port }) => ({ host, port })),
      waitMs
    })
    const killedAtMs = yield* Effect.sync(() => {
      process.kill(home.process.pid, "SIGKILL")
      return Date.now()
    })
    const { atMs } = yield* farEnds.request<messages.Returned>({ type: "returned" })
    return [[Figure.returnTime, (atMs - killedAtMs) / 1000]] satisfies Measure.Values
  })

/** Many subscriptions of one client, which is what the directory holds for as many nodes. */
const subscriptions = ({ engine, server }: Subject.Cluster, folder: string, count: number) =>
  Effect.gen(function*() {
    const client = yield* Load.startEngine(folder)
    yield* client.request<void>({ type: "connect", server })
    const bytes = Effect.sync(() => [client.pid, engine.pid].map(ProcessTree.residentBytes))
    const before = yield* bytes
    const { ms } = yield* client.request<messages.Took>({ type: "subscribe", count })
    const after = yield* bytes
    const [inClient, inServer] = after.map((bytes, index) => (bytes - before[index]!) / count / bytesPerKb)
    return [
      [Figure.subscriptionTime, ms / 1000],
      [Figure.subscriptionMemory("client"), inClient!],
      [Figure.subscriptionMemory("server"), inServer!]
    ] satisfies Measure.Values
  }).pipe(
    Effect.scoped,
    Effect.catchAll(({ message }) => new BenchError({ message: `subscriptions: ${message}` }))
  )
