/**
 * A relay in a process of its own, under a descriptor limit. It runs the build in dist/, which `npm test` makes first.
 */
import { Address } from "@tx3/protocol"
import type { Relay } from "@tx3/relay"
import { Effect, Either } from "effect"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../fixtures/relay.js", import.meta.url))

export interface RelayProcess {
  readonly address: Address.Address
  /** What it says of itself now. */
  readonly snapshot: Effect.Effect<Relay.Snapshot & { readonly inconsistencies: ReadonlyArray<string> }>
}

/** Starts one that may open so many descriptors and occupies some of them itself. */
export const relayProcess = (options: { readonly descriptors: number; readonly occupied: number }) =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn("sh", [
          "-c",
          `ulimit -n ${options.descriptors} && exec "$0" "$@"`,
          process.execPath,
          script,
          `${options.occupied}`
        ], {
          stdio: ["pipe", "pipe", "inherit"]
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const line = Effect.promise(async () => {
      const { value } = await lines.next()
      return String(value)
    }).pipe(
      Effect.timeoutFail({
        duration: "60 seconds",
        onTimeout: () => new Error(`the relay's process has not said anything for 60 s (exit code: ${child.exitCode})`)
      }),
      Effect.orDie
    )
    return {
      address: Either.getOrThrow(Address.parse(yield* line)),
      snapshot: Effect.suspend(() => {
        child.stdin.write("\n")
        return Effect.map(line, (json) => JSON.parse(json))
      })
    } satisfies RelayProcess
  })
