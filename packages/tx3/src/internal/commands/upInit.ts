/** The work of `tx3 up --init`: a file with one service, from flags, and on a terminal from what is asked. */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { UsageError } from "@tx3/command/UsageError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import { FileExists, writeNew } from "@tx3/files/NewFile"
import * as Address from "@tx3/protocol/Address"
import * as DefaultRelay from "@tx3/reach/DefaultRelay"
import * as LocalEndpoint from "@tx3/reach/LocalEndpoint"
import * as Effect from "effect/Effect"
import { createInterface } from "node:readline/promises"
import { tell } from "../tell.js"

interface Answers {
  readonly relays: ReadonlyArray<string>
  readonly expose: string | undefined
}

export const init = (config: string, given: Answers) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { dirname, join } = yield* Path.Path
    if (yield* Effect.orElseSucceed(fs.exists(config), () => false)) {
      return yield* new FileExists({ path: config })
    }
    const known = given.relays.length > 0 ? given.relays : yield* DefaultRelay.read
    const { expose, relays } = yield* completed({ ...given, relays: known })
    yield* Effect.forEach(relays, Address.parseWithDigest)
    const { name, service } = yield* serviceIn(expose ?? "ssh=22")
    const identity = join(dirname(config), `${name}.pem`)
    if (yield* Effect.orElseSucceed(fs.exists(identity), () => false)) {
      yield* tell(`${identity} is there already, and is used`)
    } else {
      yield* IdentityFile.create(identity)
      yield* tell(`made ${identity}: keep it, and keep it secret`)
    }
    yield* writeNew(config, textOf(relays, name, LocalEndpoint.format(service)), 0o600)
    yield* tell(`wrote ${config}; tx3 up --config ${config} brings it up`)
  })

/** `NAME=ENDPOINT`, as ssh=22. */
const serviceIn = (text: string) =>
  Effect.gen(function*() {
    const [, name, endpoint] = /^([\w-]{1,64})=(.+)$/.exec(text) ?? []
    return name === undefined
      ? yield* new UsageError({
        message: `--expose ${JSON.stringify(text)}: write NAME=ENDPOINT, as ssh=22 or web=unix:/run/web.sock`
      })
      : { name, service: yield* LocalEndpoint.parse(endpoint!) }
  })

/** Asks for what is missing, where somebody can answer. */
const completed = (given: Answers): Effect.Effect<Answers, UsageError> =>
  process.stdin.isTTY && process.stdout.isTTY
    ? Effect.acquireUseRelease(
      Effect.sync(() => createInterface({ input: process.stdin, output: process.stdout })),
      (terminal) =>
        Effect.promise(async (signal) => ({
          relays: given.relays.length > 0
            ? given.relays
            : [(await terminal.question("The relay's address, as tx3-relay prints it: ", { signal })).trim()],
          expose: given.expose ??
            ((await terminal.question("What to expose, as NAME=PORT or NAME=HOST:PORT [ssh=22]: ", { signal }))
              .trim() ||
              undefined)
        })),
      (terminal) => Effect.sync(() => terminal.close())
    )
    : given.relays.length > 0
    ? Effect.succeed(given)
    : new UsageError({ message: "say at which relay: tx3 up --init --via RELAY; or set one once: tx3 relay use RELAY" })

const textOf = (relays: ReadonlyArray<string>, name: string, service: string) =>
  `# What tx3 up exposes and forwards. Paths are relative to this folder. tx3 reload loads the file again.

relays:
${relays.map((relay) => `  - ${relay}`).join("\n")}

expose:
  ${name}:
    service: ${service}
    # The address is derived from it. Each service needs its own: tx3 keygen FILE
    identity: ${name}.pem
    # Who may connect: digests that tx3 keygen printed, or names of tx3 name. Without it, anyone who knows the address may.
    # allow: [laptop]

# forward:
#   home:
#     to:
#       - ADDRESS
#     listen: 127.0.0.1:2222
#     identity: me.pem
`
