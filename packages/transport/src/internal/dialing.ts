/**
 * A dial as an Effect, whichever transport makes it: its deadline, its interruption, and the scope that closes the connection.
 * It owns the attempt until the connection is in the caller's scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Connection, DialOptions } from "../Transport.js"
import { DialError } from "../Transport.js"

/** The callbacks of an attempt. The transport calls one of them, once, unless the attempt is given up before. */
export interface Attempt {
  readonly connected: (connection: Connection) => void
  readonly failed: (cause: NodeJS.ErrnoException) => void
}

/** Starts an attempt, and returns what gives it up. */
export type Start = (options: DialOptions, attempt: Attempt) => () => void

export const dial = (start: Start) => (options: DialOptions): Effect.Effect<Connection, DialError, Scope.Scope> =>
  Effect.suspend(() => {
    let connection: Connection | undefined
    let giveUp = () => {}
    const close = Effect.suspend(() => {
      giveUp()
      return connection?.close ?? Effect.void
    })
    const connected = Effect.async<Connection, DialError>((resume) => {
      const over = () => {
        clearTimeout(timer)
        giveUp = () => {}
      }
      const fail = (cause: NodeJS.ErrnoException) => {
        over()
        resume(new DialError({ host: options.host, port: options.port, cause }))
      }
      const timer = setTimeout(() => {
        giveUp()
        fail(noAnswer(options.timeoutMs))
      }, options.timeoutMs)
      const stop = start(options, {
        connected: (given) => {
          over()
          connection = given
          resume(Effect.succeed(given))
        },
        failed: fail
      })
      giveUp = () => {
        over()
        stop()
      }
    })
    // The finalizer comes first: nothing that happens while it connects gets past it.
    return Effect.zipRight(Effect.addFinalizer(() => close), Effect.onInterrupt(connected, () => close))
  })

const noAnswer = (timeoutMs: number): NodeJS.ErrnoException =>
  Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: "ETIMEDOUT" })
