/**
 * One accepted connection, from accept to close: the record that the relay's components see, the stage that it is in, the
 * deadline of that stage, and the scope that owns everything it takes. Only this module closes that scope: when the program
 * of the connection is over and nothing is left to wait for, at a deadline, when the connection is turned away, and when
 * another component ends it.
 *
 * @since 0.1.0
 */
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Source from "@tx3/protocol/Source"
import type * as Transport from "@tx3/transport/Transport"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import { ConnectionScope } from "./internal/connectionScope.js"
import * as Deadlines from "./internal/deadlines.js"
import { outcomeOf } from "./internal/outcome.js"
import type { InboundPlace } from "./Limiter.js"
import { Limiter } from "./Limiter.js"
import { RelayConfig } from "./RelayConfig.js"
import type { Rejected, RejectionReason } from "./RelayError.js"

/**
 * The stage of a connection: it sends its `preamble`, is in the TLS `handshake` of a node, a registered node's `control`
 * stream, a `pending` peer, one side of a splice (`spliced`), or `forwarded` to another relay of a cluster.
 *
 * @since 0.1.0
 * @category models
 */
export const stages = ["preamble", "handshake", "control", "pending", "spliced", "forwarded"] as const

/**
 * One of {@link stages}.
 *
 * @since 0.1.0
 * @category models
 */
export type Stage = typeof stages[number]

/** The stages that have to be over `connectionTimeoutMs` after the accept, and what a connection is rejected with if not. */
const deadlineOf: { readonly [S in Stage]?: RejectionReason } = {
  preamble: "preambleTimeout",
  handshake: "handshakeTimeout",
  pending: "pendingTimeout"
}

/**
 * Whether a connection in this stage has a deadline running.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasDeadline = (stage: Stage): boolean => deadlineOf[stage] !== undefined

/**
 * Whether a connection in this stage no longer counts to `maxInboundPerIp` of its source.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSettled = (stage: Stage): boolean => stage === "control" || isCarried(stage)

/**
 * The stages that go on when the connection's program is over: a peer waits for its node, and a splice carries, without a
 * fiber.
 */
const outlivesProgram = (stage: Stage) => stage === "pending" || isCarried(stage)

/**
 * Whether bytes of a connection in this stage are carried, here or to another relay: a drain waits for it.
 *
 * @since 0.1.0
 * @category guards
 */
export const isCarried = (stage: Stage): boolean => stage === "spliced" || stage === "forwarded"

/**
 * A connection that the relay has accepted and not closed yet. Only its `stage` changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Accepted {
  /** Counts up from 1 in each relay; names the connection in logs. */
  readonly id: number
  readonly source: Source.Source
  /** The numeric address that it comes from, an IPv4 one without the mapping of a dual-stack listener. */
  readonly address: string
  readonly socket: Transport.Connection
  /** The facts and places of a connection that another relay forwards; undefined for one that this relay accepted itself. */
  readonly referral: Referral | undefined
  /** When it was accepted, in milliseconds since the epoch. */
  readonly since: number
  /** The same by `MonotonicTime`, to measure by. */
  readonly sinceMonotonicMs: number
  readonly scope: ConnectionScope
  readonly stage: Stage
  /** Enters the next stage; `onLeft` is called when that is left, for another or because the connection is closed. */
  readonly enter: (stage: Stage, onLeft?: () => void) => void
  /** Rejects and closes a connection that waits without a fiber for something that will not come. */
  readonly turnAway: (reason: RejectionReason) => void
  /** Interrupts what it is doing, and closes it. */
  readonly end: Effect.Effect<void>
  /** The same for a caller that does not wait for it. */
  readonly endNow: () => void
}

/**
 * A connection that another relay accepted and forwards to this one, before its link comes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Referral {
  /** The numeric address that the other relay accepted it from. */
  readonly address: string
  /** The first 32 bytes that it sent to the other relay: the digest of a node, or a token. */
  readonly preamble: Uint8Array
  /** The source that registered the node, of a peer. */
  readonly host: Source.Source | undefined
  /** The scope that holds its places. It becomes the scope of the connection. */
  readonly scope: ConnectionScope
  readonly place: InboundPlace
}

