/** The work of `tx3 receive`. */
import * as FileSystem from "@effect/platform/FileSystem"
import { UsageError } from "@tx3/command/UsageError"
import * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Receiver from "@tx3/reach/Receiver"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { allowsOf } from "../allowed.js"
import { listeningNode, placesOf } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { qrCodes } from "../qrCode.js"
import { tell, throttled } from "../tell.js"
import { printTransferred } from "../transferred.js"

export const run = ({ allow, allowFile, folder: lastArgument, identity, keep, known, maxSize, place, qr }: {
  readonly allow: ReadonlyArray<string>
  readonly allowFile: Option.Option<string>
  readonly folder: Option.Option<string>
  readonly identity: Option.Option<string>
  readonly keep: boolean
  readonly known: Option.Option<string>
  readonly maxSize: Option.Option<number>
  readonly place: Option.Option<string>
  readonly qr: boolean
}) =>
  Effect.gen(function*() {
    const { folder, relay } = yield* whereOf(place, lastArgument)
    const allows = Option.getOrUndefined(yield* allowsOf({ allow, allowFile, known }))
    const { addresses, connections } = yield* listeningNode(
      identity,
      yield* placesOf(relay, "an address: tx3 receive RELAY DIR"),
      { requireRegistration: true }
    )
    yield* Console.log(addresses.join("\n"))
    yield* qrCodes(qr, addresses)
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
          (files) => Effect.forEach(files, printTransferred, { discard: true })
        )
    })
  }).pipe(Effect.scoped)

/** Which of two arguments is the relay and which the folder, either of which may be missing, and in which order they may be. */
const whereOf = (...given: ReadonlyArray<Option.Option<string>>) =>
  Effect.gen(function*() {
    const words = given.flatMap(Option.toArray)
    const relay = words.filter((word) => /^tx3-r?st:/.test(word))
    const [folder = ".", second] = words.filter((word) => !relay.includes(word))
    if (second !== undefined) {
      return yield* new UsageError({
        message: `${
          JSON.stringify(folder)
        } is no address of a relay; write tx3 receive tx3-rst://HOST:PORT/DIGEST ${second}`
      })
    }
    const fs = yield* FileSystem.FileSystem
    const stats = yield* Effect.option(fs.stat(folder))
    return Option.exists(stats, ({ type }) => type === "Directory")
      ? { folder, relay }
      : yield* new UsageError({
        message: Option.isSome(stats)
          ? `${folder} is not a folder`
          : `${folder}: there is no such folder; make it, or name another`
      })
  })

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
