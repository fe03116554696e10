/** The work of `tx3 receive`. */
import * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Receiver from "@tx3/reach/Receiver"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { allowsOf } from "../allowed.js"
import { listeningNode } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { tell, throttled } from "../tell.js"
import { printTransferred } from "../transferred.js"

export const run = ({ allow, allowFile, folder, identity, keep, known, maxSize, place }: {
  readonly allow: ReadonlyArray<string>
  readonly allowFile: Option.Option<string>
  readonly folder: string
  readonly identity: Option.Option<string>
  readonly keep: boolean
  readonly known: Option.Option<string>
  readonly maxSize: Option.Option<number>
  readonly place: string
}) =>
  Effect.gen(function*() {
    const allows = Option.getOrUndefined(yield* allowsOf({ allow, allowFile, known }))
    const { addresses, connections } = yield* listeningNode(identity, [place], { requireRegistration: true })
    yield* Console.log(addresses.join("\n"))
    const progress = oneAtATime(progressBar)
    yield* Receiver.run({
      allows,
      connections,
      keep,
      tell,
      tellOfStranger: throttled(tell, (more) => `; and ${more} more like it`),
      receive: (connection, onOffer) =>
        Effect.flatMap(
          FileTransfer.receive(connection, folder, progress, {
            maxSize: Option.getOrUndefined(maxSize),
            onOffer
          }),
          printTransferred
        )
    })
  }).pipe(Effect.scoped)

/** A terminal has room for one bar; a transfer that begins while another shows its own has none. */
const oneAtATime = (progress: FileTransfer.Progress): FileTransfer.Progress => {
  let isShown = false
  return (name, size) =>
    Effect.suspend(() => {
      if (isShown) {
        return Effect.succeed(() => {})
      }
      isShown = true
      return Effect.zipRight(
        Effect.addFinalizer(() =>
          Effect.sync(() => {
            isShown = false
          })
        ),
        progress(name, size)
      )
    })
}
