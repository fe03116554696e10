/**
 * The results as Markdown: the table of goals, a table for each group of figures, and the page that holds them with how
 * everything was measured.
 */
import * as Cluster from "./Cluster.js"
import * as Figure from "./Figure.js"
import * as Goals from "./Goals.js"
import * as Measure from "./Measure.js"
import * as Plan from "./Plan.js"
import * as Progress from "./Progress.js"
import * as Results from "./Results.js"
import * as Statistics from "./Statistics.js"

const number = (value: number | undefined, digits: number) =>
  value === undefined
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>) =>
  [row(head), row(head.map((_, index) => index === 0 ? "---" : "---:")), ...rows.map(row)].join("\n")

const withUnit = (text: string, unit: string) =>
  unit === "" || text === "–" ? text : unit === "×" ? `${text}×` : `${text} ${unit}`

/** The goals: what was measured, its spread over the rounds, and whether it is met. */
export const goals = (results: Results.Results): string =>
  table(
    ["goal", "at most", "measured", "least to most of the rounds", ""],
    Goals.judge(results).map(({ atMost, median, spread, unit, verdict, what }) => [
      what,
      withUnit(String(atMost), unit),
      withUnit(number(median, 2), unit),
      spread === undefined ? "–" : `${number(spread.min, 2)} – ${number(spread.max, 2)}`,
      verdict === "not met" ? "**not met**" : verdict
    ])
  )

/** Whom every other subject is compared with. */
const baselines = ["haproxy", "floor"]

const cell = (results: Results.Results, figure: Results.FigureResults, subject: string) => {
  const own = figure.subjects[subject]
  if (own === undefined || own.median === null) {
    const why = Goals.unjudged(results, [subject])
    return why === "not measured" ? "–" : why
  }
  const ratios = baselines.map((baseline) =>
    number(Statistics.median(Statistics.ratios(own.rounds, Results.rounds(results, figure.id, baseline))), 2)
  )
  return `${number(own.median, figure.digits)} (${ratios.join(", ")})`
}

/** One time before and beside an attack, and the median of the ratios within the rounds. */
const slowdown = (
  results: Results.Results,
  subject: string,
  what: Figure.Honest,
  fraction: Figure.Fraction,
  attack: Figure.Attack
) => {
  const times = [false, true].map((beside) =>
    Results.rounds(results, Figure.honestTime(what, fraction, attack, beside).id, subject)
  )
  const [before, beside] = times.map((rounds) => number(Statistics.median(rounds), 1))
  return `${before} → ${beside} (${number(Statistics.median(Statistics.ratios(times[1]!, times[0]!)), 1)}×)`
}

/** The attacks, one row for each attack on each subject. */
const attackTable = (results: Results.Results) => {
  const median = (figure: Figure.Figure, subject: string) =>
    Statistics.median(Results.rounds(results, figure.id, subject))
  const rows = Object.entries(Figure.attacks).flatMap(([id, what]) => {
    const attack = id as Figure.Attack
    return results.subjects.flatMap(({ name }) => {
      const rate = median(Figure.attackRate(attack), name)
      return rate === undefined ? [] : [[
        what,
        name,
        number(rate, 0),
        ...(["setUp", "registration"] as const).flatMap((honest) => [
          slowdown(results, name, honest, "p50", attack),
          slowdown(results, name, honest, "p99", attack),
          `${number(median(Figure.honestFailed(honest, attack), name), 1)} %`
        ])
      ]]
    })
  })
  return table(
    [
      "attack",
      "relay",
      "attempts per second",
      ...Object.values(Figure.honest).flatMap((what) => [`${what}, median, ms`, `${what}, p99, ms`, "failed"])
    ],
    rows
  )
}

