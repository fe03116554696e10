/**
 * Binds the relay's addresses and runs every accepted connection in a fiber and a scope of its own. It owns the listening
 * sockets and the set of live connections, until its layer's scope closes.
 *
 * Shutdown is here and nowhere else, in this order: stop accepting; end every connection that is not spliced, since
 * nothing can come of it any more; wait for the splices, at most `drainTimeoutMs`; end those that are left.
 *
 * @since 0.1.0
 */
import * as Address from "@tx3/protocol/Address"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as PublishedHosts from "@tx3/protocol/PublishedHosts"
import * as Source from "@tx3/protocol/Source"
import * as Interfaces from "@tx3/sockets/Interfaces"
import * as Transport from "@tx3/transport/Transport"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Dns from "node:dns"
import * as Net from "node:net"
import type { Accepted, Stage } from "./Accepted.js"
import type { Access } from "./Access.js"
import * as Connection from "./Connection.js"
import type { ControlSessions } from "./ControlSessions.js"
import * as Deadlines from "./internal/deadlines.js"
import * as ThrottledLog from "./internal/throttledLog.js"
import type { InboundPlace } from "./Limiter.js"
import * as Limiter from "./Limiter.js"
import type { PendingSplices } from "./PendingSplices.js"
import { RelayConfig } from "./RelayConfig.js"
import type { Rejected, RejectionReason } from "./RelayError.js"
import { isLimit } from "./RelayError.js"
import { Splices } from "./Splices.js"
import { Statistics } from "./Statistics.js"

/**
 * What is listened on, and every connection that came in and is still open.
 *
 * @since 0.1.0
 * @category services
 */
export class Listener extends Context.Tag("@tx3/relay/Listener")<Listener, {
  /** What to publish: every address under which the relay can be reached, with its digest. */
  readonly addresses: ReadonlyArray<Address.Address>

  /** The addresses that are bound, which are the same unless others are advertised. */
  readonly bound: ReadonlyArray<Address.Address>

  /** Every connection that is not closed yet. */
  readonly connections: () => Iterable<Accepted>

  /** How many connections have a deadline running. */
  readonly deadlines: () => number

  /** Whether it accepts connections, or drains. */
  readonly state: () => "listening" | "draining"

  /** Stops accepting, ends everything but splices, and waits for those as long as they last. */
  readonly drain: Effect.Effect<void>
}>() {}

/**
 * For how many milliseconds a relay that starts tries again to listen on a port that another socket has. An outgoing
 * connection of any program can have got the port by chance (`net.ipv4.ip_local_port_range`), and is soon over. With 0 it
 * fails at once.
 *
 * @since 0.1.0
 * @category references
 */
export class PortPatience extends Context.Reference<PortPatience>()("@tx3/relay/PortPatience", {
  defaultValue: () => 8_000
}) {}

