/** The work of `tx3 send`. */
import { bytes, table } from "@tx3/command/Table"
import { UsageError } from "@tx3/command/UsageError"
import { FileError } from "@tx3/files/FileError"
import type { ConnectError } from "@tx3/node/NodeError"
import type * as Tx3Node from "@tx3/node/Tx3Node"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as FileTransfer from "@tx3/reach/FileTransfer"
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
import { connectingNode, destinationOf } from "../nodes.js"
import { progressBar } from "../progressBar.js"
import { tell } from "../tell.js"
import { printTransferred } from "../transferred.js"

export const run = ({ dryRun, identity, name, words }: {
  readonly dryRun: boolean
  readonly identity: Option.Option<string>
  readonly name: Option.Option<string>
  readonly words: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const address = words.at(-1)!
    const paths = words.slice(0, -1)
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
    const { destination } = yield* destinationOf([address])
    const sources = yield* Effect.forEach(paths, (path) => opened(path, Option.getOrUndefined(name)))
    for (const skipped of sources.flatMap((source) => source.kind === "folder" ? source.skipped : [])) {
      yield* tell(`${skipped}; it is left out`)
    }
    if (dryRun) {
      return yield* Console.log(plan(sources))
    }
    const node = yield* connectingNode(identity)
    for (const [index, source] of sources.entries()) {
      const sent = yield* sendPatiently(node, destination, source, sources.length - 1 - index)
      yield* Effect.forEach(sent, printTransferred, { discard: true })
    }
  }).pipe(Effect.scoped)

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
    try: (signal) => pipeline(process.stdin, createWriteStream(file, { mode: 0o600 }), { signal }),
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
  more: number
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
      FileTransfer.send(connection, source, progress, { more, onAccepted: gotOn }).pipe(
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
  error._tag === "DialError" || error._tag === "NoneReachable" || error._tag === "PeerUnavailable" ||
  ((error._tag === "ConnectionError" || error._tag === "TransferError") && FileTransfer.isInterruption(error))