/** A figure of (h) against the same of an empty program: a time as a ratio, a peak as a difference. */
const againstEmpty = (results: Results.Results, { id, unit }: Results.FigureResults, program: string) => {
  const compared = (
    how: (rounds: Statistics.Rounds, to: Statistics.Rounds) => Statistics.Rounds,
    empty: Figure.Figure
  ) => Statistics.median(how(Results.rounds(results, id, program), Results.rounds(results, empty.id, "node")))
  if (program === "node" || id.startsWith("restMemory.")) {
    return "–"
  }
  if (id.startsWith("startTime.")) {
    return withUnit(number(compared(Statistics.ratios, Figure.startTime("node")), 2), "×")
  }
  const difference = compared(Statistics.differences, Figure.peakMemory("node"))
  return `${(difference ?? -1) < 0 ? "" : "+"}${withUnit(number(difference, 1), unit)}`
}

/** Starts and memory at rest, one row for each: every figure is of one program. */
const startTable = (results: Results.Results, figures: ReadonlyArray<Results.FigureResults>) =>
  table(
    ["figure", "unit", "measured", "least to most of the rounds", `against ${Figure.wholeRuns.node}`],
    figures.flatMap((figure) =>
      Object.entries(figure.subjects).map(([program, { max, median, min }]) => [
        figure.title,
        figure.unit,
        number(median ?? undefined, figure.digits),
        median === null ? "–" : `${number(min!, figure.digits)} – ${number(max!, figure.digits)}`,
        againstEmpty(results, figure, program)
      ])
    )
  )

/** The cluster, of which there is one. */
const clusterTable = (figures: ReadonlyArray<Results.FigureResults>) =>
  table(
    ["figure", "unit", "measured", "least to most of the rounds"],
    figures.map((figure) => {
      const { max = null, median = null, min = null } = figure.subjects[Cluster.name] ?? {}
      return [
        figure.title,
        figure.unit,
        number(median ?? undefined, figure.digits),
        median === null ? "–" : `${number(min!, figure.digits)} – ${number(max!, figure.digits)}`
      ]
    })
  )

/** The figures of each group, one row for each figure and one column for each subject; (g), (h) and attacks have tables of their own. */
export const figures = (results: Results.Results): string =>
  Object.entries(Figure.groups).flatMap(([group, title]) => {
    const own = results.figures.filter((figure) => figure.group === group)
    return own.length === 0 ? [] : [
      [
        `### (${group}) ${title}`,
        "",
        group === "j" ?
          attackTable(results) :
          group === "h" ?
          startTable(results, own) :
          group === "g" ?
          clusterTable(own) :
          table(
            ["figure", "unit", ...results.subjects.map(({ name }) => name)],
            own.map((figure) => [
              figure.title,
              figure.unit,
              ...results.subjects.map(({ name }) => cell(results, figure, name))
            ])
          )
      ].join("\n")
    ]
  }).join("\n\n")

/** How to read a cell of the figures' tables. */
export const legend =
  "Each cell: the median of the rounds, and in parentheses its ratio to HAProxy and to the floor, each the median of the ratios within the rounds. " +
  "Of (h): the ratio to the empty program, or the difference from it, is the median of those within the rounds. " +
  "Of (j): before the attack and beside it, and the ratio of the two."

/** One line for the goals' table: when, where and how it was measured. */
export const circumstances = ({ date, machine, rounds, tookSeconds }: Results.Results): string =>
  `Measured on ${
    date.slice(0, 10)
  } on ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}, ` +
  `Node ${machine.node}; ${rounds === 1 ? "one round" : `medians of ${rounds} rounds`}, ${
    Progress.duration(tookSeconds)
  } in all.`

/** Who else was at work: a figure from a machine that others use is worth little. */
export const disturbance = ({ disturbance: { others, stolen } }: Results.Results) =>
  `Meanwhile other programs took ${number(others, 2)} cores, and the hypervisor kept ${number(stolen, 2)}.`

const list = (items: ReadonlyArray<string>) => items.map((item) => `- ${item}`).join("\n")

const ofRounds = (count: number) => count === 1 ? "the first round" : `the first ${count} rounds`

