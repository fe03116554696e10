/**
 * An @effect/rpc client of a server behind a relay.
 */
import { NodeRuntime } from "@effect/platform-node"
import { RpcClient, RpcSerialization } from "@effect/rpc"
import { Tx3Socket } from "@tx3/node"
import { Console, Effect, Layer, Logger, LogLevel, Stream } from "effect"
import { Demo } from "./Demo.js"

const [address = ""] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const demo = yield* RpcClient.make(Demo)
  yield* Console.log(`the server calls me ${yield* demo.WhoAmI()}`)
  yield* Stream.runForEach(demo.Count({ to: 3 }), (number) => Console.log(`it counts ${number}`))
})

// The client speaks through any `Socket`. This one leads to the server's address, whoever carries it there.
const place = Tx3Socket.layer(address)

const protocol = RpcClient.layerProtocolSocket().pipe(
  Layer.provide(RpcSerialization.layerNdjson),
  Layer.provide(place)
)

program.pipe(
  Effect.scoped,
  Effect.provide(protocol),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