/**
 * Binds what `RelayConfig` says and accepts from then on. Fails if an address cannot be listened on, and with that
 * leaves none bound.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Listener,
  Transport.ListenError,
  | Access
  | ControlSessions
  | Limiter.Limiter
  | PendingSplices
  | RelayConfig
  | Splices
  | Statistics
  | Transport.Transport
> = Layer.scoped(
  Listener,
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const config = yield* RelayConfig
    const portPatienceMs = yield* PortPatience
    const currentTimeMillis = MonotonicTime.millis(clock)
    const limiter = yield* Limiter.Limiter
    const log = yield* ThrottledLog.make
    const runtime = yield* Effect.runtime()
    const run = Runtime.runFork(runtime)
    const runSync = Runtime.runSync(runtime)
    const serve = yield* Connection.make
    const splices = yield* Splices
    const statistics = yield* Statistics
    const transport = yield* Transport.Transport
    const deadlines = yield* Deadlines.make<Live>(() => config.connectionTimeoutMs, (connection) => connection.expire())
    const turnAway = (connection: Live, reason: RejectionReason) =>
      run(Effect.zipRight(Effect.suspend(() => reject(connection, reason)), connection.close))
    const connections = new Set<Live>()
    let lastId = 0
    let state: "listening" | "draining" = "listening"

    const accept = (socket: Transport.Connection) => {
      statistics.accepted()
      const scope = runSync(Scope.make())
      const connection = new Live(
        ++lastId,
        socket,
        clock.unsafeCurrentTimeMillis(),
        currentTimeMillis(),
        scope,
        deadlines,
        turnAway
      )
      connections.add(connection)
      // Its scope is in the fiber's context from the start: to provide it later costs more than the fiber.
      const inScope = Runtime.make({ ...runtime, context: Context.add(runtime.context, Scope.Scope, scope) })
      connection.run(Runtime.runFork(inScope, open(connection)), (exit) => settle(connection, exit))
    }

    const open = (connection: Live) =>
      Effect.zipRight(
        Scope.addFinalizerExit(connection.scope, () => {
          connection.leave()
          connections.delete(connection)
          return connection.socket.close
        }),
        admitAndServe(connection)
      )

    /** What becomes of a connection whose program is over: a splice stays, and who waits for one; the rest is closed. */
    const settle = (connection: Live, exit: Exit.Exit<void, Rejected>) => {
      if (Exit.isFailure(exit)) {
        run(Effect.zipRight(account(connection, exit.cause), connection.close))
      } else if (connection.stage !== "pending" && connection.stage !== "spliced") {
        run(connection.close)
      }
    }

    const admitAndServe = (connection: Live): Effect.Effect<void, Rejected, Scope.Scope> =>
      Effect.flatMap(limiter.inbound(connection.source), (place) => {
        connection.place = place
        return serve(connection)
      })

    const account = (connection: Live, cause: Cause.Cause<Rejected>): Effect.Effect<void> => {
      const reason = connection.expired ? timeouts[connection.stage] : Option.getOrUndefined(rejection(cause))
      if (reason !== undefined) {
        return reject(connection, reason)
      }
      return Cause.isInterruptedOnly(cause) ? Effect.void : Effect.logError("defect in a connection", cause)
    }

    const reject = (connection: Live, reason: RejectionReason): Effect.Effect<void> => {
      statistics.rejected(connection, reason)
      const who = { connection: connection.id, source: connection.source, reason }
      if (reason === "maxShareOfRelay" && isLikeProxy(connection.source)) {
        return log.warn(
          "most connections come from one source: if it is a proxy, let it send the PROXY protocol and list it in " +
            "proxyProtocolFrom; if many people share it, raise maxShareOfRelay",
          who
        )
      }
      return isLimit(reason)
        ? log.warn("connection turned away by a limit", who)
        : log.debug("connection came to nothing", () => who)
    }

    let named: { readonly source: Source.Source; readonly at: number } | undefined

    /** Whether most connections are of this source and that has not been said in the last hour. */
    const isLikeProxy = (source: Source.Source) => {
      const now = currentTimeMillis()
      if (2 * (limiter.counts().sockets.get(source) ?? 0) <= connections.size) {
        return false
      }
      if (named?.source === source && now - named.at < hourMs) {
        return false
      }
      named = { source, at: now }
      return true
    }

    const endAll = (which: (connection: Live) => boolean) =>
      Effect.forEach(Array.from(connections).filter(which), (connection) => connection.end, {
        concurrency: "unbounded",
        discard: true
      })

    const listening = yield* Scope.make()

    const stopAccepting = Effect.gen(function*() {
      state = "draining"
      yield* Scope.close(listening, Exit.void)
      yield* endAll((connection) => connection.stage !== "spliced")
    }).pipe(Effect.uninterruptible)

    const logSplices = (message: string) =>
      Effect.suspend(() => Effect.annotateLogs(Effect.logInfo(message), { splices: Array.from(splices.all()).length }))

    const shutdown = Effect.gen(function*() {
      yield* stopAccepting
      yield* logSplices("shutting down")
      // Interruptible first: in a finalizer a timeout cannot cut off what is uninterruptible.
      yield* splices.awaitNone.pipe(Effect.interruptible, Effect.timeoutOption(config.drainTimeoutMs))
      yield* endAll(() => true)
      // The transport reports each of those when its sockets are closed, and the totals are complete only then.
      yield* splices.awaitNone
    })

    const listen = (host: string, port: number, ipv6Only: boolean) =>
      transport.listen({
        host,
        port,
        ipv6Only,
        proxies: config.proxyProtocolFrom,
        onConnection: accept,
        onAcceptError: (error) => {
          statistics.acceptFailed()
          run(log.warn("accept failed", { error: error.message }))
        }
      })

    const listenOnceFree = (host: string, port: number, ipv6Only: boolean) => {
      const attempt = listen(host, port, ipv6Only)
      return Effect.catchIf(
        attempt,
        isTaken,
        (error) =>
          portPatienceMs === 0 ? Effect.fail(error) : Effect.logWarning(error.message).pipe(
            Effect.annotateLogs({ tryingAgainForMs: portPatienceMs }),
            Effect.zipRight(Effect.retry(attempt, {
              while: isTaken,
              // Counted, and not Schedule.upTo, which goes by the wall clock.
              schedule: Schedule.intersect(
                Schedule.spaced(tryPortEveryMs),
                Schedule.recurs(Math.floor(portPatienceMs / tryPortEveryMs))
              )
            }))
          )
      )
    }

    const withDigest = ({ host, port, scheme }: Pick<Address.Address, "host" | "port" | "scheme">) =>
      new Address.Address({ scheme, host, port, digest: Option.some(config.identity.digest) })

    const bind = (address: Address.Address) =>
      Effect.flatMap(addressesOf(address), (hosts) =>
        Effect.forEach(hosts, (host) => {
          // Where IPv4 has a listener of its own on the port, a dual-stack one cannot have it too.
          const ipv6Only = host === "::" &&
            config.bind.some((other) => other.host === "0.0.0.0" && other.port === address.port)
          return listenOnceFree(host, address.port, ipv6Only).pipe(
            Effect.bindTo("bound"),
            Effect.bind("published", ({ bound }) => publishedHosts(bound.host)),
            Effect.map(({ bound, published }) =>
              published.map((host) => withDigest({ scheme: "tx3-rst", host, port: bound.port }))
            )
          )
        }))

    yield* warnOfDescriptors(config.maxInboundConnections)
    yield* Effect.addFinalizer(() => shutdown)
    const bound = (yield* Scope.extend(Effect.forEach(config.bind, bind), listening)).flat(2)
    const addresses = config.advertise?.map(withDigest) ?? bound
    yield* Effect.logInfo("listening").pipe(
      Effect.annotateLogs({ addresses: addresses.map(String).join(" "), transport: transport.kind })
    )

    return Listener.of({
      addresses,
      bound,
      connections: () => connections,
      deadlines: deadlines.size,
      state: () => state,
      drain: Effect.all([stopAccepting, logSplices("draining"), splices.awaitNone], { discard: true })
    })
  })
)

