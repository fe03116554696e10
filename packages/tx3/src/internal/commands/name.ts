/** The work of `tx3 name`. */
import { printable } from "@tx3/command/Printable"
import { table } from "@tx3/command/Table"
import { UsageError } from "@tx3/command/UsageError"
import * as Address from "@tx3/protocol/Address"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { knownPath } from "../allowed.js"
import { tell } from "../tell.js"

const calls: Record<string, string> = {
  add: "tx3 name add NAME ADDRESS...",
  list: "tx3 name list",
  remove: "tx3 name remove NAME",
  rename: "tx3 name rename NAME NEW_NAME"
}

export const run = ({ action, json, known, words }: {
  readonly action: string
  readonly json: boolean
  readonly known: Option.Option<string>
  readonly words: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const names = yield* KnownFile.read(yield* knownPath(known))
    const [name, ...rest] = words
    const calledWrongly = new UsageError({ message: `usage: ${calls[action]}` })
    switch (action) {
      case "list":
        return words.length > 0 ? yield* calledWrongly : yield* list(names, json)
      case "add": {
        const [first, ...others] = yield* Effect.forEach(rest, Address.parseWithDigest)
        if (name === undefined || first === undefined) {
          return yield* calledWrongly
        }
        const stranger = others.find(({ digest }) => digest.value !== first.digest.value)
        if (stranger !== undefined) {
          return yield* new UsageError({
            message: `${stranger} is the address of another node than ${first}; a name stands for one node`
          })
        }
        yield* KnownFile.set(names, name, [first, ...others])
        return yield* tell(`${name} is ${first.digest.value} from now on, in ${names.path}`)
      }
      case "remove":
        return name === undefined || rest.length > 0 ? yield* calledWrongly : yield* KnownFile.remove(names, name)
      default: {
        const [to] = rest
        return name === undefined || to === undefined || rest.length > 1
          ? yield* calledWrongly
          : yield* KnownFile.rename(names, name, to)
      }
    }
  })

const list = ({ addresses, digests, path }: KnownFile.Known, json: boolean) => {
  const entries = Array.from(digests, ([name, digest]) => ({ name, digest, addresses: addresses.get(name) ?? [] }))
  return json
    ? Console.log(JSON.stringify(entries, undefined, 2))
    : entries.length === 0
    ? tell(`there is no name in ${printable(path)}; tx3 name add NAME ADDRESS makes one`)
    : Console.log(table(
      ["name", "address"],
      entries.flatMap(({ addresses, digest, name }) =>
        (addresses.length > 0 ? addresses : [`${digest} (no address)`]).map((address) => [name, address])
      )
    ))
}
