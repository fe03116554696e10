/**
 * Writing to stdout failed: its disk is full, or its reader has closed it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { problemOf } from "./SystemProblem.js"

/**
 * A write to stdout failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutputError extends Schema.TaggedError<OutputError>("@tx3/files/OutputError")("OutputError", {
  cause: Schema.Defect
}) {
  /** Whether its reader has gone, as `head` does: nothing is wrong then, and there is nothing left to do. */
  get isClosed(): boolean {
    return (this.cause as NodeJS.ErrnoException).code === "EPIPE"
  }

  override get message(): string {
    return `cannot write to stdout: ${problemOf(this.cause)}`
  }
}
