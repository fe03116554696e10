/** The work of `tx3 relay`. */
import { UsageError } from "@tx3/command/UsageError"
import * as DefaultRelay from "@tx3/reach/DefaultRelay"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { tell } from "../tell.js"

export const run = ({ action, relays }: { readonly action: string; readonly relays: ReadonlyArray<string> }) =>
  Effect.gen(function*() {
    const path = yield* DefaultRelay.path
    switch (action) {
      case "show": {
        const used = yield* DefaultRelay.read
        return used.length > 0
          ? yield* Console.log(used.join("\n"))
          : yield* tell("there is no default relay; tx3 relay use RELAY sets one")
      }
      default:
        if (Option.isNone(path)) {
          return yield* new UsageError({ message: "there is no HOME to keep it in; set TX3_RELAY in place of that" })
        }
        if (action === "use" && relays.length === 0) {
          return yield* new UsageError({ message: "usage: tx3 relay use RELAY..." })
        }
        yield* DefaultRelay.use(path.value, action === "use" ? relays : [])
        return yield* tell(
          action === "use"
            ? `commands use it where nothing else says: ${path.value}`
            : "there is no default relay any more"
        )
    }
  })
