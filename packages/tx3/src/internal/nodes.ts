/** The nodes that the commands of `tx3` run, and whom they connect to. */
import { UsageError } from "@tx3/command/UsageError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Address from "@tx3/protocol/Address"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { registrations, tell } from "./tell.js"

/** The addresses of one node, and its digest. */
export const destinationOf = (addresses: readonly [string, ...Array<string>]) =>
  Effect.gen(function*() {
    const [first, ...others] = yield* Effect.forEach(addresses, Address.parseWithDigest)
    const other = others.find(({ digest }) => digest.value !== first!.digest.value)
    return other === undefined
      ? { destination: addresses, digest: first!.digest.value }
      : yield* new UsageError({
        message:
          `${other} is the address of another node than ${first}; give addresses of one node, which end in the same digest`
      })
  })

const identityOf = (identity: Option.Option<string>) =>
  Effect.map(Effect.transposeMapOption(identity, IdentityFile.read), Option.getOrUndefined)

/** The options of a command's node, beyond its identity. */
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
