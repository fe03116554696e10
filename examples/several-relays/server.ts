/**
 * A node that is registered at several relays, and tells where it stands with each. It answers every connection with its
 * greeting.
 */
import { NodeRuntime } from "@effect/platform-node"
import { RelayRegistration, Tx3Node } from "@tx3/node"
import { Console, Effect, Logger, LogLevel, Stream } from "effect"

const relays = process.argv.slice(2)

const tell = ({ relay, state }: RelayRegistration.RelayRegistration) =>
  Stream.runForEach(
    state.changes,
    RelayRegistration.State.$match({
      Connecting: () => Effect.void,
      Live: () => Console.log(`registered at ${relay}`),
      Lost: () => Console.log(`lost ${relay}, trying again`)
    })
  )

const program = Effect.gen(function*() {
  // It waits for no registration, so it starts even while a relay is away.
  const node = yield* Tx3Node.make({ bind: relays })
  yield* Console.log(`serving at ${node.addresses.join(" and ")}`)
  yield* Effect.forEach(node.registrations, (registration) => Effect.forkScoped(tell(registration)))
  return yield* node.serve((connection) =>
    Effect.zipRight(connection.write(new TextEncoder().encode("hello")), connection.end)
  )
})

program.pipe(
  Effect.scoped,
  Logger.withMinimumLogLevel(LogLevel.Error),
  NodeRuntime.runMain
)
