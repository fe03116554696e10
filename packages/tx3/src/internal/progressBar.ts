/** A bar on stderr for a transfer, where stderr is a terminal. */
import { printable } from "@tx3/command/Printable"
import type { Progress } from "@tx3/reach/FileTransfer"
import cliProgress from "cli-progress"
import * as Effect from "effect/Effect"

export const progressBar: Progress = (name, size) =>
  process.stderr.isTTY
    ? Effect.acquireRelease(
      Effect.sync(() => {
        const bar = new cliProgress.SingleBar({
          stream: process.stderr,
          // The scope does it.
          gracefulExit: false,
          format: "{name} [{bar}] {percentage}% {value}/{total} {eta_formatted}",
          formatValue: (value, _, type) => type === "value" || type === "total" ? humanSize(value) : String(value)
        }, cliProgress.Presets.legacy)
        bar.start(size, 0, { name: printable(name) })
        return bar
      }),
      (bar) => Effect.sync(() => bar.stop())
    ).pipe(Effect.map((bar) => (bytes) => bar.increment(bytes)))
    : Effect.succeed(() => {})

const units = ["B", "KiB", "MiB", "GiB", "TiB"]

const humanSize = (bytes: number) => {
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1)
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}
