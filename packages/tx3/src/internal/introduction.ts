/** Names for peers that answer, as `tx3 connect` and `tx3 forward` keep them. */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { knownPath } from "./allowed.js"
import { tell } from "./tell.js"

/**
 * Stores the name that was asked for, once `introduce` is run because the peer has answered, and is no relay. Without one, prints the
 * digest of a peer that has no name.
 */
export const introduction = (digest: CertDigest, name: Option.Option<string>, known: Option.Option<string>) =>
  Effect.gen(function*() {
    const path = yield* knownPath(known)
    if (Option.isSome(name)) {
      yield* KnownFile.check(yield* KnownFile.read(path), digest, name.value)
    }
    const context = yield* Effect.context<Effect.Effect.Context<ReturnType<typeof KnownFile.add>>>()
    const introduce = Effect.gen(function*() {
      const known = yield* KnownFile.read(path)
      if (Option.isSome(name)) {
        if (yield* KnownFile.add(known, digest, name.value)) {
          yield* tell(`${digest} is ${name.value} from now on, in ${path}`)
        }
      } else if (!known.names.has(digest)) {
        yield* tell(`${digest} has answered, who has no name here; --name NAME gives one`)
      }
    }).pipe(Effect.catchAll((error) => tell(error.message)), Effect.provide(context))
    return { introduce: yield* Effect.once(introduce), path }
  })
