/** The work of `tx3 send`. */
import * as FileSystem from "@effect/platform/FileSystem"
import { bytes, table } from "@tx3/command/Table"
import { UsageError } from "@tx3/command/UsageError"
import { FileError } from "@tx3/files/FileError"
import type { ConnectError } from "@tx3/node/NodeError"
import type * as Tx3Node from "@tx3/node/Tx3Node"
import * as Address from "@tx3/protocol/Address"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Code from "@tx3/reach/Code"
import * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Meeting from "@tx3/reach/Meeting"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Arr from "effect/Array"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { createWriteStream } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { relaysOf } from "../codes.js"
import { connectingNode, destinationOf, isName } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { registrations, tell } from "../tell.js"
import { printTransferred } from "../transferred.js"

export const run = ({ compress, dryRun, identity, name, via, words }: {
  readonly compress: boolean
  readonly dryRun: boolean
  readonly identity: Option.Option<string>
  readonly name: Option.Option<string>
  readonly via: ReadonlyArray<string>
  readonly words: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const address = yield* addressIn(words)
    const paths = address === undefined ? words : words.slice(0, -1)
    if (paths.length === 0 || paths.some(isAddress)) {
      return yield* new UsageError({
        message: paths.length === 0
          ? "say what to send, and then the address: tx3 send PATH... ADDRESS"
          : "the address comes last, behind what to send: tx3 send PATH... ADDRESS"
      })
    }
    if (Option.isSome(name) && paths.length > 1) {
      return yield* new UsageError({ message: "--name is for one path; each of several has its own name" })
    }
    if (paths.includes("-") && Option.isNone(name)) {
      return yield* new UsageError({ message: "stdin has no name; give it one: tx3 send - ADDRESS --name NAME" })
    }
    if (address !== undefined && via.length > 0) {
      return yield* new UsageError({ message: "--via is for a code; with an address it has no meaning" })
    }
    const toReceiver = address === undefined ? yield* byCode(via) : yield* byAddress(address)
    const sources = yield* Effect.forEach(paths, (path) => opened(path, Option.getOrUndefined(name)))
    for (const skipped of sources.flatMap((source) => source.kind === "folder" ? source.skipped : [])) {
      yield* tell(`${skipped}; it is left out`)
    }
    if (dryRun) {
      return yield* Console.log(plan(sources))
    }
    const node = yield* connectingNode(identity)
    const destination = yield* toReceiver(node)
    for (const [index, source] of sources.entries()) {
      const sent = yield* sendPatiently(node, destination, source, { compress, more: sources.length - 1 - index })
      yield* Effect.forEach(sent, printTransferred, { discard: true })
    }
  }).pipe(Effect.scoped)

/** The last word, if it is an address or its name. One that is nothing is most likely meant as a name. */
const addressIn = (words: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const last = words.at(-1)!
    const fs = yield* FileSystem.FileSystem
    const isMeant = isAddress(last) || (yield* isName(last)) ||
      words.length > 1 && last !== "-" && !(yield* Effect.orElseSucceed(fs.exists(last), () => true))
    return isMeant ? last : undefined
  })

const byAddress = (address: string) =>
  Effect.map(destinationOf([address]), ({ destination }) => () => Effect.succeed<Tx3Node.Destination>(destination))

/** Has a receiver come by a code, and connects to the digest that it says then. */
const byCode = (via: ReadonlyArray<string>) =>
  Effect.map(relaysOf(via, noReceiver), (relays) => (node: Tx3Node.Tx3Node["Type"]) =>
    Effect.gen(function*() {
      const code = yield* Code.generate
      const text = Code.format(code)
      const receiver = yield* Meeting.wait({
        code,
        relays,
        ownDigest: node.digest,
        onRegistered: (node) =>
          // The meeting itself tells of another end with its number.
          registrations(tell, node, { contests: false }).pipe(
            Effect.zipRight(Console.log(text)),
            Effect.zipRight(tell(`at the other end: ${["tx3 receive", text, ...via].join(" ")}`))
          )
      })
      const addresses = yield* Effect.forEach(relays, Address.parseWithDigest)
      return Arr.map(addresses, (address) => address.withDigest(receiver)) as Tx3Node.Destination
    }))

