/** The work of `tx3 page`. */
import { UsageError } from "@tx3/command/UsageError"
import * as UpFile from "@tx3/reach/UpFile"
import * as UpStatus from "@tx3/reach/UpStatus"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { notUp } from "../notUp.js"

export const run = ({ config }: { readonly config: string }) =>
  Effect.gen(function*() {
    const { status: path } = yield* UpFile.read(config)
    const { expiresInSeconds, link } = yield* Effect.mapError(UpStatus.page(path), (error) =>
      error._tag === "NoPage"
        ? new UsageError({ message: error.message })
        : notUp(config, path)(error))
    yield* Console.log(link)
    yield* Console.error(`It signs one browser in, within ${expiresInSeconds} seconds.`)
  })
