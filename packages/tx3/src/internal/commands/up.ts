/** The work of `tx3 up`. */
import * as Program from "@tx3/command/Program"
import { UsageError } from "@tx3/command/UsageError"
import * as Up from "@tx3/reach/Up"
import * as UpFile from "@tx3/reach/UpFile"
import * as UpLog from "@tx3/reach/UpLog"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { reporterOf, tell } from "../tell.js"
import { build } from "../version.js"
import { reloadedForPeople } from "./reload.js"

export const run = ({ config, expose, init, via }: {
  readonly config: string
  readonly expose: Option.Option<string>
  readonly init: boolean
  readonly via: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    if (init) {
      const module = yield* Effect.promise(() => import("./upInit.js"))
      return yield* module.init(config, { relays: via, expose: Option.getOrUndefined(expose) })
    }
    if (via.length > 0 || Option.isSome(expose)) {
      return yield* new UsageError({
        message: "--via and --expose go with --init; the file says what to expose, and where"
      })
    }
    const log = UpLog.make()
    const tellAndKeep = (text: string) => Effect.zipRight(log.add(text), tell(text))
    const { places, reload } = yield* Effect.provide(
      Up.start(yield* UpFile.read(config), { version: build.version, log, reporterOf: reporterOf(tellAndKeep) }),
      Proxy.layerEnvironment
    )
    yield* Program.onHangUp(Effect.matchEffect(reload, {
      onFailure: ({ message }) => tellAndKeep(`${message}; nothing has changed`),
      onSuccess: (reloaded) => tellAndKeep(reloadedForPeople(reloaded).replaceAll("\n", "; "))
    }))
    yield* Console.log(places.map(({ at, name }) => `${name} ${at}`).join("\n"))
    return yield* Effect.never
  }).pipe(Effect.scoped)