/**
 * The connections of one relay.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connections {
  /** Runs the program of a socket that has been accepted, in a scope of its own. */
  readonly open: (id: number, source: Source.Source, socket: Transport.Connection, referral?: Referral) => void

  /** Every connection that is not closed yet. */
  readonly all: ReadonlySet<Accepted>

  /** How many have a deadline running. */
  readonly deadlines: () => number

  /** Ends those for which the predicate holds, and waits until they are closed. */
  readonly end: (which: (connection: Accepted) => boolean) => Effect.Effect<void>
}

/**
 * Decides about a connection whose preamble has come. It decides at once what it can: it returns an `Exit` then, and the
 * connection never has a fiber. Any other effect is run in one, in the connection's scope.
 *
 * @since 0.1.0
 * @category models
 */
export type Program = (connection: Accepted, preamble: Uint8Array) => Effect.Effect<void, Rejected, Scope.Scope>

/**
 * Begins with none. The scope that it is made in must end after the last connection: its fiber keeps the deadlines.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly program: Program
  /** Told of each connection that came to nothing, and why. */
  readonly onRejected: (connection: Accepted, rejected: Pick<Rejected, "detail" | "reason">) => void
}): Effect.Effect<Connections, never, Limiter | RelayConfig | Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const config = yield* RelayConfig
    const currentTimeMillis = MonotonicTime.millis(clock)
    const limiter = yield* Limiter
    const runtime = yield* Effect.runtime()
    const run = Runtime.runFork(runtime)
    const deadlines = yield* Deadlines.make<Live>(() => config.connectionTimeoutMs, (connection) => connection.expire())
    const all = new Set<Live>()

    const decide = (connection: Live, preamble: Uint8Array) => {
      const program = attempt(() => options.program(connection, preamble))
      const outcome = outcomeOf(program)
      if (outcome !== undefined) {
        programEnded(connection, outcome)
      } else {
        const inScope = Runtime.make({
          ...runtime,
          context: Context.add(runtime.context, Scope.Scope, connection.scope)
        })
        connection.runs(Runtime.runFork(inScope, program), (exit) => programEnded(connection, exit))
      }
    }

    const programEnded = (connection: Live, exit: Exit.Exit<void, Rejected>) => {
      if (Exit.isFailure(exit)) {
        failed(connection, exit.cause)
        connection.endNow()
      } else if (!outlivesProgram(connection.stage)) {
        connection.endNow()
      }
    }

    const failed = (connection: Live, cause: Cause.Cause<Rejected>) => {
      const deadline = connection.expired ? deadlineOf[connection.stage] : undefined
      const rejected = deadline === undefined ? Option.getOrUndefined(Cause.failureOption(cause)) : { reason: deadline }
      if (rejected !== undefined) {
        told(connection, rejected)
      } else if (!Cause.isInterruptedOnly(cause)) {
        logDefect(cause)
      }
    }

    const told = (connection: Live, rejected: Pick<Rejected, "detail" | "reason">) => {
      try {
        options.onRejected(connection, rejected)
      } catch (defect) {
        logDefect(Cause.die(defect))
      }
    }

    const logDefect = (cause: Cause.Cause<unknown>) => run(Effect.logError("defect in a connection", cause))

    const owner: Owner = {
      deadlines,
      onTurnedAway: (connection, reason) => {
        told(connection, { reason })
        connection.endNow()
      },
      finish: (rest) => run(Effect.catchAllCause(rest, (cause) => Effect.sync(() => logDefect(cause))))
    }

    return {
      open: (id, source, socket, referral) => {
        const connection = new Live(
          id,
          source,
          socket,
          referral,
          clock.unsafeCurrentTimeMillis(),
          currentTimeMillis(),
          referral?.scope ?? new ConnectionScope(),
          owner
        )
        all.add(connection)
        connection.scope.add(() => {
          connection.leave()
          all.delete(connection)
          socket.onPreamble(undefined)
          if (referral !== undefined && connection.stage !== "spliced") {
            // The relay that forwards it would take an end for a half-close, and keep the peer open.
            socket.resetNow()
          } else {
            socket.closeNow()
          }
          return Effect.void
        })
        const place = referral?.place ?? connection.scope.hold(limiter.inbound(source))
        if (typeof place === "string") {
          connection.turnAway(place)
          return
        }
        connection.place = place
        if (referral !== undefined) {
          decide(connection, referral.preamble)
          return
        }
        socket.onPreamble((preamble) => {
          if (preamble === undefined) {
            connection.turnAway("hungUp")
          } else {
            decide(connection, preamble)
          }
        })
      },
      all,
      deadlines: deadlines.size,
      end: (which) =>
        Effect.forEach(Array.from(all).filter(which), ({ end }) => end, { concurrency: "unbounded", discard: true })
    }
  })

