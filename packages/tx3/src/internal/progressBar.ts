/** A bar on stderr for a transfer, where stderr is a terminal. */
import { printable } from "@tx3/command/Printable"
import { bytes } from "@tx3/command/Table"
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
          formatValue: (value, _, type) => type === "value" || type === "total" ? bytes(value) : String(value)
        }, cliProgress.Presets.legacy)
        bar.start(size, 0, { name: printable(name) })
        return bar
      }),
      (bar) => Effect.sync(() => bar.stop())
    ).pipe(Effect.map((bar) => (count) => bar.increment(count)))
    : Effect.succeed(() => {})