const hourMs = 3_600_000

/** The reason that a deadline gives to each stage it applies to. */
const timeouts: { readonly [S in Stage]?: RejectionReason } = {
  preamble: "preambleTimeout",
  handshake: "handshakeTimeout",
  pending: "pendingTimeout"
}

const rejection = (cause: Cause.Cause<Rejected>) => Option.map(Cause.failureOption(cause), ({ reason }) => reason)

class Live implements Accepted {
  readonly source: Source.Source
  stage: Stage = "preamble"
  /** Whether its deadline is why the fiber is interrupted. */
  expired = false
  place: InboundPlace | undefined
  private fiber: Fiber.RuntimeFiber<void, Rejected> | undefined
  private onLeave: (() => void) | undefined

  constructor(
    readonly id: number,
    readonly socket: Transport.Connection,
    readonly since: number,
    readonly sinceMonotonicMs: number,
    readonly scope: Scope.CloseableScope,
    private readonly deadlines: Deadlines.Deadlines<Live>,
    private readonly onTurnAway: (connection: Live, reason: RejectionReason) => void
  ) {
    this.source = Source.fromAddress(socket.remoteAddress)
    deadlines.start(this)
  }

  /** Its program has begun. The fiber is kept until it is over, and not with the splice that may come of it. */
  run(fiber: Fiber.RuntimeFiber<void, Rejected>, onExit: (exit: Exit.Exit<void, Rejected>) => void) {
    this.fiber = fiber
    fiber.addObserver((exit) => {
      this.fiber = undefined
      onExit(exit)
    })
  }

  expire() {
    if (this.fiber === undefined) {
      this.turnAway(timeouts[this.stage]!)
    } else {
      this.expired = true
      this.fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  turnAway(reason: RejectionReason) {
    this.leave()
    this.onTurnAway(this, reason)
  }

  leave() {
    const leave = this.onLeave
    this.onLeave = undefined
    leave?.()
  }

  enter(stage: Stage, leave?: () => void) {
    this.leave()
    this.stage = stage
    this.onLeave = leave
    if (timeouts[stage] === undefined) {
      this.deadlines.cancel(this)
      this.place?.settle()
    }
  }

  /** When its fiber is over. */
  get close() {
    return Effect.suspend(() => {
      this.deadlines.cancel(this)
      return Scope.close(this.scope, Exit.void)
    })
  }

  /** From outside, at any time. */
  get end() {
    return Effect.suspend(() =>
      this.fiber === undefined ? this.close : Effect.zipRight(Fiber.interrupt(this.fiber), this.close)
    )
  }
}

const isTaken = ({ cause }: Transport.ListenError) => cause.code === "EADDRINUSE"

const tryPortEveryMs = 250

/** The numeric addresses of a host: itself, or what its name resolves to. */
const addressesOf = ({ host, port }: Address.Address): Effect.Effect<ReadonlyArray<string>, Transport.ListenError> =>
  Net.isIP(host) !== 0
    ? Effect.succeed([host])
    : Effect.tryPromise({
      try: () => Dns.promises.lookup(host, { all: true }),
      catch: (cause) => new Transport.ListenError({ host, port, cause: cause as NodeJS.ErrnoException })
    }).pipe(Effect.map((results) => Array.from(new Set(results.map(({ address }) => address)))))

const publishedHosts = (bound: string) =>
  Effect.map(
    PublishedHosts.isUnspecified(bound)
      ? Interfaces.listOrWarn("loopback is published in place of its addresses; set advertise")
      : Effect.succeed({}),
    (interfaces) => PublishedHosts.fromBound(bound, interfaces)
  )

const warnOfDescriptors = (maxInboundConnections: number) =>
  Effect.flatMap(
    Limiter.inboundByDescriptors,
    (reachable) =>
      Option.isSome(reachable) && reachable.value < maxInboundConnections
        ? Effect.logWarning(
          `the descriptor limit (ulimit -n) allows ${reachable.value} connections, ` +
            `not maxInboundConnections ${maxInboundConnections}; raise it, or lower the setting`
        )
        : Effect.void
  )
