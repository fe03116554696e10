/**
 * That the system did not read or write a file: its disk is full, it may not, the disk fails.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { problemOf } from "./SystemProblem.js"

/**
 * The system refused to read or to write a file, or failed at it.
 *
 * @since 0.1.0
 * @category errors
 */
export class FileError extends Schema.TaggedError<FileError>("@tx3/files/FileError")("FileError", {
  action: Schema.Literal("read", "write"),
  path: Schema.String,
  cause: Schema.Defect
}) {
  /** The operating system's reason. */
  get problem(): string {
    return problemOf(this.cause)
  }

  override get message(): string {
    return `cannot ${this.action} ${this.path}: ${this.problem}`
  }
}
