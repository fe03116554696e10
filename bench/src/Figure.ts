/**
 * The figures by name: what the results, the tables and the plots are keyed by. `level` is how many splices are busy, or how many set-ups are
 * in flight; `idle` is how many splices are open beside.
 */
import type { Attack } from "./load/messages.js"

export type { Attack }

export interface Figure {
  readonly id: string
  /** The group it is chosen by on the command line. */
  readonly group: Group
  readonly title: string
  readonly unit: string
  readonly digits: number
}

/** The groups that `--figures` takes. */
export const groups = {
  a: "CPU per GB and throughput",
  b: "Round trips",
  c: "Setting splices up",
  d: "Memory and descriptors",
  e: "Beside idle splices",
  f: "Rates",
  g: "A cluster of three relays",
  h: "Start and memory at rest",
  i: "Nodes that all come at once",
  j: "Attacks from one address"
} as const

export type Group = keyof typeof groups

/** The letters of the groups. */
export const letters = Object.keys(groups) as ReadonlyArray<Group>

/** The attacks of (j), and what each does again and again. */
export const attacks: Readonly<Record<Attack, string>> = {
  silent: "silent connections",
  slow: "31 bytes of a preamble, then silence",
  unknown: "digests of no registered node",
  garbage: "the relay's digest, then what is not TLS",
  hello: "the relay's digest and a ClientHello, then silence",
  peers: "peers of one node that reset their connections, beside 28 that wait",
  chain: "handshakes with ninety certificates",
  splices: "nodes that register, make 32 splices and leave"
}

/** What is timed beside an attack. */
export const honest = { setUp: "set-up", registration: "registration" } as const

export type Honest = keyof typeof honest

/** The times of (j): of the half that is faster, and of nearly all. */
export const fractions = { p50: "median", p99: "p99" } as const

export type Fraction = keyof typeof fractions

/** The busy splices of (e), for CPU per GB. */
export const besideSplices = 4

/** A rate of (f): what is set in a relay, how many splices send through it, and what they may carry together. */
export interface Rate {
  readonly id: string
  readonly what: string
  readonly settings: Readonly<Record<string, number>>
  readonly splices: number
  readonly bytesPerSecond: number
}

export const rates: ReadonlyArray<Rate> = [
  {
    id: "total",
    what: "20 MB/s in all, 4 splices",
    settings: { bandwidthTotal: 20e6 },
    splices: 4,
    bytesPerSecond: 20e6
  },
  {
    id: "perSplice",
    what: "5 MB/s per splice, 1 splice",
    settings: { bandwidthPerSplice: 5e6 },
    splices: 1,
    bytesPerSecond: 5e6
  }
]

/** More than any machine carries: who is under it pays for the limiter and never waits. */
export const unreachedRate = { bandwidthTotal: 1e12 }

/** The busy splices of (f), for CPU per GB with and without a rate that nobody reaches. */
export const unreachedSplices = 4

/** The programs of (h), and what they are. */
export const programs = {
  node: "an empty program, `node -e 0`",
  tx3: "the program of nodes and peers, as its package ships it",
  "tx3-relay": "our relay, as its package ships it"
} as const

export type Program = keyof typeof programs

/** Programs that (h) runs from their start to their end. */
export const wholeRuns = {
  node: "`node -e 0`",
  version: "`tx3 --version`",
  help: "`tx3 connect --help`"
} as const

export type WholeRun = keyof typeof wholeRuns

/** What (h) times from the start of a process. */
export const starts = {
  ...wholeRuns,
  connect: "`tx3 connect` until the first byte",
  relay: "`tx3-relay` until its address list is complete"
} as const

export type Start = keyof typeof starts

/** What (h) leaves alone for some seconds. */
export const resting = {
  expose: "`tx3 expose`",
  forward: "`tx3 forward`",
  relay: "`tx3-relay` with its admin server"
} as const

export type Resting = keyof typeof resting

const splices = (level: number) => level === 1 ? "1 splice" : `${level} splices`

const beside = (idle: number | undefined) =>
  idle === undefined ? "" : `, ${idle === 0 ? "none" : idle.toLocaleString("en")} idle`

/** Figures beside idle splices are kept apart, those of none too: they are measured one right after the other. */
const besideId = (idle: number | undefined) => idle === undefined ? "" : `.idle${idle}`

const besideGroup = (group: Group, idle: number | undefined) => idle === undefined ? group : "e"

export const cpuPerGb = (level: number, idle?: number): Figure => ({
  id: `cpuPerGb.${level}${besideId(idle)}`,
  group: besideGroup("a", idle),
  title: `CPU per GB, ${splices(level)}${beside(idle)}`,
  unit: "s/GB",
  digits: 3
})

