/** The work of `tx3 send`. */
import { UsageError } from "@tx3/command/UsageError"
import * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { connectingNode, destinationOf } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { printTransferred } from "../transferred.js"

export const run = ({ address, file, identity }: {
  readonly address: string
  readonly file: string
  readonly identity: Option.Option<string>
}) =>
  Effect.gen(function*() {
    if (isAddress(file)) {
      return yield* new UsageError({ message: "the file comes first, and then the address: tx3 send FILE ADDRESS" })
    }
    const source = yield* Effect.mapError(FileTransfer.open(file), (error) =>
      new UsageError({ message: isMissing(error) ? `${file}: there is no such file` : error.message }))
    const { destination } = yield* destinationOf([address])
    const { connect } = yield* connectingNode(identity)
    yield* printTransferred(yield* FileTransfer.send(yield* connect(destination), source, progressBar))
  }).pipe(Effect.scoped)

const isMissing = ({ cause }: { readonly cause?: unknown }) =>
  (cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT"

/** Whether a text is meant to be an address, and not a file. */
const isAddress = (text: string) => /^tx3-r?st:/.test(text)
