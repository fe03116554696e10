/**
 * Makes what another machine exposes reachable on this one, as the identity that the other machine knows.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Tx3Node } from "@tx3/node"
import { Identity } from "@tx3/protocol"
import { Forward, LocalEndpoint } from "@tx3/reach"
import { Console, Effect, Logger, LogLevel, Redacted } from "effect"

const [address = "", local = "", file = ""] = process.argv.slice(2)

const tell = (event: Forward.Event) =>
  Forward.Event.$match(event, {
    Opened: ({ passage }) => Console.log(`connected to ${passage.peer}`),
    Closed: ({ because, passage }) => {
      const { fromPeer, toPeer } = passage.carried()
      return because === undefined
        ? Console.log(`closed after ${fromPeer} bytes from there and ${toPeer} to there`)
        : Console.log(`closed: ${because.message}`)
    },
    Waiting: ({ because }) => Console.log(`waiting: ${because.message}`),
    Failed: ({ because }) => Console.log(`failed: ${because.message}`)
  })

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const identity = yield* Identity.fromPem(Redacted.make(yield* fs.readFileString(file)))
  const node = yield* Tx3Node.make({ identity })
  const endpoint = yield* Forward.listen({
    node,
    destination: address,
    endpoint: yield* LocalEndpoint.parse(local),
    onEvent: tell
  })
  yield* Console.log(`connect to ${LocalEndpoint.format(endpoint)}`)
  return yield* Effect.never
})

program.pipe(
  Effect.scoped,
  Effect.provide(NodeContext.layer),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
