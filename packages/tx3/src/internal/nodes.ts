/** What the commands of `tx3` have in common: who to be, whom to connect to, and the node for it. */
import * as Args from "@effect/cli/Args"
import * as Options from "@effect/cli/Options"
import { UsageError } from "@tx3/command/UsageError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Address from "@tx3/protocol/Address"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { registrations, tell } from "./tell.js"

export const identity = Options.text("identity").pipe(
  Options.withAlias("i"),
  Options.withPseudoName("FILE"),
  Options.withDescription("Who to be: a file that tx3 keygen made. Without it, somebody new each time"),
  Options.optional
)

/** @effect/cli takes a flag that it does not know for an argument. */
export const argument = (name: string) =>
  Args.withSchema(
    Args.text({ name }),
    Schema.String.pipe(
      Schema.filter((text) => !text.startsWith("-"), {
        message: (issue) => ({ message: `there is no flag ${JSON.stringify(issue.actual)}`, override: true })
      })
    )
  )

export const address = argument("ADDRESS").pipe(
  Args.withDescription("Whom to connect to: an address as tx3 listen, tx3 receive and tx3 expose print it")
)

export const addresses = address.pipe(
  Args.withDescription(
    "Whom to connect to: an address as tx3 listen and tx3 expose print it. Of several of one node, the first that answers is taken"
  ),
  Args.atLeast(1)
)

/** The addresses of one node, and its digest. */
export const destinationOf = (addresses: readonly [string, ...Array<string>]) =>
  Effect.gen(function*() {
    const [first, ...others] = yield* Effect.forEach(addresses, Address.parseWithDigest)
    const other = others.find(({ digest }) => digest.value !== first!.digest.value)
    return other === undefined
      ? { destination: addresses, digest: first!.digest.value }
      : yield* new UsageError({
        message:
          `${other} is somebody else's address than ${first}; give addresses of one node, which end in the same digest`
      })
  })

export const allowTruncated = Options.boolean("allow-truncated").pipe(
  Options.withDescription(
    "Take a connection that is cut off for one that has ended; only for data that says itself where it ends, as HTTP and SSH do"
  )
)

const identityOf = (identity: Option.Option<string>) =>
  Effect.map(Effect.transposeMapOption(identity, IdentityFile.read), Option.getOrUndefined)

/** What a command asks of its node, beyond who it is. */
interface Rules {
  readonly allowTruncated?: boolean
}

const make = (options: Tx3Node.Options, { allowTruncated = false }: Rules) =>
  Effect.provide(Tx3Node.make(options), NodeConfig.layer({ allowTruncated }))

export const connectingNode = (identity: Option.Option<string>, rules: Rules = {}) =>
  Effect.flatMap(identityOf(identity), (identity) => make({ identity }, rules))

/** A node that tells when it loses a relay and has it back. */
export const listeningNode = (
  identity: Option.Option<string>,
  bind: ReadonlyArray<string>,
  options: Pick<Tx3Node.Options, "requireRegistration"> & Rules
) =>
  Effect.gen(function*() {
    const { requireRegistration } = options
    const node = yield* make({ bind, identity: yield* identityOf(identity), requireRegistration }, options)
    yield* registrations(tell, node)
    return node
  })
