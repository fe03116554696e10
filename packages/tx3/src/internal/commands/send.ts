/** The work of `tx3 send`. */
import * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { connectingNode } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { printTransferred } from "../transferred.js"

export const run = ({ address, file, identity }: {
  readonly address: string
  readonly file: string
  readonly identity: Option.Option<string>
}) =>
  Effect.gen(function*() {
    const source = yield* FileTransfer.open(file)
    const { connect } = yield* connectingNode(identity)
    yield* printTransferred(yield* FileTransfer.send(yield* connect(address), source, progressBar))
  }).pipe(Effect.scoped)
