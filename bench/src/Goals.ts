/**
 * The goals that the project has set itself, each a ratio within one run or a bound on one subject, held against results.
 */
import * as Cluster from "./Cluster.js"
import * as Figure from "./Figure.js"
import * as Results from "./Results.js"
import type * as Start from "./Start.js"
import * as Statistics from "./Statistics.js"

export interface Goal {
  readonly what: string
  /** Who is needed to judge it. */
  readonly subjects: ReadonlyArray<string>
  readonly atMost: number
  readonly unit: string
  /** What is compared with the bound, by round. */
  readonly of: (results: Results.Results) => Statistics.Rounds
}

const ratio = (
  what: string,
  atMost: number,
  figure: Figure.Figure,
  subject: string,
  to: { readonly subject?: string; readonly figure?: Figure.Figure }
): Goal => ({
  what,
  subjects: to.subject === undefined ? [subject] : [subject, to.subject],
  atMost,
  unit: "×",
  of: (results) =>
    Statistics.ratios(
      Results.rounds(results, figure.id, subject),
      Results.rounds(results, (to.figure ?? figure).id, to.subject ?? subject)
    )
})

const bound = (what: string, atMost: number, figure: Figure.Figure, subject: string): Goal => ({
  what,
  subjects: [subject],
  atMost,
  unit: figure.unit,
  of: (results) => Results.rounds(results, figure.id, subject)
})

/** A bound on how far something is off, to either side. */
const within = (what: string, atMost: number, figure: Figure.Figure, subject: string): Goal => ({
  ...bound(what, atMost, figure, subject),
  of: (results) => Results.rounds(results, figure.id, subject).map((value) => value === null ? null : Math.abs(value))
})

/** A bound on the time from the start of a process, in those of an empty program. */
const start = (what: Figure.Start, atMost: number, subject: Start.Measured): Goal =>
  ratio(`${Figure.starts[what]}: wall time, against ${Figure.starts.node}`, atMost, Figure.startTime(what), subject, {
    subject: "node",
    figure: Figure.startTime("node")
  })

/** A bound on what a process has at its peak beyond what an empty program has. */
const abovePeak = (what: Figure.WholeRun, atMost: number, subject: Start.Measured): Goal => ({
  what: `${Figure.wholeRuns[what]}: peak memory, above that of ${Figure.wholeRuns.node}`,
  subjects: [subject, "node"],
  atMost,
  unit: Figure.peakMemory(what).unit,
  of: (results) =>
    Statistics.differences(
      Results.rounds(results, Figure.peakMemory(what).id, subject),
      Results.rounds(results, Figure.peakMemory("node").id, "node")
    )
})

const rest = (what: Figure.Resting, atMost: number, subject: Start.Measured): Goal =>
  bound(`${Figure.resting[what]}: memory at rest`, atMost, Figure.restMemory(what), subject)

/** How long a program takes to start, and the memory that it holds at rest. */
const starts: ReadonlyArray<Goal> = [
  ...(["help", "version"] as const).flatMap((what) => [start(what, 2.5, "tx3"), abovePeak(what, 25, "tx3")]),
  start("connect", 3.5, "tx3"),
  rest("expose", 75, "tx3"),
  rest("forward", 75, "tx3"),
  start("relay", 5, "tx3-relay"),
  rest("relay", 95, "tx3-relay")
]

/** What is made of several figures of the cluster, by round. */
const combined = (
  figures: ReadonlyArray<Figure.Figure>,
  combine: (...values: ReadonlyArray<number>) => number
): Goal["of"] =>
(results) => {
  const all = figures.map(({ id }) => Results.rounds(results, id, Cluster.name))
  return (all[0] ?? []).map((_, round) => {
    const values = all.map((rounds) => rounds[round] ?? null)
    return values.some((value) => value === null) ? null : combine(...values as Array<number>)
  })
}

/** A hop may cost what it cannot do without, and half of that again. */
const perHop = 1.5

/** A link is one more splice in one more relay. */
const perLink = 2.1

