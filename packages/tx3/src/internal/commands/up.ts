/** The work of `tx3 up`. */
import * as Up from "@tx3/reach/Up"
import * as UpFile from "@tx3/reach/UpFile"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { reporterOf } from "../tell.js"
import { build } from "../version.js"

export const run = ({ config }: { readonly config: string }) =>
  Effect.gen(function*() {
    const places = yield* Up.start(yield* UpFile.read(config), { version: build.version, reporterOf })
    yield* Console.log(places.map(({ at, name }) => `${name} ${at}`).join("\n"))
    return yield* Effect.never
  }).pipe(Effect.scoped)
