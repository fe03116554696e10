/**
 * Resolves a host to the addresses to listen at, and listens at all of them. A name such as `localhost` has an IPv4 and an
 * IPv6 address, and programs connect to either.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { Endpoint } from "./Dial.js"
import { Lookup, LookupError } from "./Lookup.js"

/**
 * The addresses to listen at: a numeric host itself; for `localhost` both loopback addresses (RFC 6761, section 6.3) and
 * what the resolver adds; for another name all that it stands for.
 *
 * @since 0.1.0
 * @category getters
 */
export const addressesOf = (host: string): Effect.Effect<Arr.NonEmptyReadonlyArray<string>, LookupError> =>
  Effect.gen(function*() {
    const resolve = yield* Lookup
    const found = Arr.map(yield* resolve(host), ({ address }) => address)
    const isLocalhost = /^(?:.*\.)?localhost\.?$/i.test(host)
    const addresses = Arr.dedupe(isLocalhost ? [...found, "127.0.0.1", "::1"] : found)
    return Arr.isNonEmptyReadonlyArray(addresses)
      ? addresses
      : yield* new LookupError({ cause: new Error("the name has no address") })
  })

/** How often another port is tried where the system chooses one that is taken at another address. */
const portTries = 5

/**
 * Listens at every address of a host, at one port. An address that this machine does not have is left out, as `::1` where
 * IPv6 is off, as long as another is left; any other failure closes what is open and fails. Port 0 lets the system choose.
 *
 * @since 0.1.0
 * @category listening
 */
export const atEach = <A extends { readonly port: number }, E extends { readonly cause: unknown }, R>(
  addresses: Arr.NonEmptyReadonlyArray<string>,
  port: number,
  listen: (endpoint: Endpoint) => Effect.Effect<A, E, R>
): Effect.Effect<Arr.NonEmptyReadonlyArray<A>, E, R | Scope.Scope> => {
  const attempt = Effect.gen(function*() {
    const bound: Array<A> = []
    let missing: E | undefined
    for (const host of addresses) {
      const result = yield* Effect.either(listen({ host, port: bound[0]?.port ?? port }))
      if (result._tag === "Right") {
        bound.push(result.right)
      } else if (missingCodes.has(codeOf(result.left))) {
        missing = result.left
      } else {
        return yield* Effect.fail({ error: result.left, again: port === 0 && bound.length > 0 })
      }
    }
    return Arr.isNonEmptyReadonlyArray(bound) ? bound : yield* Effect.fail({ error: missing!, again: false })
  })
  return inOwnScope(attempt).pipe(
    Effect.retry({ while: ({ again }) => again, times: portTries }),
    Effect.mapError(({ error }) => error)
  )
}

/**
 * Listens, and tries again for `patienceMs` where another socket has the port: an outgoing connection of any program can have
 * got it by chance (`net.ipv4.ip_local_port_range`), and is soon over. Logs a warning before the first new try.
 *
 * @since 0.1.0
 * @category listening
 */
export const onceFree = <A, E extends { readonly message: string }, R>(
  listen: Effect.Effect<A, E, R>,
  options: { readonly isTaken: (error: E) => boolean; readonly patienceMs: number }
): Effect.Effect<A, E, R> => {
  const { isTaken, patienceMs } = options
  return Effect.catchIf(
    listen,
    (error) => patienceMs > 0 && isTaken(error),
    (error) =>
      Effect.logWarning(error.message).pipe(
        Effect.annotateLogs({ tryingAgainForMs: patienceMs }),
        Effect.zipRight(Effect.retry(listen, {
          while: isTaken,
          // Counted, and not Schedule.upTo, which goes by the wall clock.
          schedule: Schedule.intersect(
            Schedule.spaced(tryPortEveryMs),
            Schedule.recurs(Math.floor(patienceMs / tryPortEveryMs))
          )
        }))
      )
  )
}

const tryPortEveryMs = 250

const missingCodes = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT"])

const codeOf = ({ cause }: { readonly cause: unknown }) => (cause as NodeJS.ErrnoException).code ?? ""

/** Releases the effect's resources when it fails, and with the caller's scope otherwise. */
const inOwnScope = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
      return yield* restore(effect).pipe(
        Scope.extend(scope),
        Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void)
      )
    })
  )