const measuredHow = (results: Results.Results) => {
  const {
    attackRounds,
    attackSeconds,
    besideRepeats,
    besideRounds,
    clusterRounds,
    controlStreams,
    idle,
    inFlight,
    machine,
    memoryRounds,
    memorySplices,
    rateRounds,
    rateSeconds,
    rateTurns,
    restSeconds,
    seconds,
    splices,
    startRounds
  } = results
  const counts = (values: ReadonlyArray<number>) => values.map((value) => value.toLocaleString("en")).join(", ")
  return list([
    "Every subject is a program of its own and runs all the time, idle while another is measured. Within a round one figure is " +
    "measured of each subject in turn before the next figure, and the order of the subjects changes from round to round.",
    "The load is two more programs for each subject: one with all peers, one with all far ends, which are a tx3 node without TLS on " +
    "the data path (it dials back for each token) or the backend of a plain TCP proxy. Proxies get the same load without preambles.",
    "Load and subject share the machine's cores, so the CPU per unit of work is the main figure; throughput and times say how the " +
    "whole machine does with this subject in it.",
    "CPU is user and system time of the subject's whole process tree, threads and children that have ended included (/proc/PID/stat and " +
    "/proc/PID/task/TID/schedstat).",
    `(a) ${
      counts(splices)
    } splices, peers send as much as they can for ${seconds} s, one way; the far ends count what arrives. GB is 10⁹ bytes.`,
    "(b) 64 bytes to the far end and 64 back, on all splices at once, each sending again when its answer is there; " +
    `${Plan.roundTripTurns} turns of ${seconds / 2} s in each round, and the median of them. ` +
    "On a machine of two cores they come in two ranges, one half of the other: seemingly as the system puts the three programs onto " +
    "one core or both. So a ratio far from 1 between like programs may be that.",
    `(c) A peer connects, sends preamble and one byte in one segment, the far end answers one byte, the peer ends, the far end ends; ${
      counts(inFlight)
    } at a time for ${seconds} s, from changing loopback addresses. The time is from connect to the first byte back; the CPU is that of the whole life.`,
    `(d) A fresh process, after some set-ups: resident memory and descriptors of the process tree before and with ${
      counts([memorySplices])
    } idle splices, once settled, divided by their number; the same with ${
      counts([controlStreams])
    } registered nodes. In ${
      ofRounds(memoryRounds)
    }. KB is 1,000 bytes. Of a Node program that is the growth of its heap, garbage ` +
    "included, and varies with the moment at which that is collected.",
    `(e) (a) with ${Figure.besideSplices} splices and (b), beside ${counts(idle)} idle splices, for ${
      seconds / 2
    } s each; ` +
    `the median of ${besideRepeats} turns in each round. In ${ofRounds(besideRounds)}.`,
    ...rateRounds === 0 ? [] : [
      "(f) Our relay alone, which has rates. Error: a fresh process with one rate in its file; peers send as much as they can, one way, and " +
      `what the far ends get within ${rateSeconds} s, from half a second after the start, is held against what the rate gives in that time; ` +
      "a goal is held against the error without its sign. CPU per GB at a rate is of the same seconds. " +
      `CPU per GB as in (a), with ${Figure.unreachedSplices} splices, of a process with a rate of ${
        counts([Figure.unreachedRate.bandwidthTotal / 1e9])
      } GB/s in all, which is not reached, and of one without a rate, both started for this and taken in turns; ` +
      `the median of ${rateTurns === 1 ? "one turn" : `${rateTurns} turns`} in each round. In ${ofRounds(rateRounds)}.`
    ],
    ...clusterRounds === 0 ? [] : [
      "(g) One NATS server and three members of our relay, kernel transport, fresh in each round, all on this machine. One node for each " +
      "row is registered with the first member; its peers come to one member, and it dials back to one. A balancer that keeps a source at " +
      "one member causes no hop, or one, the peer's; round robin causes any. Set-ups and CPU per GB are as in (c) and (a), but the CPU is " +
      "that of all three members. NATS' own is not in it. A question and its answer over NATS are between two clients of one process, one " +
      "after the other; so is the connect. Look-ups that find nothing are connections with random preambles, 32 in flight, at the second " +
      "member, whose CPU alone counts; and at a relay without a cluster. A look-up that finds a node is a set-up with one hop. The nodes of " +
      `the killed member wait 250 to 500 ms at random, as ours do, and register with the two others in turn. In ${
        ofRounds(clusterRounds)
      }.`
    ],
    ...startRounds === 0 ? [] : [
      `(h) Each program as a whole process, as its package ships it, on the Node that runs the benchmark; ${Figure.wholeRuns.node} again right ` +
      "before each. Wall time is from the start of the process to its end, or to what is said. Peak memory (VmHWM of /proc/self/status) is of a " +
      "run before that, with a module of ten lines before the program, which reads it at the end and adds less than 1 MB to each. The relay runs " +
      "with the file that `tx3-relay --init` makes, on free ports of 127.0.0.1, and its admin server listens on its socket and a port. " +
      "`tx3 connect` goes through such a relay to `tx3 listen`, which sends one byte at once. Memory at rest is what is resident " +
      `${restSeconds} s after the relay's admin server listens, or \`tx3\` has printed its address. ` +
      "From the second round on, each program finds the code that V8 compiled in an earlier one. " +
      `${
        machine.extraCas === true
          ? "NODE_EXTRA_CA_CERTS is set: each start, that of the empty program too, reads those certificates and Node's own first. "
          : ""
      }` +
      `${startRounds === 1 ? "One round" : `${startRounds} rounds`}. MB is 10⁶ bytes.`
    ],
    `(i) A fresh relay, after some registrations: ${
      counts([controlStreams])
    } nodes connect at the same time, until the last has its all-clear, and the CPU of the relay for each. The time is also that of the ` +
    `nodes' own handshakes, which share the machine. In ${ofRounds(memoryRounds)}.`,
    ...attackRounds === 0 ? [] : [
      "(j) Our relay with the limits that it has by default, a fresh process for each attack. A set-up as in (c) and a registration (TCP, " +
      `TLS, the all-clear) each begin every ${Measure.honestEveryMs} ms, from changing loopback addresses, for ${attackSeconds} s before the ` +
      "attack and as long beside it; what fails counts as 10 s. The attacker is one more program, at one address and as fast as one core lets " +
      "it. The relay has one core for itself, the attacker another, which the load has before it (nice 19) where there is no third for the " +
      "load; without taskset or a second core they share what there is. " +
      `In ${ofRounds(attackRounds)}.`
    ]
  ])
}

