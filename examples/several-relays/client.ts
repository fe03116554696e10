/**
 * Asks a node at several relays for its greeting, again and again, and tells which relay led there.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Tx3Node } from "@tx3/node"
import { Console, Effect, Logger, LogLevel, Schedule, Stream } from "effect"

const [address = "", ...others] = process.argv.slice(2)

const ask = (node: Tx3Node.Tx3Node["Type"]) =>
  Effect.gen(function*() {
    // All addresses are of one node. Each is tried, the first soonest, and the first that leads there is taken.
    const connection = yield* node.connect([address, ...others])
    const greeting = yield* connection.readable.pipe(Stream.decodeText(), Stream.mkString)
    yield* connection.end
    yield* Console.log(`${greeting}, by way of 127.0.0.1:${connection.remoteAddress.port}`)
  }).pipe(
    Effect.scoped,
    // A relay may go away in the middle of it; then the other is a way still.
    Effect.retry({ schedule: Schedule.spaced("100 millis"), while: ({ _tag }) => _tag !== "AddressError" })
  )

const program = Effect.gen(function*() {
  const node = yield* Tx3Node.make({})
  yield* Effect.repeat(ask(node), Schedule.spaced("500 millis"))
})

program.pipe(
  Effect.scoped,
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
