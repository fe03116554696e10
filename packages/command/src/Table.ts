/**
 * Tables and quantities, for people. It owns nothing.
 *
 * @since 0.1.0
 */
import { printable } from "./Printable.js"

/**
 * Writes rows under a heading: columns as wide as their widest cell, numbers to the right.
 *
 * @since 0.1.0
 * @category getters
 */
export const table = (heading: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string | number>>): string => {
  const printed = rows.map((row) => row.map((cell) => typeof cell === "number" ? cell : printable(cell)))
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...printed.map((row) => `${row[column]}`.length))
  )
  const line = (cells: ReadonlyArray<string | number>) =>
    cells.map((cell, column) =>
      typeof cell === "number" ? `${cell}`.padStart(widths[column]!) : cell.padEnd(widths[column]!)
    ).join("  ").trimEnd()
  return [line(heading), ...printed.map(line)].join("\n")
}

const units = ["B", "kB", "MB", "GB", "TB", "PB"]

/**
 * Writes a number of bytes with three digits and a unit of 1000.
 *
 * @since 0.1.0
 * @category getters
 */
export const bytes = (count: number): string => {
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)))
  return `${Number((count / 1000 ** power).toPrecision(3))} ${units[power]}`
}

/**
 * Writes the largest two units of a time.
 *
 * @since 0.1.0
 * @category getters
 */
export const duration = (seconds: number): string => {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]] as const
  const first = parts.findIndex(([length]) => seconds >= length)
  return first === -1 ? "0 s" : parts.slice(first, first + 2).map(([length, unit], position) => {
    const rest = position === 0 ? seconds : seconds % parts[first]![0]
    return `${Math.floor(rest / length)} ${unit}`
  }).join(" ")
}
