/**
 * What can go wrong while something is measured: always told to a person, who gets to know whose log to read.
 */
import * as Data from "effect/Data"

export class BenchError extends Data.TaggedError("BenchError")<{ readonly message: string }> {}
