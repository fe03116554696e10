/**
 * Results as a run writes them.
 */
import { Figure, Results } from "../../src/index.js"

interface Rounds {
  readonly [subject: string]: ReadonlyArray<number | null>
}

export const figure = (figure: Figure.Figure, subjects: Rounds): Results.FigureResults => ({
  ...figure,
  subjects: Object.fromEntries(
    Object.entries(subjects).map(([name, rounds]) => [name, Results.measured(rounds)])
  )
})

export const results = (changed: Partial<Results.Results>): Results.Results => ({
  date: "2026-01-02T03:04:05.000Z",
  command: "npm run bench",
  quick: false,
  rounds: 3,
  memoryRounds: 3,
  besideRounds: 3,
  rateRounds: 3,
  besideRepeats: 3,
  seconds: 1,
  rateSeconds: 10,
  rateTurns: 5,
  attackRounds: 3,
  clusterRounds: 3,
  attackSeconds: 3,
  attacks: ["silent", "hello"],
  startRounds: 3,
  restSeconds: 3,
  tookSeconds: 100,
  splices: [1, 4, 64],
  roundTripSplices: [1, 64],
  inFlight: [1, 32, 256],
  idle: [0, 1000, 5000],
  memorySplices: 5000,
  controlStreams: 1000,
  machine: { cpu: "a CPU", cores: 2, memoryGb: 8, system: "Linux 6", node: "20.0.0", descriptorLimit: 20_000 },
  disturbance: { others: 0.01, stolen: 0 },
  subjects: ["kernel", "portable", "floor", "haproxy"].map((name) => ({
    name,
    description: `${name} it is`,
    isInstalled: true
  })),
  remarks: [],
  failures: [],
  figures: [],
  ...changed
})

/** The figures that all goals are judged by, where every goal is met but for the kernel's memory. */
export const figures = [
  ...[1, 4, 64].map((level) =>
    figure(Figure.cpuPerGb(level), {
      kernel: [0.2, 0.3, 0.2],
      portable: [1, 1, 2],
      haproxy: [0.5, 0.5, 0.5],
      floor: [1, 1, 1]
    })
  ),
  ...[1, 64].map((level) => figure(Figure.roundTrip(level), { kernel: [50, 50, 50], haproxy: [60, 50, 40] })),
  ...[1, 32, 256].map((level) =>
    figure(Figure.setUpCpu(level), { kernel: [0.1, 0.1, 0.1], portable: [0.3, 0.3, 0.3], floor: [0.2, 0.2, 0.2] })
  ),
  figure(Figure.spliceMemory, { kernel: [3.9, 4.1, 4.2] }),
  figure(Figure.spliceDescriptors, { kernel: [2.0004, 2, 2] }),
  ...[Figure.stormTime, Figure.registrationCpu].map((storm) =>
    figure(storm, { kernel: [1.3, 1.3, 1.3], floor: [1, 1, 1] })
  ),
  ...[0, 5000].flatMap((idle) => [
    figure(Figure.cpuPerGb(4, idle), { kernel: [0.2, 0.2, 0.2], portable: [1, 1, 1] }),
    ...[1, 64].map((level) => figure(Figure.roundTrip(level, idle), { kernel: [50, 50, 50], portable: [50, 50, 50] }))
  ]),
  ...Figure.rates.map((rate) => figure(Figure.rateError(rate), { kernel: [0.5, -4, 1], portable: [-1, -1, 6] })),
  figure(Figure.unreachedCpu(true), { kernel: [0.21, 0.21, 0.4], portable: [1.05, 1, 1] }),
  figure(Figure.unreachedCpu(false), { kernel: [0.2, 0.2, 0.2], portable: [1, 1, 1] }),
  ...(["node", "version", "help"] as const).flatMap((what) => {
    const subject = what === "node" ? "node" : "tx3"
    return [
      figure(Figure.startTime(what), { [subject]: subject === "node" ? [40, 50, 100] : [80, 100, 500] }),
      figure(Figure.peakMemory(what), { [subject]: subject === "node" ? [41, 42, 43] : [60, 65, 70] })
    ]
  }),
  ...(["none", "peer", "back", "both"] as const).flatMap((placement) => {
    const { hops } = Figure.placements[placement]
    return [
      figure(Figure.clusterSetUpTime(1, "p50", placement), { cluster: [1 + hops, 1 + hops, 1 + 2 * hops] }),
      figure(Figure.clusterCpuPerGb(placement), { cluster: [1 + hops, 1 + hops, 1 + hops] })
    ]
  }),
  figure(Figure.engineRoundTrip, { cluster: [0.5, 0.5, 0.5] }),
  figure(Figure.bareConnect, { cluster: [0.2, 0.2, 0.3] }),
  figure(Figure.missCpu("member"), { cluster: [0.2, 0.2, 0.2] }),
  figure(Figure.missCpu("alone"), { cluster: [0.1, 0.1, 0.1] }),
  figure(Figure.returnTime, { cluster: [3, 4, 7] }),
  figure(Figure.startTime("connect"), { tx3: [130, 160, 320] }),
  figure(Figure.startTime("relay"), { "tx3-relay": [180, 200, 400] }),
  figure(Figure.restMemory("expose"), { tx3: [70, 71, 80] }),
  figure(Figure.restMemory("forward"), { tx3: [70, 71, 72] }),
  figure(Figure.restMemory("relay"), { "tx3-relay": [90, 95, 96] }),
  ...(["silent", "hello"] as const).flatMap((attack) => [
    figure(Figure.attackRate(attack), { kernel: [5000, 5100, 4900], portable: [4000, 4000, 4000] }),
    ...(["setUp", "registration"] as const).flatMap((what) => [
      ...(["p50", "p99"] as const).flatMap((fraction) => [
        figure(Figure.honestTime(what, fraction, attack, false), { kernel: [2, 4, 2], portable: [2, 4, 2] }),
        figure(Figure.honestTime(what, fraction, attack, true), { kernel: [8, 8, 12], portable: [8, 8, 8] })
      ]),
      figure(Figure.honestFailed(what, attack), { kernel: [0, 0, 2], portable: [0, 0, 0] })
    ])
  ])
]
