/**
 * The server of the notes, reached through a relay, by those whose digests it is given.
 */
import { HttpApiBuilder, HttpLayerRouter, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { RemoteDigest, Tx3HttpServer, Tx3Node } from "@tx3/node"
import { Console, Effect, Layer, Logger, LogLevel, Option, Stream } from "effect"
import { Authorization, Forbidden, Notes, Peer } from "./Notes.js"

const [relay = "", ...friends] = process.argv.slice(2)

// TLS has proved the digest already, so there are no tokens and no sessions. A request that came by TCP has none.
const authorization = Layer.succeed(
  Authorization,
  Effect.gen(function*() {
    const digest = Option.getOrNull(yield* RemoteDigest.RemoteDigest)
    return digest !== null && friends.includes(digest) ? { digest } : yield* new Forbidden({ digest })
  })
)

const events = Stream.range(1, 3).pipe(
  Stream.map((number) => `data: event ${number}\n\n`),
  Stream.encodeText
)

// What these answer is seen by friends only, and each of them knows which friend it is.
const notes = HttpApiBuilder.group(Notes, "notes", (handlers) =>
  handlers
    .handle("add", ({ payload: { text } }) =>
      Effect.gen(function*() {
        const { digest } = yield* Peer
        yield* Console.log(`${digest} notes: ${text}`)
        return { by: digest, text }
      }))
    .handleRaw("events", () => Effect.succeed(HttpServerResponse.stream(events, { contentType: "text/event-stream" }))))

// Nothing up to here knows of tx3, but for `RemoteDigest`.
const server = HttpLayerRouter.addHttpApi(Notes).pipe(
  Layer.provide(notes),
  Layer.provide(authorization),
  HttpLayerRouter.serve
)

const announce = Layer.effectDiscard(
  Effect.flatMap(Tx3Node.Tx3Node, ({ addresses }) => Console.log(`serving at ${addresses.join(" and ")}`))
)

Layer.merge(server, announce).pipe(
  Layer.provide(Tx3HttpServer.layer({ bind: [relay], requireRegistration: true })),
  Layer.launch,
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
