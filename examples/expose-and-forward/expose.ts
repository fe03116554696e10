/**
 * Makes a service of this machine reachable through a relay, to one friend.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Tx3Node } from "@tx3/node"
import { Expose, LocalEndpoint } from "@tx3/reach"
import { Clock, Console, Effect, Logger, LogLevel } from "effect"

const [relay = "", service = "", friend = ""] = process.argv.slice(2)

const tell = (event: Expose.Event) =>
  Expose.Event.$match(event, {
    Opened: ({ passage }) => Console.log(`${passage.peer} came`),
    Closed: ({ because, passage }) =>
      Effect.gen(function*() {
        const ms = (yield* Clock.currentTimeMillis) - passage.since
        const { fromPeer, toPeer } = passage.carried()
        const how = because === undefined ? "left" : `was lost, since ${because.message},`
        yield* Console.log(`${passage.peer} ${how} after ${ms} ms, ${fromPeer} bytes from it and ${toPeer} to it`)
      }),
    Refused: ({ peer }) => Console.log(`${peer} was refused`),
    Unavailable: ({ because, peer }) => Console.log(`${peer} came in vain: ${because.message}`),
    Mismatched: ({ peer }) => Console.log(`${peer} came for a service of another kind`),
    Denied: ({ because, peer }) => Console.log(`${peer} came in vain: ${because.message}`)
  })

const program = Effect.gen(function*() {
  const node = yield* Tx3Node.make({ bind: [relay], requireRegistration: true })
  yield* Console.log(`exposed at ${node.addresses.join(" and ")}`)
  return yield* Expose.serve({
    node,
    service: yield* LocalEndpoint.parse(service),
    allows: (peer) => Effect.succeed(peer === friend),
    onEvent: tell
  })
})

program.pipe(
  Effect.scoped,
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
