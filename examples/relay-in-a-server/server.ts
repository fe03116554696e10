/**
 * A relay in a program that is an HTTP server besides: both are layers, they start and end together, and a route of the
 * server asks the relay what it is doing.
 */
import { HttpLayerRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Relay, RelayConfig } from "@tx3/relay"
import { Console, Effect, Layer, Logger, LogLevel } from "effect"
import { createServer } from "node:http"

const [bind = "", port = ""] = process.argv.slice(2)

// The relay. Without an identity it makes a new one, and its address is another each time it starts.
const relay = Relay.layerOpen.pipe(Layer.provide(RelayConfig.layer({ bind: [bind] })))

const http = NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: Number(port) })

// A route like any other. It takes the relay from its environment once, and asks it at each request.
const snapshot = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    const relay = yield* Relay.Relay
    yield* router.add("GET", "/", Effect.flatMap(relay.snapshot, (snapshot) => HttpServerResponse.json(snapshot)))
  })
)

const announce = Layer.effectDiscard(Effect.gen(function*() {
  const { addresses } = yield* Relay.Relay
  yield* Console.log(`a relay at ${addresses.join(" and ")}`)
  yield* HttpServer.addressFormattedWith((address) => Console.log(`what it is doing, at ${address}`))
}))

const program = HttpLayerRouter.serve(snapshot).pipe(
  Layer.merge(announce),
  Layer.provide([relay, http])
)

// Until SIGINT or SIGTERM. Then the relay lets running splices end, for at most its `drainTimeoutMs`.
Layer.launch(program).pipe(
  Logger.withMinimumLogLevel(LogLevel.Error),
  NodeRuntime.runMain
)
