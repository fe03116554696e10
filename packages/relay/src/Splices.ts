/**
 * The running splices: a peer's connection and the one that its node dialed back with, joined by the Transport, without a
 * fiber. A finalizer of the peer's scope gives back the membership of the splice in `Bandwidth` and its entry here. A splice
 * ends when the Transport says so, which ends both connections, and ending either of them ends it.
 *
 * A fiber tells `Statistics` every second what has been carried, while splices run and until the layer's scope closes.
 *
 * @since 0.1.0
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type { Source } from "@tx3/protocol/Source"
import * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Accepted } from "./Accepted.js"
import type { Membership } from "./Bandwidth.js"
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
  readonly begin: (peer: Accepted, dialedBack: Accepted, session: RegisteredNode) => void

  /** All that run, the oldest first. */
  readonly all: () => Iterable<RunningSplice>

  /** The bytes of the running splices that `Statistics` does not have yet. */
  readonly unmetered: () => Transport.Carried

  /** Waits until no splice is running. */
  readonly awaitNone: Effect.Effect<void>
}>() {}

/**
 * A splice that has not ended. `connection` and `source` are those of the peer, `node` is the node it came for.
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
  /** Ends it with a reset of both sides. */
  readonly reset: Effect.Effect<void>
}

/**
 * Begins with none. Each splice gets its timeouts from `RelayConfig` and its rates from `Bandwidth`, when it begins.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Splices, never, Bandwidth | RelayConfig | Statistics | Transport.Transport> = Layer
  .scoped(
    Splices,
    Effect.gen(function*() {
      const bandwidth = yield* Bandwidth
      const clock = yield* Effect.clock
      const config = yield* RelayConfig
      const currentTimeMillis = MonotonicTime.millis(clock)
      const log = yield* ThrottledLog.make
      const statistics = yield* Statistics
      const transport = yield* Transport.Transport
      const running = new Set<Running>()
      const none = Effect.unsafeMakeLatch(true)
      const some = Effect.unsafeMakeLatch(false)

      const meter = (splice: Running, carried: Transport.Carried) => {
        const more = splice.unmetered(carried)
        splice.metered = { fromLeft: carried.fromLeft, fromRight: carried.fromRight }
        if (more.fromLeft + more.fromRight > 0) {
          statistics.carried(splice, more)
        }
      }

      yield* some.await.pipe(
        Effect.zipRight(Effect.sleep("1 second")),
        Effect.zipRight(Effect.sync(() => running.forEach((splice) => meter(splice, splice.carried())))),
        Effect.forever,
        Effect.forkScoped
      )

      const ended = (splice: Running, report: Transport.SpliceReport) => {
        running.delete(splice)
        splice.membership.leave()
        meter(splice, report)
        if (running.size === 0) {
          none.unsafeOpen()
          some.unsafeClose()
        }
        const durationMs = currentTimeMillis() - splice.sinceMonotonicMs
        statistics.spliceEnded(splice, report, durationMs)
        log.debug("splice ended", () => ({
          ...report,
          connection: splice.connection,
          durationMs,
          node: CertDigest.short(splice.node)
        }))
      }

      const begin: typeof Splices.Service["begin"] = (peer, dialedBack, { node, source: host }) => {
        const splice = new Running(peer, node, host, clock.unsafeCurrentTimeMillis(), currentTimeMillis())
        statistics.spliceBegan(splice, splice.sinceMonotonicMs - peer.sinceMonotonicMs)
        running.add(splice)
        none.unsafeClose()
        some.unsafeOpen()
        splice.membership = bandwidth.join(node, peer.source, (rates) => splice.carrying.limit(rates))
        const { idleTimeoutMs, lingerTimeoutMs } = config
        const options = { idleTimeoutMs, lingerTimeoutMs, rates: splice.membership.rates }
        splice.carrying = transport.splice(peer.socket, dialedBack.socket, options, (report) => {
          splice.reported(report)
          peer.endNow()
          dialedBack.endNow()
        })
        peer.scope.add(() => splice.whenReported((report) => ended(splice, report)))
      }

      return {
        begin,
        all: () => running,
        unmetered: () => {
          let [fromLeft, fromRight] = [0, 0]
          for (const splice of running) {
            const more = splice.unmetered(splice.carried())
            fromLeft += more.fromLeft
            fromRight += more.fromRight
          }
          return { fromLeft, fromRight }
        },
        awaitNone: none.await
      }
    })
  )

const nothing: Transport.Carried = { fromLeft: 0, fromRight: 0 }

class Running implements RunningSplice {
  carrying!: Transport.Splice
  membership!: Membership
  /** The bytes that the statistics have. */
  metered = nothing
  private ending: Transport.SpliceReport | undefined
  private onReport: ((report: Transport.SpliceReport) => void) | undefined

  constructor(
    private readonly peer: Accepted,
    readonly node: CertDigest.CertDigest,
    readonly host: Source,
    readonly since: number,
    readonly sinceMonotonicMs: number
  ) {}

  get connection() {
    return this.peer.id
  }

  get source() {
    return this.peer.source
  }

  get reset() {
    return this.peer.socket.close
  }

  carried() {
    return this.carrying.carried()
  }

  unmetered({ fromLeft, fromRight }: Transport.Carried) {
    return { fromLeft: fromLeft - this.metered.fromLeft, fromRight: fromRight - this.metered.fromRight }
  }

  reported(report: Transport.SpliceReport) {
    this.ending = report
    this.onReport?.(report)
  }

  /** Does what there is to do with the transport's report: now, or later if it runs and is reset for it. */
  whenReported(done: (report: Transport.SpliceReport) => void): Effect.Effect<void> {
    if (this.ending !== undefined) {
      done(this.ending)
      return Effect.void
    }
    return Effect.async((resume) => {
      this.onReport = (report) => resume(Effect.sync(() => done(report)))
      this.peer.socket.closeNow()
    })
  }
}
