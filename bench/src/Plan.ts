/**
 * What a run measures, in which order, and about how long each step takes.
 */
import * as Effect from "effect/Effect"
import type { BenchError } from "./BenchError.js"
import * as Cluster from "./Cluster.js"
import * as Figure from "./Figure.js"
import * as Measure from "./Measure.js"
import type { Session } from "./Session.js"
import * as Start from "./Start.js"
import type { Subject } from "./Subject.js"

export interface Settings {
  readonly quick: boolean
  readonly rounds: number
  /** The first rounds, which take (d) and (i), (e), (f), (j) and (g) too: these are steadier, or take long. */
  readonly memoryRounds: number
  readonly besideRounds: number
  readonly rateRounds: number
  readonly attackRounds: number
  /** The rounds of (g), which starts a cluster in each. */
  readonly clusterRounds: number
  /** How often in a round each figure of (e) is measured, for half as long as elsewhere. */
  readonly besideRepeats: number
  /** How long each measurement of time lasts. */
  readonly seconds: number
  /** How long a rate is held against what comes through. */
  readonly rateSeconds: number
  /** How often in a round (f) measures CPU with and without a rate that nobody reaches. */
  readonly rateTurns: number
  /** How long honest peers and nodes are timed before each attack, and as long again beside it. */
  readonly attackSeconds: number
  readonly attacks: ReadonlyArray<Figure.Attack>
  /** How long a subject carries peers and bytes before anything of it is measured. */
  readonly warmUpSeconds: number
  /** The rounds of (h), which may be more than those of the others: they are short. */
  readonly startRounds: number
  /** How long a program is left alone before its memory at rest is read. */
  readonly restSeconds: number
  /** What (h) measures beside an empty program. */
  readonly programs: ReadonlyArray<Start.Measured>
  /** What (g) measures; undefined where it does not. */
  readonly cluster: Cluster.Settings | undefined
  readonly figures: ReadonlyArray<Figure.Group>
  /** Busy splices of (a), and of (b). */
  readonly splices: ReadonlyArray<number>
  readonly roundTripSplices: ReadonlyArray<number>
  /** Set-ups in flight. */
  readonly inFlight: ReadonlyArray<number>
  /** Idle splices beside busy ones. */
  readonly idle: ReadonlyArray<number>
  /** Splices, and control streams, that memory is divided by. */
  readonly memorySplices: number
  readonly controlStreams: number
}

export type Step = SubjectStep | ProgramStep

interface Described {
  readonly what: string
  /** Rough, for the progress line. */
  readonly seconds: number
}

/** Measures a running subject. */
export interface SubjectStep extends Described {
  readonly subject: Subject
  /** Whether the subject is started for this step alone. */
  readonly fresh: boolean
  readonly measure: (session: Session) => Effect.Effect<Measure.Values, BenchError>
}

/** Measures a program of (h) from its start on, or the cluster of (g). */
export interface ProgramStep extends Described {
  readonly subject: { readonly name: Figure.Program | typeof Cluster.name }
  readonly fresh: true
  readonly run: (folder: string) => Effect.Effect<Measure.Values, BenchError>
}

/** How many rounds there are for all that is to be measured. */
export const rounds = ({ figures, rounds, startRounds }: Settings): number =>
  figures.includes("h") ? Math.max(rounds, startRounds) : rounds

/** What a subject is not asked for, by figure group, and why. */
export const leftOut = (subject: Subject, settings: Settings): ReadonlyArray<string> =>
  subject.forks
    ? [
      ...mostForks < Math.max(...settings.inFlight) ? [`more than ${mostForks} set-ups in flight`] : [],
      "memory and thousands of idle splices, each of which would be a process"
    ]
    : []

/** Processes that a subject which forks is asked for at a time. */
const mostForks = 64

/** How often (b) takes turns in a round, for half as long as elsewhere. */
export const roundTripTurns = 3

/**
 * Before a rate is held against anything: what it gives ahead and what it has kept of a quiet time, a tenth of a second
 * each, have been used by then.
 */
const rateWarmUpMs = 500

