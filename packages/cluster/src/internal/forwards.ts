/**
 * The connections that this relay forwards: each is spliced with a link to the member that has what it asks for, without a
 * fiber. The link and the entry here are given back by finalizers of the connection's scope. The splice ends when the
 * transport says so, which ends the connection, and ending the connection ends it.
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Accepted } from "@tx3/relay/Accepted"
import type { Forward, Here } from "@tx3/relay/Elsewhere"
import type * as Transport from "@tx3/transport/Transport"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Scope from "effect/Scope"

export interface Forwards {
  /** Joins a connection and its link. `node` is the node it came for; undefined: it was dialed back by one. */
  readonly begin: (
    connection: Accepted,
    link: Transport.Connection,
    node: CertDigest | undefined
  ) => Effect.Effect<void>
  readonly all: () => Iterable<Forward>
  /** How many have begun. */
  readonly total: () => number
  readonly awaitNone: Effect.Effect<void>
}

export const make = ({ config, transport }: Pick<Here, "config" | "transport">): Effect.Effect<Forwards> =>
  Effect.gen(function*() {
    const forwards = new Set<Forward>()
    let total = 0
    const none = Effect.unsafeMakeLatch(true)

    const begin: Forwards["begin"] = (connection, link, node) =>
      Effect.suspend(() => {
        const reported = Deferred.unsafeMake<void>(FiberId.none)
        const { idleTimeoutMs, lingerTimeoutMs } = config
        const { carried } = transport.splice(
          connection.socket,
          link,
          { idleTimeoutMs, lingerTimeoutMs, rates: [] },
          () => {
            Deferred.unsafeDone(reported, Effect.void)
            connection.endNow()
          }
        )
        const { id, socket, source } = connection
        const forward: Forward = { carried, connection: id, node, reset: socket.close, source }
        forwards.add(forward)
        total++
        none.unsafeClose()
        connection.enter("forwarded", () => {
          forwards.delete(forward)
          if (forwards.size === 0) {
            none.unsafeOpen()
          }
        })
        // The descriptors are free when the transport says so.
        return Scope.addFinalizer(connection.scope, Effect.zipRight(socket.close, Deferred.await(reported)))
      }).pipe(Effect.uninterruptible)

    return { begin, all: () => forwards, total: () => total, awaitNone: none.await }
  })
