/** The work of `tx3 reload`. */
import { UsageError } from "@tx3/command/UsageError"
import * as UpFile from "@tx3/reach/UpFile"
import * as UpStatus from "@tx3/reach/UpStatus"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { notUp } from "../notUp.js"

export const run = ({ config }: { readonly config: string }) =>
  Effect.gen(function*() {
    const { status: path } = yield* UpFile.read(config)
    const reloaded = yield* Effect.mapError(UpStatus.reload(path), (error) =>
      error._tag === "NotReloaded"
        ? new UsageError({ message: `${error.message}; nothing has changed` })
        : notUp(config, path)(error))
    yield* Console.log(reloadedForPeople(reloaded))
  })

/** What loading the file again has changed. */
export const reloadedForPeople = ({ kept, needsRestart, started, stopped }: UpStatus.Reloaded): string => {
  const line = (what: string, places: ReadonlyArray<string>) =>
    places.length === 0 ? [] : [`${what}: ${places.join(", ")}`]
  return [
    ...line("started", started),
    ...line("stopped", stopped),
    ...line("as before, but for their allowlists", kept),
    ...line("only after a restart", needsRestart)
  ].join("\n")
}