/** The subjects in another order each round. */
const rotate = <A>(values: ReadonlyArray<A>, by: number) => {
  const at = by % Math.max(1, values.length)
  return [...values.slice(at), ...values.slice(0, at)]
}

/** The empty program right before each that is compared with it. */
const starts = ({ programs, restSeconds }: Settings): ReadonlyArray<ProgramStep> => {
  const empty: ProgramStep = {
    subject: { name: "node" },
    what: "an empty program",
    seconds: 0.2,
    fresh: true,
    run: Start.empty
  }
  const tx3 = { subject: { name: "tx3" }, fresh: true } as const
  const relay: ProgramStep = {
    subject: { name: "tx3-relay" },
    what: "its start, and memory at rest",
    seconds: 1.5 + restSeconds,
    fresh: true,
    run: (folder) => Start.relay(folder, restSeconds)
  }
  return [
    ...programs.includes("tx3-relay") ? [empty, relay] : [],
    ...programs.includes("tx3")
      ? [
        empty,
        { ...tx3, what: "--version and --help", seconds: 0.5, run: Start.answers },
        empty,
        {
          ...tx3,
          what: "memory at rest, and its start until the first byte",
          seconds: 3.5 + restSeconds,
          run: (folder: string) => Start.reach(folder, restSeconds)
        }
      ]
      : []
  ]
}

