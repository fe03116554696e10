/**
 * A running subject with a pair of load programs of its own, ready to be measured. All three end with the scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { BenchError } from "./BenchError.js"
import * as processes from "./internal/processes.js"
import * as Load from "./Load.js"
import type * as messages from "./load/messages.js"
import type { Running, Subject } from "./Subject.js"

/** What carries splices, and the load programs of it. */
export interface Loaded {
  /** The processes whose CPU counts. */
  readonly pids: ReadonlyArray<number>
  readonly peers: Load.Program<messages.PeersRequest>
  readonly farEnds: Load.Program<messages.FarEndsRequest>
  /** What peers connect to. */
  readonly target: messages.Target
}

export interface Session extends Loaded {
  readonly running: Running
  /** Starts another program, which attacks the relay when it is asked to. */
  readonly startAttacker: Effect.Effect<Load.Program<messages.AttackerRequest>, BenchError, Scope.Scope>
  /** Where nodes register; a plain proxy has no such thing. */
  readonly relay: { readonly host: string; readonly port: number; readonly relay: string } | undefined
  /** How the subject ended, if it has. */
  readonly ending: Effect.Effect<string | undefined>
}

/** Starts a subject in this folder. */
export const start = (subject: Subject, folder: string): Effect.Effect<Session, BenchError, Scope.Scope> =>
  Effect.gen(function*() {
    const farEnds = yield* Load.startFarEnds(subject.name, folder)
    const peers = yield* Load.startPeers(subject.name, folder)
    const session = (running: Running) => ({
      running,
      pids: [running.process.pid],
      peers,
      farEnds,
      startAttacker: Load.startAttacker(subject.name, folder),
      ending: Effect.sync(() => processes.ending(running.process))
    })
    if (subject.start.speaks === "tcp") {
      const { port } = yield* farEnds.request<messages.Listening>({ type: "listen" })
      const running = yield* subject.start.proxy(folder, port)
      return {
        ...session(running),
        target: { host: running.host, port: running.port, preamble: "" },
        relay: undefined
      }
    }
    const running = yield* subject.start.relay(folder)
    const relay = { host: running.host, port: running.port, relay: running.digest }
    const { digest } = yield* farEnds.request<messages.Registered>({ type: "register", ...relay })
    return {
      ...session(running),
      target: { host: running.host, port: running.port, preamble: digest },
      relay
    }
  })
