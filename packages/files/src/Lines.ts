/**
 * Lists in files: one entry a line; `#` begins a comment. It owns nothing.
 *
 * @since 0.1.0
 */

/**
 * Gives the entries of a list and the lines they stand on. The carriage return of a CRLF goes with the blanks.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (text: string): ReadonlyArray<{ readonly content: string; readonly line: number }> =>
  text.split("\n")
    .map((line, index) => ({ content: line.replace(/#.*/, "").trim(), line: index + 1 }))
    .filter(({ content }) => content !== "")

/**
 * Writes what is wrong, and where.
 *
 * @since 0.1.0
 * @category getters
 */
export const at = (path: string, line: number | undefined, problem: string): string =>
  line === undefined ? `${path}: ${problem}` : `${path}: line ${line}: ${problem}`
