/**
 * The running splices: a peer's connection and the node's, joined by the Transport. A splice holds the scopes of both
 * connections and no fiber; it ends when the Transport says so, which closes both scopes, and closing either scope ends
 * it.
 *
 * @since 0.1.0
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type { Source } from "@tx3/protocol/Source"
import * as Transport from "@tx3/transport/Transport"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import type { Accepted } from "./Accepted.js"
import { Bandwidth } from "./Bandwidth.js"
import * as ThrottledLog from "./internal/throttledLog.js"
import type { RegisteredNode } from "./Limiter.js"
import { RelayConfig } from "./RelayConfig.js"
import type { Party } from "./RelayEvents.js"
import { Statistics } from "./Statistics.js"

/**
 * The splices from the moment they begin until both of their sockets are closed.
 *
 * @since 0.1.0
 * @category services
 */
export class Splices extends Context.Tag("@tx3/relay/Splices")<Splices, {
  /** Joins a peer and the connection that its node dialed back with. */
  readonly begin: (peer: Accepted, node: Accepted, session: RegisteredNode) => void

  /** All that run, the oldest first. */
  readonly all: () => Iterable<RunningSplice>

  /** Adds what the running splices have carried since the last time to the statistics. */
  readonly account: () => void

  /** Waits until no splice is running. */
  readonly awaitNone: Effect.Effect<void>
}>() {}

/**
 * A splice that has not ended. `connection` and `source` are those of the peer, `node` is whom it came for.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunningSplice extends Party {
  /** The source that registered the node. */
  readonly host: Source
  /** Milliseconds since the epoch. */
  readonly since: number
  /** Bytes so far; left is the peer. */
  readonly carried: () => Transport.Carried
  /** Resets both sides. */
  readonly close: Effect.Effect<void>
}

/**
 * Begins with none. Each splice gets its timeouts from `RelayConfig` and its rates from `Bandwidth`, when it begins.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Splices, never, Bandwidth | RelayConfig | Statistics | Transport.Transport> = Layer
  .effect(
    Splices,
    Effect.gen(function*() {
      const bandwidth = yield* Bandwidth
      const config = yield* RelayConfig
      const log = yield* ThrottledLog.make
      const statistics = yield* Statistics
      const transport = yield* Transport.Transport
      const clock = yield* Clock.clockWith(Effect.succeed)
      const currentTimeMillis = MonotonicTime.millis(clock)
      const run = Runtime.runFork(yield* Effect.runtime())
      const running = new Set<Running>()
      const none = Effect.unsafeMakeLatch(true)

      const begin = (peer: Accepted, node: Accepted, { node: digest, source: host }: RegisteredNode) => {
        const began = currentTimeMillis()
        const splice = new Running(peer, digest, host, clock.unsafeCurrentTimeMillis())
        statistics.spliceBegan(splice, began - peer.sinceMonotonicMs)
        const onEnd = (report: Transport.SpliceReport) => {
          const duration = currentTimeMillis() - began
          running.delete(splice)
          leave()
          statistics.carried(splice.uncounted(report))
          if (running.size === 0) {
            none.unsafeOpen()
          }
          statistics.spliceEnded(splice, report, duration)
          run(
            log.debug("splice ended", () => ({
              ...report,
              connection: peer.id,
              durationMs: duration,
              node: CertDigest.short(digest)
            })).pipe(
              Effect.zipRight(Scope.close(peer.scope, Exit.void)),
              Effect.zipRight(Scope.close(node.scope, Exit.void))
            )
          )
        }
        running.add(splice)
        none.unsafeClose()
        const { idleTimeoutMs, lingerTimeoutMs } = config
        const { leave, rates } = bandwidth.join(digest, peer.source, (rates) => splice.carrying.limit(rates))
        const options = { idleTimeoutMs, lingerTimeoutMs, rates }
        splice.carrying = transport.splice(peer.socket, node.socket, options, onEnd)
      }

      return {
        begin,
        all: () => running,
        account: () => {
          let [fromLeft, fromRight] = [0, 0]
          for (const splice of running) {
            const more = splice.uncounted(splice.carried())
            fromLeft += more.fromLeft
            fromRight += more.fromRight
          }
          statistics.carried({ fromLeft, fromRight })
        },
        awaitNone: none.await
      }
    })
  )

class Running implements RunningSplice {
  carrying!: Transport.Splice
  private counted: Transport.Carried = { fromLeft: 0, fromRight: 0 }

  constructor(
    private readonly peer: Accepted,
    readonly node: CertDigest.CertDigest,
    readonly host: Source,
    readonly since: number
  ) {}

  get connection() {
    return this.peer.id
  }

  get source() {
    return this.peer.source
  }

  get close() {
    return this.peer.socket.close
  }

  carried() {
    return this.carrying.carried()
  }

  /** What of these bytes has not been counted yet; it is now. */
  uncounted(carried: Transport.Carried) {
    const { fromLeft, fromRight } = this.counted
    this.counted = carried
    return { fromLeft: carried.fromLeft - fromLeft, fromRight: carried.fromRight - fromRight }
  }
}
