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
import * as Deadlines from "./internal/deadlines.js"
import type { InboundPlace } from "./Limiter.js"
import { Limiter } from "./Limiter.js"
import { RelayConfig } from "./RelayConfig.js"
import type { RejectionReason } from "./RelayError.js"
import { Rejected } from "./RelayError.js"

/**
 * What a connection is doing: sending its `preamble`, in the TLS `handshake` of a node, a registered node's `control`
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

/** The stages that have a deadline here, and what it rejects with. A handshake has a timeout of its own. */
const deadlineOf: { readonly [S in Stage]?: RejectionReason } = {
  preamble: "preambleTimeout",
  pending: "pendingTimeout"
}

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
  readonly scope: Scope.Scope
  readonly stage: Stage
  /** Enters the next stage; `onLeft` is called when that is left, for another or because the connection is closed. */
  readonly enter: (stage: Stage, onLeft?: () => void) => void
  /** Rejects and closes a connection that waits without a fiber for something that will not come. */
  readonly turnAway: (reason: RejectionReason) => void
  /** Interrupts what it is doing, and closes it. */
  readonly end: Effect.Effect<void>
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
  /** What it sent to the other relay first: the digest of a node, or a token. */
  readonly preamble: Uint8Array
  /** The source that registered the node, of a peer. */
  readonly host: Source.Source | undefined
  /** The scope that holds its places. It becomes the scope of the connection. */
  readonly scope: Scope.CloseableScope
  readonly place: InboundPlace
}

/**
 * The connections of one relay.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connections {
  /** Runs the program of a socket that has been accepted, in a fiber and a scope of its own. */
  readonly open: (id: number, source: Source.Source, socket: Transport.Connection, referral?: Referral) => void

  /** Every connection that is not closed yet. */
  readonly all: ReadonlySet<Accepted>

  /** How many have a deadline running. */
  readonly deadlines: () => number

  /** Ends those for which the predicate holds, and waits until they are closed. */
  readonly end: (which: (connection: Accepted) => boolean) => Effect.Effect<void>
}

/**
 * Begins with none. The scope that it is made in must end after the last connection: its fiber keeps the deadlines.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly program: (connection: Accepted) => Effect.Effect<void, Rejected, Scope.Scope>
  /** Told of each connection that came to nothing, and why. */
  readonly onRejected: (connection: Accepted, rejected: Rejected) => Effect.Effect<void>
}): Effect.Effect<Connections, never, Limiter | RelayConfig | Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const config = yield* RelayConfig
    const currentTimeMillis = MonotonicTime.millis(clock)
    const limiter = yield* Limiter
    const runtime = yield* Effect.runtime()
    const run = Runtime.runFork(runtime)
    const runSync = Runtime.runSync(runtime)
    const deadlines = yield* Deadlines.make<Live>(() => config.connectionTimeoutMs, (connection) => connection.expire())
    const all = new Set<Live>()

    const turnAway = (connection: Live, reason: RejectionReason) =>
      run(
        Effect.zipRight(
          Effect.suspend(() => options.onRejected(connection, new Rejected({ reason }))),
          connection.close
        )
      )

    const admitAndRun = (connection: Live) =>
      Scope.addFinalizerExit(connection.scope, () => {
        connection.leave()
        all.delete(connection)
        return connection.socket.close
      }).pipe(
        Effect.zipRight(
          connection.referral === undefined
            ? limiter.inbound(connection.source)
            : Effect.succeed(connection.referral.place)
        ),
        Effect.flatMap((place) => {
          connection.place = place
          return options.program(connection)
        })
      )

    const programEnded = (connection: Live, exit: Exit.Exit<void, Rejected>) => {
      if (Exit.isFailure(exit)) {
        run(Effect.zipRight(failed(connection, exit.cause), connection.close))
      } else if (!outlivesProgram(connection.stage)) {
        run(connection.close)
      }
    }

    const failed = (connection: Live, cause: Cause.Cause<Rejected>): Effect.Effect<void> => {
      const deadline = connection.expired ? deadlineOf[connection.stage] : undefined
      const rejected = deadline === undefined
        ? Option.getOrUndefined(Cause.failureOption(cause))
        : new Rejected({ reason: deadline })
      if (rejected !== undefined) {
        return options.onRejected(connection, rejected)
      }
      return Cause.isInterruptedOnly(cause) ? Effect.void : Effect.logError("defect in a connection", cause)
    }

    return {
      open: (id, source, socket, referral) => {
        const scope = referral?.scope ?? runSync(Scope.make())
        const connection = new Live(
          id,
          source,
          socket,
          referral,
          clock.unsafeCurrentTimeMillis(),
          currentTimeMillis(),
          scope,
          deadlines,
          turnAway
        )
        all.add(connection)
        // Its scope is in the fiber's context from the start: to provide it later costs more than the fiber.
        const inScope = Runtime.make({ ...runtime, context: Context.add(runtime.context, Scope.Scope, scope) })
        connection.run(Runtime.runFork(inScope, admitAndRun(connection)), (exit) => programEnded(connection, exit))
      },
      all,
      deadlines: deadlines.size,
      end: (which) =>
        Effect.forEach(Array.from(all).filter(which), ({ end }) => end, { concurrency: "unbounded", discard: true })
    }
  })

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
    readonly scope: Scope.CloseableScope,
    private readonly deadlines: Deadlines.Deadlines<Live>,
    private readonly onTurnedAway: (connection: Live, reason: RejectionReason) => void
  ) {
    deadlines.start(this)
  }

  get address() {
    return this.referral?.address ?? Source.addressOf(this.socket.remoteAddress)
  }

  /** Its program has begun. The fiber is kept until it is over, and not with the splice that may come of it. */
  run(fiber: Fiber.RuntimeFiber<void, Rejected>, onExit: (exit: Exit.Exit<void, Rejected>) => void) {
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
      this.deadlines.cancel(this)
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
    this.onTurnedAway(this, reason)
  }

  /** When its fiber is over. */
  get close() {
    return Effect.suspend(() => {
      this.deadlines.cancel(this)
      return Scope.close(this.scope, Exit.void)
    })
  }

  get end() {
    return Effect.suspend(() =>
      this.fiber === undefined ? this.close : Effect.zipRight(Fiber.interrupt(this.fiber), this.close)
    )
  }
}