export const throughput = (level: number, idle?: number): Figure => ({
  id: `throughput.${level}${besideId(idle)}`,
  group: besideGroup("a", idle),
  title: `throughput, ${splices(level)}${beside(idle)}`,
  unit: "GB/s",
  digits: 2
})

export const roundTrip = (level: number, idle?: number): Figure => ({
  id: `roundTrip.${level}${besideId(idle)}`,
  group: besideGroup("b", idle),
  title: `round trip of 64 B, median, ${splices(level)}${beside(idle)}`,
  unit: "µs",
  digits: 1
})

export const roundTripP99 = (level: number, idle?: number): Figure => ({
  id: `roundTripP99.${level}${besideId(idle)}`,
  group: besideGroup("b", idle),
  title: `round trip of 64 B, p99, ${splices(level)}${beside(idle)}`,
  unit: "µs",
  digits: 1
})

export const setUpCpu = (level: number): Figure => ({
  id: `setUpCpu.${level}`,
  group: "c",
  title: `CPU per splice set up, ${level} in flight`,
  unit: "ms",
  digits: 3
})

export const setUpRate = (level: number): Figure => ({
  id: `setUpRate.${level}`,
  group: "c",
  title: `splices set up per second, ${level} in flight`,
  unit: "1/s",
  digits: 0
})

export const setUpTime = (level: number): Figure => ({
  id: `setUpTime.${level}`,
  group: "c",
  title: `connect to first byte, median, ${level} in flight`,
  unit: "ms",
  digits: 2
})

export const setUpTimeP99 = (level: number): Figure => ({
  id: `setUpTimeP99.${level}`,
  group: "c",
  title: `connect to first byte, p99, ${level} in flight`,
  unit: "ms",
  digits: 2
})

export const spliceMemory: Figure = {
  id: "spliceMemory",
  group: "d",
  title: "memory per idle splice",
  unit: "KB",
  digits: 2
}

export const spliceDescriptors: Figure = {
  id: "spliceDescriptors",
  group: "d",
  title: "descriptors per idle splice",
  unit: "",
  digits: 2
}

export const controlMemory: Figure = {
  id: "controlMemory",
  group: "d",
  title: "memory per control stream",
  unit: "KB",
  digits: 1
}

export const controlDescriptors: Figure = {
  id: "controlDescriptors",
  group: "d",
  title: "descriptors per control stream",
  unit: "",
  digits: 2
}

export const stormTime: Figure = {
  id: "stormTime",
  group: "i",
  title: "until all nodes are registered",
  unit: "s",
  digits: 2
}

export const registrationCpu: Figure = {
  id: "registrationCpu",
  group: "i",
  title: "CPU per registration",
  unit: "ms",
  digits: 2
}

export const rateError = ({ id, what }: Rate): Figure => ({
  id: `rateError.${id}`,
  group: "f",
  title: `carried too much (below 0: too little) of ${what}`,
  unit: "%",
  digits: 2
})

export const rateCpu = ({ id, what }: Rate): Figure => ({
  id: `rateCpu.${id}`,
  group: "f",
  title: `CPU per GB at ${what}`,
  unit: "s/GB",
  digits: 3
})

/** With a rate that nobody reaches, or with none: these are measured one right after the other. */
export const unreachedCpu = (limited: boolean): Figure => ({
  id: `unreachedCpu.${limited ? "limited" : "unlimited"}`,
  group: "f",
  title: `CPU per GB, ${splices(unreachedSplices)}, ${limited ? "under a rate that is not reached" : "without a rate"}`,
  unit: "s/GB",
  digits: 3
})

/** From the start of a process until it has ended, or done what is said of it. */
export const startTime = (what: Start): Figure => ({
  id: `startTime.${what}`,
  group: "h",
  title: `wall time, ${starts[what]}`,
  unit: "ms",
  digits: 0
})

/** The most resident memory from the start to the end. */
export const peakMemory = (what: WholeRun): Figure => ({
  id: `peakMemory.${what}`,
  group: "h",
  title: `peak memory, ${wholeRuns[what]}`,
  unit: "MB",
  digits: 1
})

export const restMemory = (what: Resting): Figure => ({
  id: `restMemory.${what}`,
  group: "h",
  title: `memory at rest, ${resting[what]}`,
  unit: "MB",
  digits: 1
})

/** Attempts of an attacker in a second: connections or handshakes. */
export const attackRate = (attack: Attack): Figure => ({
  id: `attackRate.${attack}`,
  group: "j",
  title: `attempts per second: ${attacks[attack]}`,
  unit: "1/s",
  digits: 0
})

