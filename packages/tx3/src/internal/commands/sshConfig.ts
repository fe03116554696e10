/** The work of `tx3 ssh-config`. */
import * as Path from "@effect/platform/Path"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { destinationOf } from "../nodes.js"

export const run = ({ identity, known, name, user }: {
  readonly identity: Option.Option<string>
  readonly known: Option.Option<string>
  readonly name: string
  readonly user: Option.Option<string>
}) =>
  Effect.gen(function*() {
    const { resolve } = yield* Path.Path
    // It must be known, or ssh would be the first to say that it is not.
    yield* destinationOf([name], known)
    const flag = (name: string, file: Option.Option<string>) =>
      Option.match(file, { onNone: () => [], onSome: (file) => [name, quoted(resolve(file))] })
    const command = ["tx3 connect", ...flag("--identity", identity), ...flag("--known", known), name].join(" ")
    yield* Console.log([
      `Host ${name}`,
      ...Option.match(user, { onNone: () => [], onSome: (user) => [`  User ${user}`] }),
      `  ProxyCommand ${command}`
    ].join("\n"))
  })

/** For ssh, which replaces what is behind %, and the shell that it gives the command to. */
const quoted = (text: string) => {
  const forSsh = text.replaceAll("%", "%%")
  return /^[\w%@:,./+-]+$/.test(forSsh) ? forSsh : `'${forSsh.replaceAll("'", "'\\''")}'`
}
