/** The work of `tx3 expose`. */
import { UsageError } from "@tx3/command/UsageError"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import type * as Tx3Node from "@tx3/node/Tx3Node"
import * as Destinations from "@tx3/reach/Destinations"
import * as Expose from "@tx3/reach/Expose"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as LocalEndpoint from "@tx3/reach/LocalEndpoint"
import { Socks } from "@tx3/reach/Socks"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { allowsOf, knownPath } from "../allowed.js"
import { listeningNode, placesOf } from "../nodes.js"
import { qrCodes } from "../qrCode.js"
import { events, tell } from "../tell.js"

export const run = ({ allow, allowFile, allowTruncated, identity, known, qr, service, to, via }: {
  readonly allow: ReadonlyArray<string>
  readonly allowFile: Option.Option<string>
  readonly allowTruncated: boolean
  readonly identity: Option.Option<string>
  readonly known: Option.Option<string>
  readonly qr: boolean
  readonly service: string
  readonly to: ReadonlyArray<string>
  readonly via: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const target = yield* serviceOf(service, to, { isOpen: allow.length === 0 && Option.isNone(allowFile) })
    const path = yield* knownPath(known)
    const allows = yield* allowsOf({ allow, allowFile, known })
    const places = yield* placesOf(via, "--via RELAY")
    const node = yield* listeningNode(identity, places, { allowTruncated, requireRegistration: false })
    if (Option.isNone(identity)) {
      yield* tell("without --identity the address is another one each time")
    }
    if (Option.isNone(allows)) {
      yield* tell("anyone who knows the address may connect; --allow DIGEST changes that")
    }
    yield* untilReachable(node)
    yield* Console.log(node.addresses.join("\n"))
    yield* qrCodes(qr, node.addresses)
    return yield* Expose.serve({
      node,
      service: target,
      allows: Option.getOrUndefined(allows),
      onEvent: events(tell, yield* KnownFile.namesIn(path))
    })
  }).pipe(Effect.scoped)

/** An endpoint, or a SOCKS5 proxy, which is never open and leads nowhere of itself. */
const serviceOf = (service: string, to: ReadonlyArray<string>, { isOpen }: { readonly isOpen: boolean }) =>
  Effect.gen(function*() {
    if (service !== "socks") {
      return to.length === 0
        ? yield* LocalEndpoint.parse(service)
        : yield* new UsageError({ message: "--to goes with tx3 expose socks alone" })
    }
    if (isOpen) {
      return yield* new UsageError({
        message: "a SOCKS5 proxy is never for everyone; say who may connect: --allow DIGEST, or --allow-file FILE"
      })
    }
    return to.length === 0
      ? yield* new UsageError({ message: "say what may be connected to, as --to 192.168.1.0/24:22,80" })
      : new Socks({ to: yield* Destinations.parse(to) })
  })

/** Waits until peers can connect, directly or through a relay. */
const untilReachable = ({ addresses, registrations }: Tx3Node.Tx3Node["Type"]) =>
  addresses.length > registrations.length
    ? Effect.void
    : Effect.raceAll(
      registrations.map(({ state }) =>
        Stream.runHead(Stream.filter(state.changes, RelayRegistration.State.$is("Live")))
      )
    )
