/** The work of `tx3 forward`. */
import * as Forward from "@tx3/reach/Forward"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as LocalEndpoint from "@tx3/reach/LocalEndpoint"
import { removeStaleSocket } from "@tx3/sockets/UnixSocket"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { introduction } from "../introduction.js"
import { connectingNode, destinationOf } from "../nodes.js"
import { events, tell } from "../tell.js"

export const run = ({ addresses, allowTruncated, identity, known, listen, name }: {
  readonly addresses: readonly [string, ...Array<string>]
  readonly allowTruncated: boolean
  readonly identity: Option.Option<string>
  readonly known: Option.Option<string>
  readonly listen: string
  readonly name: Option.Option<string>
}) =>
  Effect.gen(function*() {
    const { destination, digest } = yield* destinationOf(addresses, known)
    const { introduce, path } = yield* introduction(digest, name, known)
    const at = yield* LocalEndpoint.parse(listen)
    const node = yield* connectingNode(identity, { allowTruncated })
    if (LocalEndpoint.$is("Unix")(at)) {
      yield* removeStaleSocket(at.path)
    }
    const toldOf = events(tell, yield* KnownFile.namesIn(path))
    const bound = yield* Forward.listen({
      node,
      destination,
      endpoint: at,
      onAnswer: introduce,
      onEvent: (event) =>
        (event._tag === "Closed" || event._tag === "Failed") && event.because?._tag === "Refused"
          ? Effect.zipRight(introduce, toldOf(event))
          : toldOf(event)
    })
    yield* tell(`connecting as ${node.digest}`)
    yield* Console.log(LocalEndpoint.format(bound))
    return yield* Effect.never
  }).pipe(Effect.scoped)
