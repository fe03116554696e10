/**
 * What a run leaves behind: every round's values of every figure and subject, with what is needed to judge them.
 */
import * as Schema from "effect/Schema"
import * as Figure from "./Figure.js"
import * as Statistics from "./Statistics.js"

const Rounds = Schema.Array(Schema.NullOr(Schema.Number))

const Measured = Schema.Struct({
  median: Schema.NullOr(Schema.Number),
  min: Schema.NullOr(Schema.Number),
  max: Schema.NullOr(Schema.Number),
  /** By round; null where a round has no value. */
  rounds: Rounds
})

const FigureResults = Schema.Struct({
  id: Schema.String,
  group: Schema.Literal(...Figure.letters),
  title: Schema.String,
  unit: Schema.String,
  digits: Schema.Number,
  subjects: Schema.Record({ key: Schema.String, value: Measured })
})

export type FigureResults = typeof FigureResults.Type

const attacks = Object.keys(Figure.attacks) as ReadonlyArray<Figure.Attack>

/** Of results from before there was (f), (g), (h) or (j). */
const none = { default: () => 0 }

export const Results = Schema.Struct({
  date: Schema.String,
  command: Schema.String,
  quick: Schema.Boolean,
  rounds: Schema.Number,
  memoryRounds: Schema.Number,
  besideRounds: Schema.Number,
  rateRounds: Schema.optionalWith(Schema.Number, none),
  attackRounds: Schema.optionalWith(Schema.Number, none),
  clusterRounds: Schema.optionalWith(Schema.Number, none),
  besideRepeats: Schema.Number,
  seconds: Schema.Number,
  rateSeconds: Schema.optionalWith(Schema.Number, none),
  rateTurns: Schema.optionalWith(Schema.Number, none),
  attackSeconds: Schema.optionalWith(Schema.Number, none),
  attacks: Schema.optionalWith(Schema.Array(Schema.Literal(...attacks)), { default: () => [] }),
  startRounds: Schema.optionalWith(Schema.Number, none),
  restSeconds: Schema.optionalWith(Schema.Number, none),
  tookSeconds: Schema.Number,
  splices: Schema.Array(Schema.Number),
  roundTripSplices: Schema.Array(Schema.Number),
  inFlight: Schema.Array(Schema.Number),
  idle: Schema.Array(Schema.Number),
  memorySplices: Schema.Number,
  controlStreams: Schema.Number,
  machine: Schema.Struct({
    cpu: Schema.String,
    cores: Schema.Number,
    memoryGb: Schema.Number,
    system: Schema.String,
    node: Schema.String,
    descriptorLimit: Schema.NullOr(Schema.Number),
    /** Whether each start of Node reads certificates that the environment names. Absent in older results. */
    extraCas: Schema.optional(Schema.Boolean)
  }),
  /** Cores that other programs and the hypervisor took during the run. */
  disturbance: Schema.Struct({ others: Schema.Number, stolen: Schema.Number }),
  subjects: Schema.Array(Schema.Struct({
    name: Schema.String,
    description: Schema.String,
    isInstalled: Schema.Boolean
  })),
  /** What was not measured, and why: what is not installed, not asked of a subject, or not possible here. */
  remarks: Schema.Array(Schema.String),
  failures: Schema.Array(Schema.Struct({
    subject: Schema.String,
    round: Schema.Number,
    what: Schema.String,
    problem: Schema.String
  })),
  figures: Schema.Array(FigureResults)
})

export type Results = typeof Results.Type

export const Json = Schema.parseJson(Results, { space: 2 })

/** The summary of some rounds. */
export const measured = (rounds: Statistics.Rounds): typeof Measured.Type => {
  const spread = Statistics.spread(rounds)
  return { median: Statistics.median(rounds) ?? null, min: spread?.min ?? null, max: spread?.max ?? null, rounds }
}

/** Each round's value of a figure; none where the subject or the figure was not measured. */
export const rounds = (results: Results, figure: string, subject: string): Statistics.Rounds =>
  results.figures.find(({ id }) => id === figure)?.subjects[subject]?.rounds ?? []