export const round = (settings: Settings, subjects: ReadonlyArray<Subject>, number: number): ReadonlyArray<Step> => {
  const { besideRepeats, figures, idle, inFlight, roundTripSplices, seconds, splices } = settings
  const durations = { warmUpMs: Math.min(300, seconds * 400), measureMs: seconds * 1000 }
  const lasting = (durations.warmUpMs + durations.measureMs) / 1000
  const ordered = rotate(subjects, number)
  const withoutForks = ordered.filter(({ forks }) => !forks)
  const wants = (group: Figure.Group) => figures.includes(group)

  // One figure of one subject, then the same of the next: what is compared was measured at about the same time.
  const interleaved = (
    group: Figure.Group,
    levels: ReadonlyArray<number>,
    what: (level: number) => string,
    measure: (session: Session, level: number) => Effect.Effect<Measure.Values, BenchError>
  ) =>
    !wants(group) || number >= settings.rounds ? [] : levels.flatMap((level) =>
      ordered
        .filter(({ forks }) => !forks || level <= mostForks)
        .map((subject): SubjectStep => ({
          subject,
          what: what(level),
          seconds: lasting + 0.1,
          fresh: false,
          measure: (session) => measure(session, level)
        }))
    )

  // Round trips are shorter or longer as the system spreads the programs over the cores, so they get more turns.
  const half = { warmUpMs: durations.warmUpMs / 2, measureMs: durations.measureMs / 2 }
  const besideIdle = !wants("e") || number >= settings.besideRounds ? [] : withoutForks.map((subject): Step => ({
    subject,
    what: `(a) and (b) beside ${idle.join(", ")} idle splices`,
    seconds: idle.length * besideRepeats * (1 + roundTripSplices.length) * (lasting / 2 + 0.1) +
      idle.reduce((sum, count) => sum + count, 0) / 1500,
    fresh: false,
    measure: (session) =>
      Effect.forEach(idle, (count) =>
        Measure.besideIdle(
          session,
          count,
          Effect.all([
            Measure.throughput(session, Figure.besideSplices, half, count),
            ...roundTripSplices.map((level) => Measure.roundTrips(session, level, half, count))
          ]).pipe(Effect.replicateEffect(besideRepeats))
        )).pipe(Effect.map((values) => values.flat(3) as Measure.Values))
  }))

  const memory = !wants("d") || number >= settings.memoryRounds ? [] : withoutForks.flatMap((subject): Array<Step> => [
    {
      subject,
      what: `memory of ${settings.memorySplices} idle splices`,
      seconds: 5 + settings.memorySplices / 1200,
      fresh: true,
      measure: (session) => Measure.spliceMemory(session, settings.memorySplices, settings.warmUpSeconds * 1000)
    },
    ...subject.start.speaks === "tcp" ? [] : [{
      subject,
      what: `memory of ${settings.controlStreams} control streams`,
      seconds: 3.5 + settings.controlStreams / 250,
      fresh: true,
      measure: (session: Session) => Measure.controlMemory(session, settings.controlStreams)
    }]
  ])

  const storms = !wants("i") || number >= settings.memoryRounds ?
    [] :
    withoutForks.flatMap((subject): Array<Step> =>
      subject.start.speaks === "tcp" ? [] : [{
        subject,
        what: `${settings.controlStreams} nodes that all come at once`,
        seconds: 2 + settings.controlStreams / 120,
        fresh: true,
        measure: (session) => Measure.storm(session, settings.controlStreams)
      }]
    )

  const rated = !wants("f") || number >= settings.rateRounds
    ? []
    : ordered.flatMap(({ rated }) => rated === undefined ? [] : [rated])
  const rateErrors = Figure.rates.flatMap((rate) =>
    rated.map(({ at }): Step => ({
      subject: at(rate),
      what: rate.what,
      seconds: 1.5 + rateWarmUpMs / 1000 + settings.rateSeconds,
      fresh: true,
      measure: (session) =>
        Measure.rateError(session, rate, { warmUpMs: rateWarmUpMs, measureMs: settings.rateSeconds * 1000 })
    }))
  )
  // Who comes first changes: a machine that becomes slower or faster makes neither look better.
  const unreachedRates = Array.from({ length: rated.length === 0 ? 0 : settings.rateTurns }).flatMap((_, turn) =>
    rated.flatMap(({ unlimited, unreached }) =>
      rotate([true, false], turn + number).map((limited): Step => ({
        subject: limited ? unreached : unlimited,
        what: `CPU per GB, ${limited ? "under a rate that is not reached" : "without a rate"}`,
        seconds: lasting + 0.1,
        fresh: false,
        measure: (session) => Measure.unreachedRate(session, limited, durations)
      }))
    )
  )

  const { cluster } = settings
  const clusters: ReadonlyArray<Step> = !wants("g") || cluster === undefined || number >= settings.clusterRounds ?
    [] :
    [{
      subject: { name: Cluster.name },
      what: "three members on NATS",
      // Its start, four placements with four measurements each, and what is killed and subscribed.
      seconds: 8 + 20 * (seconds + 0.4) + cluster.returningNodes / 60 + cluster.subscriptions / 15_000,
      fresh: true,
      run: (folder) => Cluster.measure(folder, cluster)
    }]

  const attacked = !wants("j") || number >= settings.attackRounds
    ? []
    : ordered.flatMap(({ withDefaults }) => withDefaults === undefined ? [] : [withDefaults])
  const attacks = settings.attacks.flatMap((attack) =>
    attacked.map((subject): Step => ({
      subject,
      what: `beside an attack: ${Figure.attacks[attack]}`,
      seconds: 3 + 2 * settings.attackSeconds,
      fresh: true,
      measure: (session) =>
        Measure.attack(session, attack, {
          warmUpMs: Math.min(1_000, settings.attackSeconds * 500),
          measureMs: settings.attackSeconds * 1000
        })
    }))
  )

  return [
    ...wants("h") && number < settings.startRounds ? starts(settings) : [],
    ...interleaved(
      "c",
      inFlight,
      (level) => `set-ups, ${level} in flight`,
      (session, level) => Measure.setUps(session, level, durations)
    ),
    ...interleaved(
      "a",
      splices,
      (level) => `CPU per GB, ${level} busy`,
      (session, level) => Measure.throughput(session, level, durations)
    ),
    ...Array.from({ length: roundTripTurns }).flatMap(() =>
      interleaved(
        "b",
        roundTripSplices,
        (level) => `round trips, ${level} busy`,
        (session, level) => Measure.roundTrips(session, level, half)
      )
    ),
    ...besideIdle,
    ...unreachedRates,
    ...rateErrors,
    ...memory,
    ...storms,
    ...clusters,
    ...attacks
  ]
}
