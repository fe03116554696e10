/** Codes, as `tx3 send` prints them and `tx3 receive` takes them. */
import { nearest } from "@tx3/command/Nearest"
import { UsageError } from "@tx3/command/UsageError"
import * as Address from "@tx3/protocol/Address"
import * as Code from "@tx3/reach/Code"
import * as DefaultRelay from "@tx3/reach/DefaultRelay"
import * as Effect from "effect/Effect"

/** The relays to meet at: as said, or the default ones. */
export const relaysOf = (said: ReadonlyArray<string>, problem: string) =>
  Effect.gen(function*() {
    const [first, ...others] = said.length > 0 ? said : yield* DefaultRelay.read
    if (first === undefined) {
      return yield* new UsageError({ message: problem })
    }
    const relays = [first, ...others] as const
    const parsed = yield* Effect.forEach(relays, Address.parseWithDigest)
    const direct = parsed.find(({ scheme }) => scheme !== "tx3-rst")
    return direct === undefined
      ? relays
      : yield* new UsageError({ message: `${direct} is no relay; a code needs one: tx3-rst://HOST:PORT/DIGEST` })
  })

/** Reads a code, and suggests a word for one that no code has. */
export const codeOf = (text: string) =>
  Effect.catchTag(Code.parse(text), "CodeError", (error) =>
    Effect.gen(function*() {
      const meant = error.unknown === undefined ? undefined : nearest(error.unknown, yield* Code.words)
      return yield* (meant === undefined
        ? error
        : new UsageError({ message: `no code has the word ${JSON.stringify(error.unknown)}; did you mean ${meant}?` }))
    }))
