/**
 * Lists in files: one entry a line; `#` begins a comment. It owns nothing.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A list that cannot be used: where it stands, which line, and what is wrong.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListError extends Schema.TaggedError<ListError>("@tx3/files/ListError")("ListError", {
  /** A file, a flag, or a key of a file. */
  place: Schema.String,
  line: Schema.optional(Schema.Int),
  problem: Schema.String
}) {
  override get message(): string {
    return this.line === undefined
      ? `${this.place}: ${this.problem}`
      : `${this.place}: line ${this.line}: ${this.problem}`
  }
}

/**
 * Gives the entries of a list and the lines they stand on. The carriage return of a CRLF goes with the blanks.
 *
 * @since 0.1.0
 * @category accessors
 */
export const entriesOf = (text: string): ReadonlyArray<{ readonly content: string; readonly line: number }> =>
  text.split("\n")
    .map((line, index) => ({ content: line.replace(/#.*/, "").trim(), line: index + 1 }))
    .filter(({ content }) => content !== "")
