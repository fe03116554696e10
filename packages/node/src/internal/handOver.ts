/**
 * Connections for code without Effect: each has a fiber and a scope of its own, which end when it is closed, and with the
 * scope that this was made in.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as duplex from "../Duplex.js"
import type { ConnectError } from "../NodeError.js"
import type { Tx3Connection } from "../Tx3Connection.js"

/** Opens a connection and calls back with it, or with what went wrong. */
export type HandOver = (
  connect: Effect.Effect<Tx3Connection, ConnectError, Scope.Scope>,
  callback: (error: unknown, connection?: Tx3Connection) => void
) => void

export const make: Effect.Effect<HandOver, never, Scope.Scope> = Effect.map(
  FiberSet.makeRuntime(),
  (run): HandOver => (connect, callback) => {
    let isHandedOver = false
    const fiber = run(
      connect.pipe(
        Effect.tap((connection) => {
          isHandedOver = true
          callback(null, connection)
        }),
        Effect.flatMap((connection) => duplex.closed(connection.duplex)),
        Effect.scoped,
        Effect.interruptible
      )
    )
    // Also where the scope has closed before, or closes meanwhile.
    fiber.addObserver((exit) => {
      if (Exit.isFailure(exit) && !isHandedOver) {
        callback(Exit.isInterrupted(exit) ? new Error("the node has been closed") : Cause.squash(exit.cause))
      }
    })
  }
)
