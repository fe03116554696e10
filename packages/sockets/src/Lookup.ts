/**
 * Looks names up without letting one name wait for another. `dns.lookup` runs in two of libuv's four threads, which the
 * whole process shares: two names that no server answers for keep all others waiting. A lookup here asks the system first,
 * as `/etc/nsswitch.conf` says, and asks the hosts file and the DNS servers directly where the system has no thread free or
 * takes long.
 *
 * A lookup ends with its answer, at its deadline, or when its last caller is interrupted. A call that runs in a thread of libuv
 * cannot be ended; there is at most one such call for each name.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type { LookupAddress } from "node:dns"
import * as dns from "node:dns"
import * as net from "node:net"
import * as directLookup from "./internal/directLookup.js"

/**
 * A name could not be resolved, as `cause` says: what the system answered, or that nothing answered in time.
 *
 * @since 0.1.0
 * @category errors
 */
export class LookupError extends Data.TaggedError("LookupError")<{ readonly cause: Error }> {}

/**
 * Resolves a host to its addresses, in the order to try them. A numeric address is its own.
 *
 * @since 0.1.0
 * @category models
 */
export type Resolve = (host: string) => Effect.Effect<ReadonlyArray<LookupAddress>, LookupError>

/**
 * The question of a look-up, and its time limit.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Asks the system. The call cannot be interrupted, and holds a thread until it answers. */
  readonly system: (host: string) => Promise<ReadonlyArray<LookupAddress>>

  /**
   * Asks without the system, in no thread. Interruption ends it. It fails with `isAnswer` where the servers say that they do
   * not know the name, and without where they say nothing.
   */
  readonly direct: (
    host: string
  ) => Effect.Effect<ReadonlyArray<LookupAddress>, { readonly isAnswer: boolean }>

  /** How many calls of `system` may run at a time. */
  readonly threads: number

  /** After how long a call of `system` is stalled, and `direct` is asked beside it, in milliseconds. */
  readonly stallMs: number

  /** The whole of a lookup, from its start, whenever a caller joins it, in milliseconds. */
  readonly deadlineMs: number
}

/** One lookup, which all callers share that ask for its name while it runs. */
interface Flight {
  readonly result: Deferred.Deferred<ReadonlyArray<LookupAddress>, LookupError>
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  callers: number
}

/** The one call of the system for a name. It may outlive the lookup it was made for; the next lookup joins it. */
interface SystemCall {
  readonly host: string
  readonly result: Deferred.Deferred<ReadonlyArray<LookupAddress>, LookupError>
  /** By the clock that measures time; undefined while it waits for a thread. */
  startedAtMs: number | undefined
  /** The DNS servers have just said that they do not know the name: another source of nsswitch may. */
  vouched: boolean
}

/** Of how many names it is remembered how the system took them. */
const maxRemembered = 1_000

