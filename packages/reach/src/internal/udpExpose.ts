/**
 * Exposes a service that takes datagrams: each connection is one flow, which has a UDP socket of its own. Both end with the
 * scope.
 */
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import type * as dgram from "node:dgram"
import * as Datagrams from "../Datagrams.js"
import type * as Passage from "../Passage.js"
import * as Flows from "./flow.js"
import * as Udp from "./udp.js"

/** Carries a connection's flow on to a connected socket. `onUnavailable` is called once, where nothing listens there. */
export const run = (options: {
  readonly connection: Tx3Connection
  readonly ownDigest: CertDigest
  readonly socket: dgram.Socket
  readonly onEvent: (event: Passage.Event) => Effect.Effect<void>
  readonly onUnavailable: (cause: Error) => Effect.Effect<void>
}): Effect.Effect<void, ConnectionError | Datagrams.NoDatagrams, Scope.Scope> =>
  Effect.gen(function*() {
    const { connection, onEvent, onUnavailable, ownDigest, socket } = options
    const datagrams = yield* Datagrams.accept(connection, ownDigest)
    const flow = new Flows.Flow(yield* Effect.clock)
    const unavailable = Deferred.unsafeMake<Error>(FiberId.none)
    const onError = (cause: NodeJS.ErrnoException) => {
      if (cause.code === "ECONNREFUSED") {
        Deferred.unsafeDone(unavailable, Effect.succeed(cause))
      }
    }
    socket.on("error", onError).on("message", (datagram) => {
      flow.countToPeer(datagram)
      datagrams.send(datagram)
    })
    yield* Effect.forkScoped(Effect.flatMap(Deferred.await(unavailable), onUnavailable))
    yield* Flows.run({
      connection,
      datagrams,
      flow,
      ended: Effect.never,
      onEvent,
      deliver: (datagram) => Udp.send(socket, datagram, { onError })
    })
  })