const noReceiver =
  "say whom to send it to: tx3 send PATH... ADDRESS; or set a relay once, and tx3 send PATH... prints a code for the " +
  "receiver: tx3 relay use RELAY"

/** Whether a text is meant to be an address, and not a file. */
const isAddress = (text: string) => /^tx3-r?st:/.test(text)

const opened = (path: string, name: string | undefined) =>
  Effect.gen(function*() {
    const file = path === "-" ? yield* stored : path
    return yield* FileTransfer.open(file, name)
  }).pipe(Effect.mapError((error) =>
    new UsageError({
      message: (error.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT"
        ? `${path}: there is no such file or folder`
        : error.message
    })
  ))

/** All of stdin, in a file until the scope closes. What is sent has a size, and can be sent again. */
const stored: Effect.Effect<string, FileError, Scope.Scope> = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => mkdtemp(join(tmpdir(), "tx3-send-")),
      catch: (cause) => new FileError({ action: "write", path: tmpdir(), cause })
    }),
    (folder) => Effect.promise(() => rm(folder, { force: true, recursive: true }))
  )
  const file = join(folder, "stdin")
  yield* Effect.tryPromise({
    try: (signal) => pipeline(process.stdin, createWriteStream(file), { signal }),
    catch: (cause) => new FileError({ action: "read", path: "stdin", cause })
  })
  return file
})

/** What would be sent. */
const plan = (sources: ReadonlyArray<FileTransfer.Source>) => {
  const rows = sources.flatMap((source) =>
    source.kind === "file"
      ? [[source.name, bytes(source.size)]]
      : source.entries.flatMap((entry) =>
        "size" in entry
          ? [[`${source.name}/${entry.path}`, bytes(entry.size)]]
          : "link" in entry
          ? [[`${source.name}/${entry.path}`, `link to ${entry.link}`]]
          : []
      )
  )
  return table(["would be sent", "size"], [...rows, [
    "in all",
    bytes(sources.reduce((sum, { size }) => sum + size, 0))
  ]])
}

type Failure = ConnectError | Effect.Effect.Error<ReturnType<typeof FileTransfer.send>>

/** For how long a transfer is tried again that was on its way, from when it last got on. */
const patienceMs = 10 * 60_000
const everyWhile = Schedule.jittered(Schedule.union(Schedule.exponential(500), Schedule.spaced(10_000)))

/** Sends, and goes on when the connection is lost. What fails before the receiver has accepted anything, fails at once. */
const sendPatiently = (
  node: Tx3Node.Tx3Node["Type"],
  destination: Tx3Node.Destination,
  source: FileTransfer.Source,
  options: Pick<FileTransfer.SendOptions, "compress" | "more">
) =>
  Effect.gen(function*() {
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    let gotOnAt: number | undefined
    const gotOn = () => {
      gotOnAt = currentTimeMillis()
    }
    const progress: FileTransfer.Progress = (name, size) =>
      Effect.map(progressBar(name, size), (advance) => (bytes) => {
        gotOn()
        advance(bytes)
      })
    const once = Effect.flatMap(node.connect(destination), (connection) =>
      FileTransfer.send(connection, source, progress, { ...options, onAccepted: gotOn }).pipe(
        Effect.tapError(() =>
          connection.reset
        ),
        Effect.zipLeft(connection.close)
      ))
    const mayPass = (error: Failure) =>
      gotOnAt !== undefined && currentTimeMillis() - gotOnAt < patienceMs && isPassing(error)
    return yield* once.pipe(
      Effect.tapError((error) =>
        Effect.when(tell(`${error.message}; going on as soon as it is possible`), () => mayPass(error))
      ),
      Effect.retry({ schedule: everyWhile, while: mayPass })
    )
  })

const isPassing = (error: Failure) =>
  (error._tag === "ProxyError" && Proxy.mayPass(error)) || error._tag === "DialError" || error._tag === "TimedOut" ||
  error._tag === "NoneReachable" || error._tag === "PeerUnavailable" ||
  ((error._tag === "ConnectionError" || error._tag === "TransferError") && FileTransfer.isInterruption(error))
