/**
 * An @effect/rpc server that is reached through a relay.
 */
import { NodeRuntime } from "@effect/platform-node"
import { RpcSerialization, RpcServer } from "@effect/rpc"
import { RemoteDigest, Tx3Node, Tx3SocketServer } from "@tx3/node"
import { Console, Effect, Layer, Logger, LogLevel, Option, Stream } from "effect"
import { Demo } from "./Demo.js"

const [relay = ""] = process.argv.slice(2)

// `RemoteDigest` is whom a handler serves. Over plain TCP there is nobody to know.
const handlers = Demo.toLayer({
  WhoAmI: () =>
    Effect.map(
      RemoteDigest.RemoteDigest,
      Option.getOrElse(() => "somebody")
    ),
  Count: ({ to }) => Stream.range(1, to)
})

// The server serves any `SocketServer`.
const server = RpcServer.layer(Demo).pipe(
  Layer.provide(handlers),
  Layer.provide(RpcServer.layerProtocolSocketServer),
  Layer.provide(RpcSerialization.layerNdjson)
)

// This one is a node, registered at the relay. A new identity is made for it, as none is given.
const place = Tx3SocketServer.layer({ bind: [relay], requireRegistration: true })

const announce = Layer.effectDiscard(
  Effect.flatMap(Tx3Node.Tx3Node, ({ addresses }) => Console.log(`serving at ${addresses.join(" and ")}`))
)

Layer.launch(Layer.provide(Layer.merge(server, announce), place)).pipe(
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