/** What a look-up that finds nothing may cost a member beside a rejected connection, in milliseconds: a question to NATS. */
const lookUpMs = 0.06

/** Beside the first backoff of a node, in seconds. */
const returnSeconds = 5.5

const clusterGoal = (goal: Omit<Goal, "subjects">): Goal => ({ ...goal, subjects: [Cluster.name] })

const cluster: ReadonlyArray<Goal> = [
  ...(["peer", "back", "both"] as const).map((placement) => {
    const { hops, what } = Figure.placements[placement]
    const time = (placement: Figure.Placement) => Figure.clusterSetUpTime(1, "p50", placement)
    return clusterGoal({
      what:
        `cluster: ${what}: connect to first byte beyond no hop, for each hop, against a question over NATS and a connect`,
      atMost: perHop,
      unit: "×",
      of: combined(
        [time(placement), time("none"), Figure.engineRoundTrip, Figure.bareConnect],
        (hopped, none, trip, connect) => (hopped! - none!) / hops / (trip! + connect!)
      )
    })
  }),
  clusterGoal({
    what: "cluster: CPU per GB over one link, against none",
    atMost: perLink,
    unit: "×",
    of: combined(
      [Figure.clusterCpuPerGb("peer"), Figure.clusterCpuPerGb("none")],
      (linked, none) => linked! / none!
    )
  }),
  clusterGoal({
    what: "cluster: CPU of a member per look-up that finds nothing, less 60 µs, against a relay alone",
    atMost: 1.5,
    unit: "×",
    of: combined(
      [Figure.missCpu("member"), Figure.missCpu("alone")],
      (member, alone) => Math.max(0, member! - lookUpMs) / alone!
    )
  }),
  clusterGoal({
    what: `cluster: ${Figure.returnTime.title}`,
    atMost: returnSeconds,
    unit: Figure.returnTime.unit,
    of: combined([Figure.returnTime], (seconds) => seconds!)
  })
]

/**
 * What the limiter may add to the CPU per GB: it reads a clock and moves counters for each piece that is carried, which
 * should be little beside the system calls that carry it. Less than a tenth is hard to tell from what rounds differ by.
 */
const limiterCost = 1.1

/** How many times as long an honest peer or node may wait beside an attack as before it. */
const besideAttack = 5

/**
 * The attack that makes an honest peer or node wait longest, by the median of its own rounds. There is none unless every
 * attack has a value: one that was not measured may be the worst.
 */
const worstAttack = (results: Results.Results, what: Figure.Honest, subject: string) => {
  const slowdowns = results.attacks.map((attack) => {
    const times = (beside: boolean) =>
      Results.rounds(results, Figure.honestTime(what, "p99", attack, beside).id, subject)
    const rounds = Statistics.ratios(times(true), times(false))
    return { attack, rounds, median: Statistics.median(rounds) ?? Infinity }
  })
  return slowdowns.some(({ median }) => median === Infinity)
    ? undefined
    : slowdowns.sort((left, right) => right.median - left.median)[0]
}

const besideWorstAttack = (results: Results.Results, what: Figure.Honest, subject: string): Goal => {
  const worst = worstAttack(results, what, subject)
  const named = worst === undefined ? "" : ` (${Figure.attacks[worst.attack]})`
  return {
    what: `${subject}: ${Figure.honest[what]}, p99, beside the worst attack from one address${named}, against before`,
    subjects: [subject],
    atMost: besideAttack,
    unit: "×",
    of: () => worst?.rounds ?? []
  }
}

const busy = (level: number) => level === 1 ? "1 splice" : `${level} splices`

