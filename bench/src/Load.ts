/**
 * The load programs of a subject, as Effects. They are processes of their own and end with the scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import { BenchError } from "./BenchError.js"
import * as processes from "./internal/processes.js"
import type * as messages from "./load/messages.js"

/** One request at a time: the replies carry no number. */
export interface Program<Request> {
  readonly pid: number
  readonly request: <A>(request: Request) => Effect.Effect<A, BenchError>
}

const start = <Request extends { readonly type: string }>(
  name: string,
  module: string,
  folder: string
): Effect.Effect<Program<Request>, BenchError, Scope.Scope> =>
  Effect.map(
    // The built one, also where the tests run the sources.
    processes.startModule(fileURLToPath(new URL(`../dist/load/${module}.js`, import.meta.url)), { name, folder }),
    (program) => ({
      pid: program.pid,
      request: <A>(request: Request) =>
        Effect.async<A, BenchError>((resume) => {
          const { child } = program
          const onMessage = (reply: messages.Reply) => {
            stop()
            resume(
              reply.ok
                ? Effect.succeed(reply.value as A)
                : new BenchError({ message: `${name}, ${request.type}: ${reply.problem}` })
            )
          }
          const onExit = () => {
            stop()
            resume(Effect.suspend(() => new BenchError({ message: processes.ending(program) ?? `${name} ended` })))
          }
          const stop = () => child.off("message", onMessage).off("exit", onExit)
          if (!child.connected) {
            return onExit()
          }
          child.once("message", onMessage).once("exit", onExit)
          child.send(request)
          return Effect.sync(stop)
        }).pipe(
          Effect.timeoutFail({
            duration: processes.patienceMs,
            onTimeout: () =>
              new BenchError({ message: `${name}, ${request.type}: no answer within ${processes.patienceMs} ms` })
          })
        )
    })
  )

/** Starts the peers' program. */
export const startPeers = (subject: string, folder: string) =>
  start<messages.PeersRequest>(`${subject}-peers`, "peers", folder)

/** Starts the far ends' program. */
export const startFarEnds = (subject: string, folder: string) =>
  start<messages.FarEndsRequest>(`${subject}-far-ends`, "farEnds", folder)

/** Starts the attacker's program. */
export const startAttacker = (subject: string, folder: string) =>
  start<messages.AttackerRequest>(`${subject}-attacker`, "attacker", folder)

/** Starts the engine's program. */
export const startEngine = (folder: string) => start<messages.EngineRequest>("cluster-engine", "engine", folder)