/** A plot to show on the page. */
export interface Plot {
  readonly file: string
  readonly title: string
}

/** The whole page. */
export const page = (results: Results.Results, plots: ReadonlyArray<Plot>): string =>
  [
    "# Benchmark",
    `${circumstances(results)} Made by \`${results.command}\`${
      results.quick ? ", which is a short run: not to be quoted" : ""
    }. ${disturbance(results)}`,
    "## Goals",
    "A ratio is the median of the ratios within the rounds.",
    goals(results),
    "## Figures",
    legend,
    figures(results),
    ...plots.length === 0 ? [] : ["## Plots", ...plots.map(({ file, title }) => `![${title}](${file})`)],
    "## Subjects",
    list(
      results.subjects.filter(({ isInstalled }) => isInstalled).map(({ description, name }) =>
        `\`${name}\`: ${description}`
      )
    ),
    ...results.remarks.length === 0 ? [] : ["Not measured here:", list(results.remarks)],
    ...results.failures.length === 0 ? [] : [
      "## Failures",
      list(
        results.failures.map(({ problem, round, subject, what }) =>
          `\`${subject}\`, round ${round}, ${what}: ${problem}`
        )
      )
    ],
    "## How it is measured",
    measuredHow(results),
    "## Again",
    "`npm run bench` at the root of the repository, with HAProxy, nginx (stream module) and socat installed where they are to be " +
    "compared with; `npm run bench -- --quick` for a first look within three minutes. Another tx3 relay joins with " +
    "`--relay NAME='COMMAND {config}'`. All values by round are in [results.json](results.json)."
  ].join("\n\n") + "\n"

const startMark = "<!-- bench:start -->"
const endMark = "<!-- bench:end -->"

/** A text with the goals between its two marks; unchanged where it has no marks. */
export const insertGoals = (text: string, results: Results.Results): string => {
  const start = text.indexOf(startMark)
  const end = text.indexOf(endMark, start)
  return start < 0 || end < 0
    ? text
    : [text.slice(0, start + startMark.length), circumstances(results), goals(results), text.slice(end)].join("\n\n")
}
