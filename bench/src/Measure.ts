/**
 * How each figure is measured on a running subject. A measurement leaves the subject as it found it, with no connection
 * of its own left open; but for those of memory and of a rate's error, which have a subject for themselves.
 */
import * as Effect from "effect/Effect"
import { BenchError } from "./BenchError.js"
import * as Cores from "./Cores.js"
import * as Figure from "./Figure.js"
import type * as messages from "./load/messages.js"
import * as ProcessTree from "./ProcessTree.js"
import type { Loaded, Session } from "./Session.js"

/** What one measurement gave, by figure; a figure may be there several times. */
export type Values = ReadonlyArray<Value>

type Value = readonly [Figure.Figure, number]

/** How long each kind of measurement lasts. */
export interface Durations {
  readonly warmUpMs: number
  readonly measureMs: number
}

const bytesPerGb = 1e9
const bytesPerKb = 1000

const open = ({ peers, target }: Loaded, group: string, kind: messages.Kind, count: number) =>
  peers.request<void>({ type: "open", target, group, kind, count })

const close = ({ peers }: Loaded, group: string) => peers.request<void>({ type: "close", group })

const cpu = ({ pids }: Pick<Loaded, "pids">) =>
  Effect.sync(() => pids.reduce((sum, pid) => sum + ProcessTree.cpuSeconds(pid), 0))

const pumped = "pump"

/** So many windows without a byte lengthen a measurement; after that the subject carries nothing. */
const emptyWindows = 20

/** Has peers send as much as they can, one way, and goes on with it; the far ends count. */
const pump = (session: Loaded, level: number, durations: Durations) =>
  Effect.gen(function*() {
    const { farEnds, peers } = session
    const received = farEnds.request<messages.Received>({ type: "received" })
    yield* open(session, pumped, "sink", level)
    yield* peers.request<void>({ type: "startPumping", group: pumped })
    yield* Effect.sleep(durations.warmUpMs)
    const counts = Effect.all({ cpuSeconds: cpu(session), received })
    const before = yield* counts
    // On a busy machine a program may not run for longer than a short window.
    const after = yield* Effect.repeat(Effect.delay(counts, durations.measureMs), {
      times: emptyWindows,
      until: ({ received }) => received.bytes > before.received.bytes
    })
    const gigabytes = (after.received.bytes - before.received.bytes) / bytesPerGb
    if (gigabytes === 0) {
      return yield* new BenchError({ message: "no byte came through" })
    }
    return {
      cpuPerGb: (after.cpuSeconds - before.cpuSeconds) / gigabytes,
      gbPerSecond: gigabytes / ((after.received.atMs - before.received.atMs) / 1000)
    }
  })

/** CPU per GB and throughput of so many splices. */
export const pumpAndStop = (session: Loaded, level: number, durations: Durations) =>
  Effect.tap(pump(session, level, durations), () =>
    Effect.zipRight(
      session.peers.request<void>({ type: "stopPumping", group: pumped }),
      close(session, pumped)
    ))

/** Peers send as much as they can, one way, and the far ends count. */
export const throughput = (session: Session, level: number, durations: Durations, idle?: number) =>
  Effect.map(pumpAndStop(session, level, durations), ({ cpuPerGb, gbPerSecond }) =>
    [
      [Figure.cpuPerGb(level, idle), cpuPerGb],
      [Figure.throughput(level, idle), gbPerSecond]
    ] satisfies Values)

/** How far a relay that has just been started with a rate is from it. What is on its way stays there: it would take seconds. */
export const rateError = (session: Session, rate: Figure.Rate, durations: Durations) =>
  Effect.map(pump(session, rate.splices, durations), ({ cpuPerGb, gbPerSecond }) =>
    [
      [Figure.rateError(rate), errorPercent(gbPerSecond * bytesPerGb, rate.bytesPerSecond)],
      [Figure.rateCpu(rate), cpuPerGb]
    ] satisfies Values)

/** How much more was carried than should have been. */
export const errorPercent = (carried: number, set: number) => (carried / set - 1) * 100

/** CPU per GB under a rate that nobody reaches, or without one. */
export const unreachedRate = (session: Session, limited: boolean, durations: Durations) =>
  Effect.map(
    pumpAndStop(session, Figure.unreachedSplices, durations),
    ({ cpuPerGb }) => [[Figure.unreachedCpu(limited), cpuPerGb]] satisfies Values
  )

