/** The work of `tx3 connect`. */
import { endStdout } from "@tx3/command/EndStdout"
import * as Pipe from "@tx3/reach/Pipe"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { introduction } from "../introduction.js"
import { connectingNode, destinationOf } from "../nodes.js"

export const run = ({ addresses, allowTruncated, identity, known, name }: {
  readonly addresses: readonly [string, ...Array<string>]
  readonly allowTruncated: boolean
  readonly identity: Option.Option<string>
  readonly known: Option.Option<string>
  readonly name: Option.Option<string>
}) =>
  Effect.gen(function*() {
    const { destination, digest } = yield* destinationOf(addresses, known)
    const { introduce } = yield* introduction(digest, name, known)
    const node = yield* connectingNode(identity, { allowTruncated })
    const connection = yield* node.connect(destination)
    // What answers may be a relay, until it has sent something else than a relay does, or refused this end.
    yield* Pipe.run(connection, process, { endStdout, onAnswer: introduce, ownDigest: node.digest }).pipe(
      Effect.tapErrorTag("Refused", () => introduce)
    )
  }).pipe(Effect.scoped)
