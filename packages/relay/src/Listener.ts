/**
 * Binds the relay's addresses, accepts connections, and shuts down. It owns the listening sockets and the connections that
 * came in by them, until its layer's scope closes. A socket that a limit of its source refuses is closed at once, before it gets
 * a scope and a fiber: that keeps a flood cheap. The others come in one of each source in turns.
 *
 * Shutdown is here and nowhere else, in this order: stop accepting; let the other relays of a cluster know; end every
 * connection whose bytes are not carried, since nothing can come of it any more; wait for the splices and forwarded
 * connections, at most `drainTimeoutMs`; end those that are left.
 *
 * @since 0.1.0
 */
import * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import * as PublishedHosts from "@tx3/protocol/PublishedHosts"
import * as Source from "@tx3/protocol/Source"
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Interfaces from "@tx3/sockets/Interfaces"
import * as Listen from "@tx3/sockets/Listen"
import * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Dns from "node:dns"
import * as Net from "node:net"
import * as Accepted from "./Accepted.js"
import type { Access } from "./Access.js"
import * as Connection from "./Connection.js"
import type { ControlSession } from "./ControlSession.js"
import { ControlSessions } from "./ControlSessions.js"
import type { Here, Membership, Reservation } from "./Elsewhere.js"
import { Elsewhere } from "./Elsewhere.js"
import { ConnectionScope } from "./internal/connectionScope.js"
import * as ThrottledLog from "./internal/throttledLog.js"
import { Turns } from "./internal/turns.js"
import * as Limiter from "./Limiter.js"
import { PendingSplices } from "./PendingSplices.js"
import { RelayConfig } from "./RelayConfig.js"
import type { RejectionReason } from "./RelayError.js"
import { isLimit, Rejected } from "./RelayError.js"
import { Splices } from "./Splices.js"
import { Statistics } from "./Statistics.js"

/**
 * Listens at the relay's addresses, and keeps every connection that it accepted and that is still open.
 *
 * @since 0.1.0
 * @category services
 */
export class Listener extends Context.Tag("@tx3/relay/Listener")<Listener, {
  /** The addresses to publish: each one under which the relay can be reached, with its digest. */
  readonly addresses: ReadonlyArray<Address.Address>

  /** The addresses that are bound, which are the same unless others are advertised. */
  readonly bound: ReadonlyArray<Address.Address>

  /** Every connection that is not closed yet. */
  readonly connections: () => Iterable<Accepted.Accepted>

  /** The places of connections that another relay of a cluster has still to forward. */
  readonly reserved: () => Iterable<Reserved>

  /** The relay's membership in a cluster, if it is in one. */
  readonly membership: Membership | undefined

  /** How many connections have a deadline running. */
  readonly deadlines: () => number

  /** Whether it accepts connections, or drains. */
  readonly state: () => "listening" | "draining"

  /** Stops accepting, ends everything but splices, and waits for those as long as they last. */
  readonly drain: Effect.Effect<void>
}>() {}

