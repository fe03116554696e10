/**
 * A relay with two parts of our own: a limiter, which allows so many sockets and tells whom it turns away, and a policy,
 * which lets only nodes of given digests register.
 */
import { NodeRuntime } from "@effect/platform-node"
import {
  Access,
  Bandwidth,
  ControlSessions,
  Limiter,
  Listener,
  PendingSplices,
  Relay,
  RelayConfig,
  RelayError,
  RelayEvents,
  Splices,
  Statistics
} from "@tx3/relay"
import { Console, Effect, Layer, Logger, LogLevel } from "effect"

const [bind = "", most = "", ...friends] = process.argv.slice(2)

// It stands in front of the limiter that the relay comes with, which goes on to hold every limit of the configuration. A
// place is held by the scope of its socket, so it is given back whatever becomes of the socket.
const limiter = Layer.effect(
  Limiter.Limiter,
  Effect.gen(function*() {
    const shipped = yield* Limiter.Limiter
    let open = 0
    return {
      ...shipped,
      inbound: (source) => {
        if (open >= Number(most)) {
          console.log(`turned away ${source}: ${open} sockets are open`)
          return "maxInboundConnections"
        }
        const place = shipped.inbound(source)
        if (typeof place === "string") {
          return place
        }
        open++
        let isHeld = true
        return {
          settle: () => place.settle(),
          giveBack: () => {
            place.giveBack()
            open -= isHeld ? 1 : 0
            isHeld = false
          }
        }
      }
    }
  })
).pipe(Layer.provide(Limiter.layer))

// It is asked once TLS has proved the digest. `Access.open` has no objection to anything else.
const access = Layer.succeed(Access.Access, {
  ...Access.open,
  node: (digest) =>
    friends.includes(digest)
      ? Console.log(`${digest} registers`)
      : Effect.zipRight(
        Console.log(`${digest} may not register`),
        new RelayError.Rejected({ reason: "denied" })
      )
})

// This is `Relay.layer` with another limiter, under a policy of our own and two that do nothing.
const relay = Relay.layerNoDependencies.pipe(
  Layer.provide(Listener.layer),
  Layer.provide([ControlSessions.layer, PendingSplices.layer, Splices.layer]),
  Layer.provide([limiter, Statistics.layer]),
  Layer.provide(Relay.transport),
  Layer.provide([access, Bandwidth.layerUnlimited, RelayEvents.layerSilent]),
  Layer.provide(RelayConfig.layer({ bind: [bind] }))
)

const announce = Layer.effectDiscard(
  Effect.flatMap(Relay.Relay, ({ addresses }) => Console.log(`a relay at ${addresses.join(" and ")}`))
)

Layer.launch(Layer.provide(announce, relay)).pipe(
  Logger.withMinimumLogLevel(LogLevel.Error),
  NodeRuntime.runMain
)