/** A defect is one connection's, and must not get into the transport that called. */
const attempt = <A, E, R>(decision: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  try {
    return decision()
  } catch (defect) {
    return Exit.die(defect)
  }
}

/** The state that all connections share. */
interface Owner {
  readonly deadlines: Deadlines.Deadlines<Live>
  readonly onTurnedAway: (connection: Live, reason: RejectionReason) => void
  /** Runs what is left to do to close a connection. */
  readonly finish: (rest: Effect.Effect<void>) => void
}

class Live implements Accepted {
  stage: Stage = "preamble"
  /** Whether its deadline is why the fiber is interrupted. */
  expired = false
  place: InboundPlace | undefined
  private fiber: Fiber.RuntimeFiber<void, Rejected> | undefined
  private onLeft: (() => void) | undefined

  constructor(
    readonly id: number,
    readonly source: Source.Source,
    readonly socket: Transport.Connection,
    readonly referral: Referral | undefined,
    readonly since: number,
    readonly sinceMonotonicMs: number,
    readonly scope: ConnectionScope,
    private readonly owner: Owner
  ) {
    owner.deadlines.start(this)
  }

  get address() {
    return this.referral?.address ?? Source.addressOf(this.socket.remoteAddress)
  }

  /** Its program goes on in a fiber, which is kept until it is over, and not with the splice that may come of it. */
  runs(fiber: Fiber.RuntimeFiber<void, Rejected>, onExit: (exit: Exit.Exit<void, Rejected>) => void) {
    this.fiber = fiber
    fiber.addObserver((exit) => {
      this.fiber = undefined
      onExit(exit)
    })
  }

  enter(stage: Stage, onLeft?: () => void) {
    this.leave()
    this.stage = stage
    this.onLeft = onLeft
    if (deadlineOf[stage] === undefined) {
      this.owner.deadlines.cancel(this)
    }
    if (isSettled(stage)) {
      this.place?.settle()
    }
  }

  leave() {
    const onLeft = this.onLeft
    this.onLeft = undefined
    onLeft?.()
  }

  expire() {
    if (this.fiber === undefined) {
      this.turnAway(deadlineOf[this.stage]!)
    } else {
      this.expired = true
      this.fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  turnAway(reason: RejectionReason) {
    this.leave()
    this.owner.onTurnedAway(this, reason)
  }

  get end() {
    return Effect.suspend(() => {
      const close = Effect.suspend(() => this.closeNow())
      return this.fiber === undefined ? close : Effect.zipRight(Fiber.interrupt(this.fiber), close)
    })
  }

  endNow() {
    const rest = this.fiber === undefined ? this.closeNow() : this.end
    if (rest !== Exit.void) {
      this.owner.finish(rest)
    }
  }

  /** When its fiber is over. */
  private closeNow() {
    this.owner.deadlines.cancel(this)
    return this.scope.closeNow()
  }
}