/** The time of what is honest, before an attack or beside it. */
export const honestTime = (what: Honest, fraction: Fraction, attack: Attack, beside: boolean): Figure => ({
  id: `honestTime.${what}.${fraction}.${attack}.${beside ? "beside" : "before"}`,
  group: "j",
  title: `${honest[what]}, ${fractions[fraction]}, ${beside ? "beside" : "before"}: ${attacks[attack]}`,
  unit: "ms",
  digits: 1
})

/** The honest set-ups and registrations that failed beside an attack. */
export const honestFailed = (what: Honest, attack: Attack): Figure => ({
  id: `honestFailed.${what}.${attack}`,
  group: "j",
  title: `${honest[what]}, failed, beside: ${attacks[attack]}`,
  unit: "%",
  digits: 1
})

/**
 * Where a splice of (g) goes, by the members of its peer and of its node's dial-back; the node is registered with the first. A
 * balancer that keeps a source at one member has the dial-back at the node's member; round robin may have either anywhere.
 */
export const placements = {
  none: { what: "no hop", hops: 0, door: 0, back: 0 },
  peer: { what: "one hop, the peer's", hops: 1, door: 1, back: 0 },
  back: { what: "one hop, the dial-back's", hops: 1, door: 0, back: 1 },
  both: { what: "two hops", hops: 2, door: 1, back: 2 }
} as const

export type Placement = keyof typeof placements

/** The set-ups in flight of (g). */
export const clusterInFlight = [1, 32] as const

/** The busy splices of (g). */
export const clusterSplices = 4

/** The nodes of the member that (g) kills. */
export const returningNodes = 1000

/** The subscriptions of (g), in one client. */
export const subscriptions = 100_000

const inCluster = (id: string, title: string, unit: string, digits: number): Figure => ({
  id: `cluster.${id}`,
  group: "g",
  title,
  unit,
  digits
})

export const clusterSetUpCpu = (level: number, placement: Placement): Figure =>
  inCluster(
    `setUpCpu.${level}.${placement}`,
    `CPU of all members per splice set up, ${level} in flight, ${placements[placement].what}`,
    "ms",
    3
  )

export const clusterSetUpRate = (level: number, placement: Placement): Figure =>
  inCluster(
    `setUpRate.${level}.${placement}`,
    `splices set up per second, ${level} in flight, ${placements[placement].what}`,
    "1/s",
    0
  )

export const clusterSetUpTime = (level: number, fraction: Fraction, placement: Placement): Figure =>
  inCluster(
    `setUpTime.${level}.${fraction}.${placement}`,
    `connect to first byte, ${fractions[fraction]}, ${level} in flight, ${placements[placement].what}`,
    "ms",
    2
  )

export const clusterCpuPerGb = (placement: Placement): Figure =>
  inCluster(
    `cpuPerGb.${placement}`,
    `CPU of all members per GB, ${splices(clusterSplices)}, ${placements[placement].what}`,
    "s/GB",
    3
  )

export const clusterThroughput = (placement: Placement): Figure =>
  inCluster(
    `throughput.${placement}`,
    `throughput, ${splices(clusterSplices)}, ${placements[placement].what}`,
    "GB/s",
    2
  )

/** What a hop is held against: a question to another member through NATS, and a TCP connect. */
export const engineRoundTrip: Figure = inCluster(
  "engineRoundTrip",
  "a question and its answer over NATS, median",
  "ms",
  2
)
export const bareConnect: Figure = inCluster("bareConnect", "a TCP connect, median", "ms", 2)

/** A look-up of a digest that nobody has, at a member of the cluster; or a relay alone that rejects one. */
export const missCpu = (where: "alone" | "member"): Figure =>
  inCluster(
    `missCpu.${where}`,
    where === "alone"
      ? "CPU of a relay alone per unknown preamble"
      : "CPU of the member per look-up that finds nothing",
    "ms",
    3
  )
export const missRate: Figure = inCluster("missRate", "look-ups per second that find nothing, 32 in flight", "1/s", 0)

export const returnTime: Figure = inCluster(
  "returnTime",
  `kill -9 of a member with ${returningNodes.toLocaleString("en")} nodes, until the last is registered elsewhere`,
  "s",
  2
)

const subscribed = subscriptions.toLocaleString("en")

export const subscriptionTime: Figure = inCluster("subscriptionTime", `${subscribed} subscriptions`, "s", 2)
export const subscriptionMemory = (where: "client" | "server"): Figure =>
  inCluster(`subscriptionMemory.${where}`, `memory per subscription, in the ${where}`, "KB", 2)
