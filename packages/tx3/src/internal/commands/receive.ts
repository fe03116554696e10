/** The work of `tx3 receive`. */
import * as FileSystem from "@effect/platform/FileSystem"
import { UsageError } from "@tx3/command/UsageError"
import * as Code from "@tx3/reach/Code"
import * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Meeting from "@tx3/reach/Meeting"
import * as Receiver from "@tx3/reach/Receiver"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { createInterface } from "node:readline"
import { allowsOf } from "../allowed.js"
import { codeOf, relaysOf } from "../codes.js"
import { listeningNode, placesOf } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { qrCodes } from "../qrCode.js"
import { tell, throttled } from "../tell.js"
import { printTransferred } from "../transferred.js"

export const run = ({ allow, allowFile, identity, keep, known, maxSize, qr, ...words }: {
  readonly allow: ReadonlyArray<string>
  readonly allowFile: Option.Option<string>
  readonly code: Option.Option<string>
  readonly folder: Option.Option<string>
  readonly identity: Option.Option<string>
  readonly keep: boolean
  readonly known: Option.Option<string>
  readonly maxSize: Option.Option<number>
  readonly place: Option.Option<string>
  readonly qr: boolean
}) =>
  Effect.gen(function*() {
    const { code, folder, relay } = yield* whereOf(words.code, words.place, words.folder)
    if (code !== undefined && (keep || qr || allow.length > 0 || Option.isSome(allowFile))) {
      return yield* new UsageError({
        message:
          "a code stands for one sender; --keep, --qr, --allow and --allow-file are for tx3 receive without a code"
      })
    }
    const relays = yield* (code === undefined
      ? placesOf(relay, "an address: tx3 receive RELAY DIR")
      : relaysOf(
        relay,
        "say at which relay the sender waits: tx3 receive CODE RELAY; or set it once: tx3 relay use RELAY"
      ))
    const allowed = Option.getOrUndefined(yield* allowsOf({ allow, allowFile, known }))
    const node = yield* listeningNode(identity, relays, { requireRegistration: true })
    const sender = code === undefined
      ? undefined
      : yield* Meeting.join({ code, ownDigest: node.digest, relays: relays as Meeting.Options["relays"] })
    if (sender === undefined) {
      yield* Console.log(node.addresses.join("\n"))
      yield* qrCodes(qr, node.addresses)
    }
    yield* Effect.forkScoped(Effect.repeat(removeOldParts(folder), Schedule.spaced("1 day")))
    const begun = yield* Deferred.make<void>()
    const progress = oneAtATime(progressBar)
    const receiving = Receiver.run({
      allows: sender === undefined ? allowed : (digest) => Effect.succeed(digest === sender),
      connections: node.connections,
      keep,
      tell,
      tellOfStranger: throttled(tell, (more) => `; and ${more} more like it`),
      receive: (connection, onOffer) =>
        Effect.flatMap(
          FileTransfer.receive(connection, folder, progress, {
            maxSize: Option.getOrUndefined(maxSize),
            onOffer: (offer) => {
              Deferred.unsafeDone(begun, Effect.void)
              onOffer(offer)
            }
          }),
          (files) => Effect.forEach(files, printTransferred, { discard: true })
        )
    })
    yield* sender === undefined
      ? receiving
      : Effect.raceFirst(receiving, Effect.zipRight(untilBegun(begun), Effect.never))
  }).pipe(Effect.scoped)

/** Removes what nobody has gone on with, and tells of it. */
const removeOldParts = (folder: string) =>
  Effect.flatMap(FileTransfer.removeOldParts(folder), (names) =>
    names.length === 0
      ? Effect.void
      : tell(`removed ${names.join(", ")}: parts of transfers that were interrupted more than a week ago`))

/** How long a sender may take that has met this end by a code, until it offers something. */
const beginMs = 60_000

const untilBegun = (begun: Deferred.Deferred<void>) =>
  Effect.timeoutFail(Deferred.await(begun), {
    duration: beginMs,
    onTimeout: () =>
      new FileTransfer.TransferError({
        problem: `the sender confirmed the code, and did not begin to send within ${beginMs} ms; ask it for a new code`
      })
  })

/** A line that is typed or piped in. Unlike an argument, other users of the machine do not see it. */
const lineOfStdin = Effect.async<string>((resume) => {
  // In a terminal's raw mode SIGINT would be this interface's.
  const prompt = process.stdin.isTTY ? "code: " : ""
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt, terminal: false })
  const end = (line: string) => {
    resume(Effect.succeed(line))
    lines.close()
  }
  lines.once("line", end).once("close", () => end("")).prompt()
  return Effect.sync(() => lines.close())
})

/** Which of the arguments is the code, which the relay and which the folder. Any may be missing, in any order. */
const whereOf = (...given: ReadonlyArray<Option.Option<string>>) =>
  Effect.gen(function*() {
    const words = given.flatMap(Option.toArray)
    const relay = words.filter((word) => /^tx3-r?st:/.test(word))
    const codes = words.filter((word) => word === "-" || Code.isMeant(word))
    const [folder = ".", second] = words.filter((word) => !relay.includes(word) && !codes.includes(word))
    const [text, another] = codes
    if (another !== undefined) {
      return yield* new UsageError({ message: `${text} and ${another} are two codes; receive one after the other` })
    }
    const code = text === undefined ? undefined : yield* codeOf(text === "-" ? yield* lineOfStdin : text)
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
      ? { code, folder, relay }
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