/**
 * Makes a resolver with threads of its own to share out.
 *
 * The last free thread is for names that are likely to have an answer: those that the system answered for without a stall
 * when it was last asked, and those that only another source of nsswitch than DNS can know, unless they stalled. All other
 * names share the rest of the threads; meanwhile the DNS servers are asked for them directly.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ deadlineMs, direct, stallMs, system, threads }: Options): Resolve => {
  const flights = new Map<string, Flight>()
  const calls = new Map<string, SystemCall>()
  const waiting = new Set<SystemCall>()
  const remembered = new Map<string, "answered" | "stalled">()
  let running = 0

  const remember = (host: string, how: "answered" | "stalled") => {
    remembered.delete(host)
    remembered.set(host, how)
    if (remembered.size > maxRemembered) {
      remembered.delete(remembered.keys().next().value!)
    }
  }

  const mayStart = ({ host, vouched }: SystemCall) => {
    const how = remembered.get(host)
    return running < (how === "answered" || (how === undefined && vouched) ? threads : Math.max(1, threads - 1))
  }

  const start = (call: SystemCall, clock: Clock.Clock) => {
    const startedAtMs = now(clock)
    call.startedAtMs = startedAtMs
    running++
    const settle = (exit: Exit.Exit<ReadonlyArray<LookupAddress>, LookupError>) => {
      running--
      calls.delete(call.host)
      remember(call.host, now(clock) - startedAtMs < stallMs ? "answered" : "stalled")
      Deferred.unsafeDone(call.result, exit)
      startWaiting(clock)
    }
    system(call.host).then(
      (addresses) => settle(Exit.succeed(addresses)),
      (cause) => settle(Exit.fail(new LookupError({ cause })))
    )
  }

  const startWaiting = (clock: Clock.Clock) => {
    for (const call of waiting) {
      if (mayStart(call)) {
        waiting.delete(call)
        start(call, clock)
      }
    }
  }

  const callFor = (host: string, clock: Clock.Clock) => {
    const existing = calls.get(host)
    if (existing !== undefined) {
      return existing
    }
    const call: SystemCall = {
      host,
      result: Deferred.unsafeMake(FiberId.none),
      startedAtMs: undefined,
      vouched: false
    }
    calls.set(host, call)
    waiting.add(call)
    startWaiting(clock)
    return call
  }

  const lookup = (host: string) =>
    Effect.clockWith((clock) => {
      const call = callFor(host, clock)
      const patienceMs = call.startedAtMs === undefined
        ? 0
        : Math.max(0, call.startedAtMs + stallMs - now(clock))
      const directly = Effect.suspend(() => direct(host)).pipe(
        Effect.catchAll(({ isAnswer }) => {
          call.vouched = isAnswer
          startWaiting(clock)
          return Effect.never
        }),
        Effect.delay(patienceMs)
      )
      return Deferred.await(call.result).pipe(
        Effect.raceFirst(directly),
        Effect.timeoutFail({
          duration: deadlineMs,
          onTimeout: () => new LookupError({ cause: new Error(`no answer for the name within ${deadlineMs} ms`) })
        }),
        Effect.ensuring(Effect.sync(() => {
          if (waiting.delete(call)) {
            calls.delete(host)
          }
        }))
      )
    })

  const leave = (host: string, flight: Flight) =>
    Effect.suspend(() => {
      flight.callers--
      if (flight.callers > 0 || flights.get(host) !== flight) {
        return Effect.void
      }
      flights.delete(host)
      return flight.fiber === undefined ? Effect.void : Fiber.interruptFork(flight.fiber)
    })

  const join = (host: string) =>
    Effect.gen(function*() {
      const existing = flights.get(host)
      if (existing !== undefined) {
        existing.callers++
        return existing
      }
      const flight: Flight = { result: Deferred.unsafeMake(FiberId.none), fiber: undefined, callers: 1 }
      flights.set(host, flight)
      flight.fiber = yield* lookup(host).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (flights.get(host) === flight) {
              flights.delete(host)
            }
            Deferred.unsafeDone(flight.result, exit)
          })
        ),
        Effect.interruptible,
        Effect.forkDaemon
      )
      return flight
    })

  return (host) => {
    const family = net.isIP(host)
    return family === 0
      ? Effect.acquireUseRelease(
        join(host),
        ({ result }) => Deferred.await(result),
        (flight) => leave(host, flight)
      )
      : Effect.succeed([{ address: host, family }])
  }
}

/** Milliseconds that no step of the wall clock changes. */
const now = (clock: Clock.Clock) => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)

/** libuv gives half of its threads to lookups (`slow I/O`), and reads their number once from this variable. */
const threads = Math.floor((Math.min(1_024, Math.max(1, Number(process.env["UV_THREADPOOL_SIZE"] ?? 4) || 1)) + 1) / 2)

/**
 * The resolver of this process: `dns.lookup` with at most as many calls as libuv has threads for them, else the hosts file
 * and the servers of `/etc/resolv.conf`. A call is stalled after 1 s; a lookup has 10 s, in which a resolver library gets past
 * one dead server.
 *
 * @since 0.1.0
 * @category resolving
 */
export const resolve: Resolve = make({
  system: (host) => dns.promises.lookup(host, { all: true }),
  direct: directLookup.make(directLookup.files),
  threads,
  stallMs: 1_000,
  deadlineMs: 10_000
})

/**
 * The resolver that connects use: {@link resolve}, unless it is replaced.
 *
 * @since 0.1.0
 * @category references
 */
export class Lookup extends Context.Reference<Lookup>()("@tx3/sockets/Lookup", {
  defaultValue: (): Resolve => resolve
}) {}