/**
 * The source of a connection that is still to come, and the session of the node that it is a peer of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reserved {
  readonly source: Source.Source
  readonly session: ControlSession | undefined
}

/**
 * For how many milliseconds a relay that starts tries again to listen on a port that another socket has
 * ({@link Listen.onceFree}). The admin server of `@tx3/operate` has the same patience. With 0 both fail at once.
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
    const config = yield* RelayConfig
    const { join } = yield* Elsewhere
    const pendingSplices = yield* PendingSplices
    const portPatienceMs = yield* PortPatience
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    const limiter = yield* Limiter.Limiter
    const log = yield* ThrottledLog.make
    const sessions = yield* ControlSessions
    const splices = yield* Splices
    const statistics = yield* Statistics
    const transport = yield* Transport.Transport
    let lastId = 0
    let state: "listening" | "draining" = "listening"

    const accept = (socket: Transport.Connection) => {
      statistics.accepted()
      const arrival = { id: ++lastId, source: Source.fromAddress(socket.remoteAddress), socket }
      if (turns.of(arrival.source) >= config.maxInboundPerIp) {
        refuse(arrival, "maxInboundPerIp")
      } else {
        admit(arrival, () => turns.add(arrival))
      }
    }

    const turns = new Turns<Arrival>((arrival) =>
      admit(arrival, () => connections.open(arrival.id, arrival.source, arrival.socket))
    )

    const admit = (arrival: Arrival, next: () => void) => {
      const limit = limiter.refusal(arrival.source)
      if (limit === undefined) {
        next()
      } else {
        refuse(arrival, limit)
      }
    }

    const refuse = (arrival: Arrival, limit: RejectionReason) => {
      reject(arrival, { reason: limit })
      arrival.socket.closeNow()
    }

    const reject = (
      connection: Pick<Accepted.Accepted, "id" | "source">,
      { detail, reason }: Pick<Rejected, "detail" | "reason">
    ) => {
      statistics.rejected(connection, reason)
      const who = { connection: connection.id, source: connection.source, reason }
      if (reason === "maxShareOfRelay" && isLikeProxy(connection.source)) {
        log.warn(
          "most connections come from one source: if it is a proxy, let it send the PROXY protocol and list it in " +
            "proxyProtocolFrom; if many people share it, raise maxShareOfRelay",
          who
        )
      } else if (isLimit(reason)) {
        log.warn("connection turned away by a limit", who)
      } else {
        log.debug("connection came to nothing", () => detail === undefined ? who : { ...who, detail })
      }
    }

    let named: { readonly source: Source.Source; readonly at: number } | undefined

    /** Whether most connections are of this source and that has not been said in the last hour. */
    const isLikeProxy = (source: Source.Source) => {
      const now = currentTimeMillis()
      if (2 * (limiter.counts().sockets.get(source) ?? 0) <= connections.all.size) {
        return false
      }
      if (named?.source === source && now - named.at < hourMs) {
        return false
      }
      named = { source, at: now }
      return true
    }

    const reserve = (preamble: Uint8Array, address: string, all: Set<Reserved>) =>
      Effect.suspend((): Effect.Effect<Reservation | undefined, Rejected> => {
        const session = sessions.find(CertDigest.fromBytes(preamble))
        const token = SpliceToken.fromBytes(preamble)
        if (session === undefined && !pendingSplices.has(token)) {
          // A node that comes back with a void token is alive.
          pendingSplices.claim(token)
          return Effect.succeed(undefined)
        }
        const entry: Reserved = { source: Source.fromAddress(address), session }
        const arrival = { id: ++lastId, source: entry.source }
        statistics.accepted()
        const scope = new ConnectionScope()
        const refused = (reason: RejectionReason) => {
          reject(arrival, { reason })
          return Effect.zipRight(scope.closeNow(), new Rejected({ reason }))
        }
        const place = scope.hold(limiter.inbound(entry.source))
        if (typeof place === "string") {
          return refused(place)
        }
        const ofNode = session === undefined ? undefined : scope.hold(limiter.relay(session, entry.source))
        if (typeof ofNode === "string") {
          return refused(ofNode)
        }
        all.add(entry)
        return Effect.succeed({
          open: (socket: Transport.Connection) => {
            all.delete(entry)
            connections.open(arrival.id, entry.source, socket, {
              address,
              host: session?.source,
              place,
              preamble,
              scope
            })
          },
          giveBack: Effect.suspend(() => {
            if (!all.delete(entry)) {
              return Effect.void
            }
            reject(arrival, { reason: "hungUp" })
            return scope.closeNow()
          })
        })
      })

    const here = (all: Set<Reserved>): Here => ({
      relay: config.identity.digest,
      config,
      transport,
      dialed: (source) => Effect.asVoid(Limiter.hold(() => limiter.dialed(source))),
      session: sessions.find,
      sessions: sessions.all,
      hasWaiting: () => all.size > 0 || pendingSplices.all()[Symbol.iterator]().next().done !== true,
      reserve: (preamble, address) => reserve(preamble, address, all)
    })

    const reserved = join === undefined ? undefined : new Set<Reserved>()
    const membership = join === undefined || reserved === undefined ? undefined : yield* join(here(reserved))

    const connections = yield* Accepted.make({ program: yield* Connection.make(membership), onRejected: reject })

    const listening = yield* Scope.make()

    const stopAccepting = Effect.gen(function*() {
      state = "draining"
      yield* Scope.close(listening, Exit.void)
      turns.clear().forEach(({ socket }) => socket.closeNow())
      yield* membership?.drain ?? Effect.void
      yield* connections.end(({ stage }) => !Accepted.isCarried(stage))
    }).pipe(Effect.uninterruptible)

    const awaitNone = membership === undefined
      ? splices.awaitNone
      : Effect.zipRight(splices.awaitNone, membership.awaitNone)

    const logSplices = (message: string) =>
      Effect.suspend(() => Effect.annotateLogs(Effect.logInfo(message), { splices: Array.from(splices.all()).length }))

    const shutdown = Effect.gen(function*() {
      yield* stopAccepting
      yield* logSplices("shutting down")
      // Interruptible first: in a finalizer a timeout cannot cut off what is uninterruptible.
      yield* awaitNone.pipe(Effect.interruptible, Effect.timeoutOption(config.drainTimeoutMs))
      yield* connections.end(() => true)
      // The transport reports each of those when its sockets are closed, and the totals are complete only then.
      yield* awaitNone
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
          log.warn("accept failed", { error: error.message })
        }
      })

    const listenOnceFree = (host: string, port: number, ipv6Only: boolean) =>
      Listen.onceFree(listen(host, port, ipv6Only), { isTaken, patienceMs: portPatienceMs })

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
      connections: () => connections.all,
      reserved: () => reserved ?? [],
      membership,
      deadlines: connections.deadlines,
      state: () => state,
      drain: Effect.all([stopAccepting, logSplices("draining"), awaitNone], { discard: true })
    })
  })
)

/** A socket that has been accepted and is no connection yet. */
interface Arrival {
  readonly id: number
  readonly source: Source.Source
  readonly socket: Transport.Connection
}

const hourMs = 3_600_000

const isTaken = ({ cause }: Transport.ListenError) => cause.code === "EADDRINUSE"

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
