/**
 * Makes what a node exposes reachable on this machine, for programs which know nothing of tx3: each connection that is made
 * to a local endpoint is carried on to the node over a connection of its own, and so is each flow of datagrams that comes to a
 * UDP endpoint. Both end with the passage, and the listener and all passages with the scope that `listen` was called in.
 */
import * as duplex from "@tx3/node/Duplex"
import type { ConnectError, ConnectionError } from "@tx3/node/NodeError"
import type { Destination, Tx3Node } from "@tx3/node/Tx3Node"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Reset from "@tx3/sockets/Reset"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as net from "node:net"
import type { NoDatagrams } from "./Datagrams.js"
import * as UdpForward from "./internal/udpForward.js"
import type { LocalEndpoint } from "./LocalEndpoint.js"
import * as Local from "./LocalEndpoint.js"
import { LocalError } from "./LocalEndpoint.js"
import * as Passage from "./Passage.js"
import type { Refused } from "./Refusal.js"

/**
 * The events of a forwarding:
 *
 * - `Opened`, `Closed`: a passage began, and ended;
 * - `Waiting`: a local connection was made, but its node is not there; it is tried again for a while;
 * - `Failed`: a local connection was made, and its node could not be connected to; the connection was reset. Or datagrams came,
 *   and their node could not be connected to, refused them, or does not take datagrams; they were dropped.
 *
 * @since 0.1.0
 * @category models
 */
export type Event =
  | Passage.Event
  | Data.TaggedEnum<{
    Waiting: { readonly because: ConnectError }
    Failed: { readonly because: ConnectError | ConnectionError | NoDatagrams | Refused }
  }>

/**
 * Constructors, `$is` and `$match` for {@link Event}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Event = Data.taggedEnum<Event>()

/**
 * The endpoint to listen at, and the node to forward to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly node: Tx3Node["Type"]

  readonly destination: Destination

  /** Where local programs connect to; port 0 lets the system choose. */
  readonly endpoint: LocalEndpoint

  /**
   * For how many milliseconds a local connection is held whose node is not there, while new tries are made. Default 20000: a
   * node is back at a relay that was away for less than half of it, and programs that connect wait longer than this.
   */
  readonly patienceMs?: number | undefined

  /** Told of each event, in the fiber of the connection it is about, which waits for it. */
  readonly onEvent?: ((event: Event) => Effect.Effect<void>) | undefined

  /** Runs in each passage as soon as the node has sent something that a relay does not send. */
  readonly onAnswer?: Effect.Effect<void> | undefined
}

const defaultPatienceMs = 20_000

/**
 * Listens at the endpoint, and returns it with the port it got. A connection whose node is not there, as for a moment after
 * its relay has restarted, is held for `patienceMs` while new tries are made.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { Forward, LocalEndpoint } from "@tx3/reach"
 * import { Effect } from "effect"
 *
 * // Makes what a node exposes reachable at 127.0.0.1:2222.
 * export const program = (address: string) =>
 *   Effect.gen(function*() {
 *     const endpoint = LocalEndpoint.Tcp({ host: "127.0.0.1", port: 2222 })
 *     yield* Forward.listen({ node: yield* Tx3Node.make({}), destination: address, endpoint })
 *     return yield* Effect.never
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const listen = (options: Options): Effect.Effect<LocalEndpoint, LocalError, Scope.Scope> =>
  Effect.gen(function*() {
    const { destination, endpoint, node, onAnswer, onEvent = () => Effect.void, patienceMs = defaultPatienceMs } =
      options
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    // Schedule.upTo goes by the wall clock.
    const retried = Effect.suspend(() => {
      const until = currentTimeMillis() + patienceMs
      return Effect.retry(node.connect(destination), {
        schedule: everyWhile,
        while: (error) => mayPass(error) && currentTimeMillis() < until
      })
    })
    let waiting = 0
    const wait = (because: ConnectError) =>
      Effect.acquireUseRelease(
        Effect.sync(() => waiting++),
        () => Effect.zipRight(onEvent(Event.Waiting({ because })), retried),
        () => Effect.sync(() => waiting--)
      )
    const connect = node.connect(destination).pipe(
      Effect.catchIf((because) => mayPass(because) && waiting < maxWaiting, wait),
      Effect.tapError((because) => onEvent(Event.Failed({ because })))
    )

    const handle = (local: net.Socket) =>
      Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Effect.sync(() => Reset.abandon(local)))
        // Nothing is taken from it, but its reset is noticed.
        local.read(0)
        const connection = yield* Effect.tapError(connect, () => Passage.resetLocal(local)).pipe(
          Effect.raceFirst(Effect.zipRight(duplex.closed(local), Effect.interrupt))
        )
        yield* Passage.run({ connection, local, onAnswer, onEvent, ownDigest: node.digest })
      }).pipe(
        Effect.scoped,
        Effect.catchAllDefect((defect) => Effect.logError("a forwarded connection died", defect)),
        Effect.ignore
      )

    if (Local.$is("Udp")(endpoint)) {
      const port = yield* Effect.mapError(
        UdpForward.listen({
          ...endpoint,
          connect,
          ownDigest: node.digest,
          onAnswer: onAnswer ?? Effect.void,
          onEvent,
          onFailed: (because) => onEvent(Event.Failed({ because }))
        }),
        ({ cause }) => new LocalError({ action: "listen at", endpoint: Local.format(endpoint), cause })
      )
      return Local.Udp({ ...endpoint, port })
    }
    const run = yield* FiberSet.makeRuntime()
    return yield* Local.listen(endpoint, (local) => void run(handle(local)))
  })

/** Local connections that wait at a time, as many as a relay lets one node have. Others are told at once. */
const maxWaiting = 64

/** A node may come back, and a relay that has no place for one more peer may have one in a moment. */
const mayPass = (error: ConnectError) =>
  ["DialError", "NoneReachable", "PeerUnavailable"].includes(error._tag) ||
  (error._tag === "ProxyError" && Proxy.mayPass(error))

const everyWhile = Schedule.jittered(Schedule.union(Schedule.exponential(100), Schedule.spaced(1_000)))