const all = (results: Results.Results): ReadonlyArray<Goal> => {
  const { idle, inFlight, roundTripSplices, splices } = results
  const most = Math.max(...idle)
  return [
    ...splices.map((level) =>
      ratio(`kernel: CPU per GB, ${busy(level)}, against HAProxy with splice`, 0.6, Figure.cpuPerGb(level), "kernel", {
        subject: "haproxy"
      })
    ),
    ...splices.map((level) =>
      ratio(`kernel: CPU per GB, ${busy(level)}, against portable`, 0.35, Figure.cpuPerGb(level), "kernel", {
        subject: "portable"
      })
    ),
    ...roundTripSplices.map((level) =>
      ratio(`kernel: 64 B round trip, ${busy(level)}, against HAProxy`, 1.1, Figure.roundTrip(level), "kernel", {
        subject: "haproxy"
      })
    ),
    ...inFlight.map((level) =>
      ratio(
        `kernel: CPU per splice set up, ${level} in flight, against the floor`,
        0.8,
        Figure.setUpCpu(level),
        "kernel",
        {
          subject: "floor"
        }
      )
    ),
    ...inFlight.map((level) =>
      ratio(
        `portable: CPU per splice set up, ${level} in flight, against the floor`,
        1.6,
        Figure.setUpCpu(level),
        "portable",
        { subject: "floor" }
      )
    ),
    ...[Figure.stormTime, Figure.registrationCpu].map((figure) =>
      ratio(`kernel: all nodes at once, ${figure.title}, against the floor`, 1.3, figure, "kernel", {
        subject: "floor"
      })
    ),
    bound("kernel: memory per idle splice", 4, Figure.spliceMemory, "kernel"),
    bound("kernel: descriptors per idle splice", 2, Figure.spliceDescriptors, "kernel"),
    ...["kernel", "portable"].flatMap((subject) => {
      const beside = (what: string, figure: (level: number, idle?: number) => Figure.Figure, level: number) =>
        ratio(
          `${subject}: ${what}, ${busy(level)}, beside ${most.toLocaleString("en")} idle splices, against none`,
          1.15,
          figure(level, most),
          subject,
          { figure: figure(level, 0) }
        )
      return [
        beside("CPU per GB", Figure.cpuPerGb, Figure.besideSplices),
        ...roundTripSplices.map((level) => beside("64 B round trip", Figure.roundTrip, level))
      ]
    }),
    ...["kernel", "portable"].flatMap((subject) => [
      ...Figure.rates.map((rate) =>
        within(`${subject}: error of a rate, ${rate.what}`, 5, Figure.rateError(rate), subject)
      ),
      ratio(
        `${subject}: CPU per GB, ${busy(Figure.unreachedSplices)}, under a rate that is not reached, against none`,
        limiterCost,
        Figure.unreachedCpu(true),
        subject,
        { figure: Figure.unreachedCpu(false) }
      )
    ]),
    ...starts,
    ...cluster,
    ...["kernel", "portable"].flatMap((subject) =>
      (["setUp", "registration"] as const).map((what) => besideWorstAttack(results, what, subject))
    )
  ]
}

export interface Judged {
  readonly what: string
  readonly atMost: number
  readonly unit: string
  /** Of all rounds; undefined where one of the two was not measured. */
  readonly median: number | undefined
  readonly spread: { readonly min: number; readonly max: number } | undefined
  readonly verdict: "met" | "not met" | Unjudged
}

/** Why there is no figure to judge. */
export type Unjudged = "failed" | "not installed" | "not measured"

/** Why there is nothing of one of these subjects. */
export const unjudged = (results: Results.Results, subjects: ReadonlyArray<string>): Unjudged =>
  results.failures.some(({ subject }) => subjects.includes(subject))
    ? "failed"
    : results.subjects.some(({ isInstalled, name }) => !isInstalled && subjects.includes(name))
    ? "not installed"
    : "not measured"

/** All goals, with what these results say to them. */
export const judge = (results: Results.Results): ReadonlyArray<Judged> =>
  all(results).map(({ atMost, of, subjects, unit, what }) => {
    const rounds = of(results)
    const median = Statistics.median(rounds)
    return {
      what,
      atMost,
      unit,
      median,
      spread: Statistics.spread(rounds),
      verdict: median === undefined
        ? unjudged(results, subjects)
        // A descriptor more among thousands of splices is not the splices'.
        : Number(median.toFixed(2)) <= atMost
        ? "met"
        : "not met"
    }
  })
