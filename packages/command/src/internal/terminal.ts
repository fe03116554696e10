/**
 * The terminal that @effect/cli asks for. No command of ours prompts for anything, so the module that reads keys is loaded when
 * `--wizard` asks for it.
 */
import * as Terminal from "@effect/platform/Terminal"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const real = Effect.flatMap(
  Effect.promise(() => import("@effect/platform-node/NodeTerminal")),
  ({ make }) => make()
)

export const layer = Layer.succeed(
  Terminal.Terminal,
  Terminal.Terminal.of({
    columns: Effect.sync(() => process.stdout.columns ?? 0),
    rows: Effect.sync(() => process.stdout.rows ?? 0),
    isTTY: Effect.sync(() => process.stdout.isTTY),
    display: (text) => Effect.scoped(Effect.flatMap(real, (terminal) => terminal.display(text))),
    readInput: Effect.flatMap(real, (terminal) => terminal.readInput),
    readLine: Effect.scoped(Effect.flatMap(real, (terminal) => terminal.readLine))
  })
)
