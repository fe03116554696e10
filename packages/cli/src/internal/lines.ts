/** Lists in files, an entry a line; `#` and what follows it is a comment. The carriage return of a CRLF goes with the blanks. */
export const of = (text: string): ReadonlyArray<{ readonly content: string; readonly line: number }> =>
  text.split("\n")
    .map((line, index) => ({ content: line.replace(/#.*/, "").trim(), line: index + 1 }))
    .filter(({ content }) => content !== "")

/** What is wrong, and where. */
export const at = (path: string, line: number | undefined, problem: string) =>
  line === undefined ? `${path}: ${problem}` : `${path}: line ${line}: ${problem}`
