/**
 * A sample of a soak, as one line of JSON in its file. A soak that is continued starts another relay, so each sample has the number
 * of its relay.
 */
import * as Schema from "effect/Schema"

const Counts = Schema.Record({ key: Schema.String, value: Schema.Number })

export const Sample = Schema.Struct({
  transport: Schema.Literal("kernel", "portable"),
  /** Counts the relays of a soak, from 1. */
  relay: Schema.Number,
  /** Seconds since that relay started. */
  seconds: Schema.Number,
  /** Splices in this sample, and of the whole soak so far. */
  splices: Schema.Number,
  splicesTotal: Schema.Number,
  residentBytes: Schema.Number,
  /** In use after a collection. */
  heapBytes: Schema.Number,
  descriptors: Schema.Number,
  pipes: Schema.Number,
  /** Open connections of the relay, in any stage. */
  connections: Schema.Number,
  cpuMsPerSplice: Schema.Number,
  /** Milliseconds from connect to the first byte back. */
  setUpP50: Schema.Number,
  setUpP99: Schema.Number,
  /** Scenarios that ended as they had to. */
  done: Counts,
  /** Peers that found no node, or lost it by a reset. */
  unserved: Schema.Number,
  reloads: Schema.Number,
  threadsKilled: Schema.Number
})

export type Sample = typeof Sample.Type

export const Line = Schema.parseJson(Sample)