/** 64 bytes to the far end and back, on all splices at once. */
export const roundTrips = (session: Session, level: number, durations: Durations, idle?: number) =>
  Effect.gen(function*() {
    const group = "roundTrips"
    yield* open(session, group, "echo", level)
    const times = yield* session.peers.request<messages.Times>({ type: "roundTrips", group, ...durations })
    yield* close(session, group)
    return [
      [Figure.roundTrip(level, idle), times.p50 * 1000],
      [Figure.roundTripP99(level, idle), times.p99 * 1000]
    ] satisfies Values
  })

const setUp = ({ peers, target }: Loaded, inFlight: number, durationMs: number) =>
  peers.request<messages.SetUps>({ type: "setUps", target, inFlight, durationMs })

/** Splices are set up, answer one byte and are closed by the peer, a number of them side by side. */
export const timedSetUps = (session: Loaded, level: number, durations: Durations) =>
  Effect.gen(function*() {
    yield* setUp(session, level, durations.warmUpMs)
    const before = yield* cpu(session)
    const times = yield* setUp(session, level, durations.measureMs)
    const after = yield* cpu(session)
    if (times.failed > 0) {
      return yield* new BenchError({
        message: `${times.failed} of ${times.failed + times.count} splices did not come up`
      })
    }
    return {
      cpuMs: (after - before) * 1000 / times.count,
      perSecond: times.count / (times.durationMs / 1000),
      p50: times.p50,
      p99: times.p99
    }
  })

/** The same as figures of (c). */
export const setUps = (session: Loaded, level: number, durations: Durations) =>
  Effect.map(timedSetUps(session, level, durations), ({ cpuMs, p50, p99, perSecond }) =>
    [
      [Figure.setUpCpu(level), cpuMs],
      [Figure.setUpRate(level), perSecond],
      [Figure.setUpTime(level), p50],
      [Figure.setUpTimeP99(level), p99]
    ] satisfies Values)

/** Connections with random preambles, which a relay closes: its CPU for each, and how many there were in a second. */
export const unknownPreambles = (
  session: Pick<Loaded, "peers" | "pids" | "target">,
  inFlight: number,
  durations: Durations
) =>
  Effect.gen(function*() {
    const { host, port } = session.target
    const some = (durationMs: number) =>
      session.peers.request<messages.SetUps>({ type: "unknown", host, port, inFlight, durationMs })
    yield* some(durations.warmUpMs)
    const before = yield* cpu(session)
    const { count, durationMs, failed } = yield* some(durations.measureMs)
    const after = yield* cpu(session)
    if (failed > 0) {
      return yield* new BenchError({ message: `${failed} unknown preambles were answered, or not in time` })
    }
    return { cpuMs: (after - before) * 1000 / count, perSecond: count / (durationMs / 1000) }
  })

/** Brings compilers and caches to where they are in a program that has run for a while. */
export const warmUp = (session: Session, durationMs: number) =>
  Effect.gen(function*() {
    yield* setUp(session, 32, durationMs)
    yield* throughput(session, 4, { warmUpMs: 0, measureMs: durationMs })
  })

/** Splices that nothing passes through, while `use` runs. */
export const besideIdle = <A, E>(session: Session, count: number, use: Effect.Effect<A, E>) =>
  count === 0 ? use : Effect.gen(function*() {
    yield* open(session, "idle", "sink", count)
    const result = yield* use
    yield* close(session, "idle")
    return result
  })

const settledPollMs = 200
const settledPolls = 5
const settledWithinBytes = 512 * 1024

/** Resident bytes once they have stayed about the same for a second, or after eight. */
const settledBytes = ({ running }: Session) =>
  Effect.gen(function*() {
    let seen: ReadonlyArray<number> = []
    for (let poll = 0; poll < 40; poll++) {
      seen = [...seen.slice(1 - settledPolls), ProcessTree.residentBytes(running.process.pid)]
      if (seen.length === settledPolls && Math.max(...seen) - Math.min(...seen) <= settledWithinBytes) {
        break
      }
      yield* Effect.sleep(settledPollMs)
    }
    return seen.at(-1)!
  })

const usage = (session: Session) =>
  Effect.map(settledBytes(session), (bytes) => ({
    bytes,
    descriptors: ProcessTree.descriptors(session.running.process.pid)
  }))

/**
 * What a number of idle splices take of a subject that has just been started. The warm-up should load all code that a splice
 * needs, and be no longer than that: garbage that it leaves and that is collected later hides growth. With a short warm-up the
 * figure of a Node program is rather too high than too low: its heap grows by garbage too.
 */
