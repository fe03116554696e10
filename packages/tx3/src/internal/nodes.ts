/** The nodes that the commands of `tx3` run, and whom they connect to. */
import { nearest } from "@tx3/command/Nearest"
import { UsageError } from "@tx3/command/UsageError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Address from "@tx3/protocol/Address"
import * as DefaultRelay from "@tx3/reach/DefaultRelay"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { knownPath } from "./allowed.js"
import { registrations, tell } from "./tell.js"

/** The addresses that texts stand for, of which some may be names. Without names there need be no file of names. */
const addressesOf = (texts: ReadonlyArray<string>, known: Option.Option<string>) =>
  Effect.gen(function*() {
    const names = yield* Effect.cached(Effect.flatMap(knownPath(known), KnownFile.read))
    const found = yield* Effect.forEach(texts, (text) =>
      text.includes(":")
        ? Effect.as(Address.parseWithDigest(text), [text])
        : Effect.flatMap(names, (known) =>
          Effect.catchTag(
            KnownFile.addressesOf(known, text),
            "UnknownName",
            (error) => Effect.fail(suggested(error, known))
          )))
    return found.flat() as [string, ...Array<string>]
  })

const suggested = (error: KnownFile.UnknownName, { digests, path }: KnownFile.Known) => {
  const meant = error.wanted === "address" ? nearest(error.name, digests.keys()) : undefined
  return meant === undefined
    ? error
    : new UsageError({ message: `there is no name ${JSON.stringify(error.name)} in ${path}; did you mean ${meant}?` })
}

/** The addresses of one node, and its digest. */
export const destinationOf = (
  texts: readonly [string, ...Array<string>],
  known: Option.Option<string> = Option.none()
) =>
  Effect.gen(function*() {
    const addresses = yield* addressesOf(texts, known)
    const [first, ...others] = yield* Effect.forEach(addresses, Address.parseWithDigest)
    const other = others.find(({ digest }) => digest.value !== first!.digest.value)
    return other === undefined
      ? { destination: addresses, digest: first!.digest.value }
      : yield* new UsageError({
        message:
          `${other} is the address of another node than ${first}; give addresses of one node, which end in the same digest`
      })
  })

/** Whether a text is a name in the file of names. */
export const isName = (text: string) =>
  knownPath(Option.none()).pipe(
    Effect.flatMap(KnownFile.read),
    Effect.map(({ digests }) => digests.has(text)),
    Effect.catchTag("NoKnownFile", () => Effect.succeed(false))
  )

const identityOf = (identity: Option.Option<string>) =>
  Effect.map(Effect.transposeMapOption(identity, IdentityFile.read), Option.getOrUndefined)

/** Where to be reached: as said, or at the default relays. */
export const placesOf = (said: ReadonlyArray<string>, how: string) =>
  said.length > 0
    ? Effect.succeed(said)
    : Effect.filterOrFail(
      DefaultRelay.read,
      (relays) => relays.length > 0,
      () =>
        new UsageError({
          message: `say where to be reached, with ${how}; or set a relay for all commands once: tx3 relay use RELAY`
        })
    )

/** The options of a command's node, beyond its identity. */
interface Rules {
  readonly allowTruncated?: boolean
}

const make = (options: Tx3Node.Options, { allowTruncated = false }: Rules) =>
  Effect.provide(Tx3Node.make(options), [NodeConfig.layer({ allowTruncated }), Proxy.layerEnvironment])

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
