/**
 * A client of the notes. The server knows it by its identity, which is in a file, or else is a new one each time.
 */
import { FileSystem, HttpApiClient, HttpClient } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Tx3HttpClient } from "@tx3/node"
import { Identity } from "@tx3/protocol"
import { Console, Effect, Layer, Logger, LogLevel, Redacted, Stream } from "effect"
import { Notes } from "./Notes.js"

const [address = "", file] = process.argv.slice(2)

// The host of these URLs means nothing: every request of this client goes to the one address.
const baseUrl = "http://notes"

const program = Effect.gen(function*() {
  const { notes } = yield* HttpApiClient.make(Notes, { baseUrl })
  const note = yield* notes.add({ payload: { text: "hello" } })
  yield* Console.log(`noted for ${note.by}: ${note.text}`)

  // The derived client would give the events as one text, when they are over. This takes them as they come.
  const response = yield* HttpClient.get(`${baseUrl}/events`)
  yield* response.stream.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.filter((line) => line !== ""),
    Stream.runForEach(Console.log)
  )
}).pipe(
  Effect.catchTag("Forbidden", ({ digest }) => Console.log(`the server does not let in ${digest}`))
)

const identityIn = (file: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    return yield* Identity.fromPem(Redacted.make(yield* fs.readFileString(file)))
  })

const client = Layer.unwrapEffect(
  Effect.map(
    file === undefined ? Identity.generate : identityIn(file),
    (identity) => Tx3HttpClient.layer(address, { identity })
  )
)

program.pipe(
  Effect.provide(Layer.provide(client, NodeContext.layer)),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