export const spliceMemory = (session: Session, count: number, warmUpMs: number) =>
  Effect.gen(function*() {
    yield* setUp(session, 32, warmUpMs)
    const before = yield* usage(session)
    yield* open(session, "idle", "sink", count)
    const after = yield* usage(session)
    return [
      [Figure.spliceMemory, (after.bytes - before.bytes) / count / bytesPerKb],
      [Figure.spliceDescriptors, (after.descriptors - before.descriptors) / count]
    ] satisfies Values
  })

/** Control streams that register before any is counted: the first ones load what TLS needs. */
const controlWarmUp = 50

/** As many as a relay takes in without a queue. */
const registeringAtATime = 4

/** Registers some nodes, and gives what registers `count` more, so many of them at the same time. */
const registered = (
  farEnds: Session["farEnds"],
  relay: NonNullable<Session["relay"]>,
  count: number
) =>
  Effect.gen(function*() {
    const register = (count: number, atATime: number) =>
      farEnds.request({ type: "registerMany", ...relay, count, atATime })
    yield* farEnds.request({ type: "prepareIdentities", count: count + controlWarmUp })
    yield* register(controlWarmUp, registeringAtATime)
    return (atATime: number) => register(count, atATime)
  })

/** Nodes that all come at once to a relay that has just been started. */
export const storm = (session: Session, count: number) =>
  Effect.gen(function*() {
    const { farEnds, relay, running } = session
    if (relay === undefined) {
      return []
    }
    const register = yield* registered(farEnds, relay, count)
    const [before, startedAt] = [ProcessTree.cpuSeconds(running.process.pid), performance.now()]
    yield* register(count)
    const [after, endedAt] = [ProcessTree.cpuSeconds(running.process.pid), performance.now()]
    return [
      [Figure.stormTime, (endedAt - startedAt) / 1000],
      [Figure.registrationCpu, (after - before) * 1000 / count]
    ] satisfies Values
  })

/** What a number of control streams take of a relay that has just been started. */
export const controlMemory = (session: Session, count: number) =>
  Effect.gen(function*() {
    const { farEnds, relay } = session
    if (relay === undefined) {
      return []
    }
    const register = yield* registered(farEnds, relay, count)
    const before = yield* usage(session)
    yield* register(registeringAtATime)
    const after = yield* usage(session)
    return [
      [Figure.controlMemory, (after.bytes - before.bytes) / count / bytesPerKb],
      [Figure.controlDescriptors, (after.descriptors - before.descriptors) / count]
    ] satisfies Values
  })

/** A set-up and a registration begin so often beside an attack. */
export const honestEveryMs = 40

/** How long an attack lasts before anything is timed beside it. */
const attackLeadMs = 500

/** What honest peers and nodes wait for before an attack from one address, and beside it. The relay has just been started. */
export const attack = (session: Session, attack: Figure.Attack, durations: Durations) =>
  Effect.gen(function*() {
    const { farEnds, peers, relay, running, target } = session
    if (relay === undefined) {
      return []
    }
    const attacker = yield* session.startAttacker
    const cores = Cores.divide()
    if (cores !== undefined) {
      yield* Cores.pin(running.process.pid, cores.relay)
      yield* Cores.pin(attacker.pid, cores.attacker)
      yield* Cores.pin(peers.pid, cores.honest)
      yield* Cores.pin(farEnds.pid, cores.honest)
    }
    const honest = (durationMs: number) => {
      const pace = { everyMs: honestEveryMs, durationMs }
      return Effect.all({
        setUp: peers.request<messages.Paced>({ type: "pacedSetUps", target, ...pace }),
        registration: farEnds.request<messages.Paced>({ type: "pacedRegistrations", ...relay, ...pace })
      }, { concurrency: 2 })
    }
    const attempts = attacker.request<messages.Attempts>({ type: "attempts" })
    yield* honest(durations.warmUpMs)
    const before = yield* honest(durations.measureMs)
    yield* attacker.request<void>({ type: "start", attack, ...relay, node: target.preamble })
    yield* Effect.sleep(attackLeadMs)
    const from = yield* attempts
    const beside = yield* honest(durations.measureMs)
    const to = yield* attempts
    return [
      [Figure.attackRate(attack), (to.count - from.count) / ((to.atMs - from.atMs) / 1000)],
      ...(["setUp", "registration"] as const).flatMap((what): Values => [
        [Figure.honestTime(what, "p50", attack, false), before[what].p50],
        [Figure.honestTime(what, "p99", attack, false), before[what].p99],
        [Figure.honestTime(what, "p50", attack, true), beside[what].p50],
        [Figure.honestTime(what, "p99", attack, true), beside[what].p99],
        [Figure.honestFailed(what, attack), beside[what].failed / beside[what].count * 100]
      ])
    ] satisfies Values
  }).pipe(Effect.scoped)
