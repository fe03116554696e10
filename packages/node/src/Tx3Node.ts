/**
 * A node: it listens at its own addresses and through relays, delivers inbound connections, and connects to others. It owns
 * its listeners, registrations and inbound connections until its layer's scope closes, in that order. A connection made with
 * `connect` ends with the caller's scope.
 */
import type { AddressError, AddressWithDigest } from "@tx3/protocol/Address"
import * as Address from "@tx3/protocol/Address"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import * as PublishedHosts from "@tx3/protocol/PublishedHosts"
import * as Source from "@tx3/protocol/Source"
import * as Tls from "@tx3/protocol/Tls"
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import type { Endpoint } from "@tx3/sockets/Dial"
import * as Interfaces from "@tx3/sockets/Interfaces"
import * as Listen from "@tx3/sockets/Listen"
import * as Proxy from "@tx3/sockets/Proxy"
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { connectThroughAny } from "./internal/connect.js"
import * as inbound from "./internal/inbound.js"
import * as tcp from "./internal/tcp.js"
import { NodeConfig } from "./NodeConfig.js"
import type { ConnectError, RegistrationError } from "./NodeError.js"
import { BindError } from "./NodeError.js"
import * as RelayRegistration from "./RelayRegistration.js"
import { RemoteDigest } from "./RemoteDigest.js"
import type * as Tx3Connection from "./Tx3Connection.js"

/**
 * A running node.
 *
 * @since 0.1.0
 * @category services
 */
export class Tx3Node extends Context.Tag("@tx3/node/Tx3Node")<Tx3Node, {
  /** The digest of the node's own certificate. */
  readonly digest: CertDigest

  /**
   * Where others reach it: for a direct address what the listener is bound to, one for each host to publish; for a
   * relay the relay's address with the node's digest, whether or not the registration is live.
   */
  readonly addresses: ReadonlyArray<AddressWithDigest>

  /** One for each relay it is bound through, in the order of `bind`. */
  readonly registrations: ReadonlyArray<RelayRegistration.RelayRegistration>

  /**
   * Inbound connections, in the order in which their handshakes completed. Each is delivered once, to the first consumer that
   * pulls, which must close it. A connection that is left open ends with the node, as the stream does. `serve` closes
   * connections itself.
   */
  readonly connections: Stream.Stream<Tx3Connection.Tx3Connection>

  /**
   * Runs the handler for each inbound connection, in a fiber and a scope of its own, with `RemoteDigest` provided. When the
   * handler succeeds its connection is closed in order, and the other end gets all that was written and an end. When it fails
   * or is interrupted the connection is reset. A failure is logged and stops nothing else. Interrupting this interrupts every
   * handler.
   */
  readonly serve: <E, R>(
    handler: (connection: Tx3Connection.Tx3Connection) => Effect.Effect<void, E, R>
  ) => Effect.Effect<never, never, Exclude<R, Scope.Scope>>

  /**
   * Connects to another node, directly or through a relay, and makes sure that it is the one the address names. Every
   * IP address of a name is tried, 250 ms apart, and the first that answers is taken (RFC 8305). Of several addresses of the node, the next is tried `connectStaggerMs` after the
   * one before it or as soon as that has failed, and the first that completes is taken. The connection is closed with the
   * scope: in order where the scope closes with success, by a reset otherwise. Do not connect to a relay's own address: the relay would treat the connection as a node that registers.
   */
  readonly connect: (
    address: Destination
  ) => Effect.Effect<Tx3Connection.Tx3Connection, ConnectError, Scope.Scope>
}>() {}

/**
 * Whom to connect to: a node's address, or several addresses of one node, as it has them at several relays.
 *
 * @since 0.1.0
 * @category models
 */
export type Destination = string | Address.Address | Arr.NonEmptyReadonlyArray<string | Address.Address>

const addressesIn = (destination: Destination): Arr.NonEmptyReadonlyArray<string | Address.Address> =>
  typeof destination === "string" || destination instanceof Address.Address ? [destination] : destination

/**
 * The options of a node.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Where to be reached: `tx3-st://HOST:PORT` listens there (port 0 lets the system choose, and the digest may be
   * absent); `tx3-rst://HOST:PORT/DIGEST` is a relay with its own digest, to be registered at. Default none: a node
   * that only connects.
   */
  readonly bind?: ReadonlyArray<string | Address.Address> | undefined

  /** The node's identity. Default: a new one, whose digest is different each time. */
  readonly identity?: Identity.Identity | undefined

  /**
   * Whether making the node waits for every registration and fails with the first that does not succeed. Default false:
   * it returns at once, and a registration that fails is a state like any other.
   */
  readonly requireRegistration?: boolean | undefined
}

/**
 * Makes a node that ends with the scope. It reads `NodeConfig` and `Proxy` of `@tx3/sockets`. An address that cannot be parsed or bound fails it,
 * and what was bound before is closed.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { Effect, Stream } from "effect"
 *
 * // Sends back what each peer sends, at an address behind the relay.
 * export const echo = Effect.gen(function*() {
 *   const relay = "tx3-rst://relay.example.org:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
 *   const node = yield* Tx3Node.make({ bind: [relay] })
 *   yield* Effect.log(...node.addresses.map(String))
 *   return yield* node.serve((connection) => Effect.orDie(Stream.run(connection.readable, connection.writable)))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Tx3Node["Type"], AddressError | BindError | RegistrationError, Scope.Scope> =>
  Effect.gen(function*() {
    const config = yield* NodeConfig
    const proxyOf = yield* Proxy.Proxy
    const identity = options.identity ?? (yield* Identity.generate)
    const context = Tls.secureContext(identity)
    yield* Effect.forkScoped(DeadPeers.explain)
    const { accept, connections } = yield* inbound.make(config, context)

    const listen = (address: Endpoint) =>
      tcp.listen(address, (connection) => {
        const isAdmitted = accept({
          from: { kind: "source", name: Source.fromAddress(connection.remoteAddress.host) },
          open: Effect.acquireRelease(
            Effect.succeed(connection),
            ({ socket }) => Effect.sync(() => socket.destroy())
          )
        })
        if (!isAdmitted) {
          connection.socket.resetAndDestroy()
        }
      })

    const addresses: Array<AddressWithDigest> = []
    const registrations: Array<RelayRegistration.RelayRegistration> = []
    for (const bind of options.bind ?? []) {
      const address = yield* Address.parse(bind.toString())
      if (address.scheme === "tx3-st") {
        const hosts = yield* Effect.mapError(
          Listen.addressesOf(address.host),
          ({ cause }) => new BindError({ host: address.host, port: address.port, cause })
        )
        for (const bound of yield* Listen.atEach(hosts, address.port, listen)) {
          for (const host of yield* publishedHosts(bound.address)) {
            addresses.push(new Address.Address({ ...address, host, port: bound.port }).withDigest(identity.digest))
          }
        }
      } else {
        const relay = yield* Address.parseWithDigest(address.toString())
        registrations.push(yield* RelayRegistration.make({ accept, config, context, relay }))
        addresses.push(relay.withDigest(identity.digest))
      }
    }
    if (options.requireRegistration) {
      yield* Effect.forEach(registrations, RelayRegistration.untilLive, { concurrency: "unbounded", discard: true })
    }

    return {
      digest: identity.digest,
      addresses,
      registrations,
      connections,
      serve: (handler) =>
        connections.pipe(
          Stream.runForEach((connection) =>
            Effect.addFinalizer((exit) => Exit.isSuccess(exit) ? connection.close : connection.reset).pipe(
              Effect.zipRight(handler(connection)),
              Effect.scoped,
              Effect.provideService(RemoteDigest, Option.some(connection.remoteDigest)),
              Effect.catchAllCause((cause) => Effect.logError("the handler of a connection failed", cause)),
              Effect.annotateLogs({ package: "@tx3/node", module: "Tx3Node", peer: connection.remoteDigest }),
              Effect.forkScoped
            )
          ),
          Effect.scoped,
          Effect.zipRight(Effect.never)
        ),
      connect: (destination) =>
        Effect.flatMap(
          Effect.forEach(addressesIn(destination), (address) => Address.parseWithDigest(address.toString())),
          (addresses) => Effect.provideService(connectThroughAny(addresses, context, config), Proxy.Proxy, proxyOf)
        )
    }
  })

const publishedHosts = (bound: string) =>
  Effect.map(
    PublishedHosts.isUnspecified(bound)
      ? Interfaces.listOrWarn("loopback is published in place of its addresses; bind an address by number")
      : Effect.succeed({}),
    (interfaces) => PublishedHosts.fromBound(bound, interfaces)
  )

/**
 * The node as a layer, which it ends with.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { Effect, Stream } from "effect"
 *
 * const ask = (address: string) =>
 *   Effect.gen(function*() {
 *     const { connect } = yield* Tx3Node.Tx3Node
 *     const connection = yield* connect(address)
 *     yield* connection.write(new TextEncoder().encode("hello"))
 *     yield* connection.end
 *     return yield* Stream.mkString(Stream.decodeText(connection.readable))
 *   }).pipe(Effect.scoped)
 *
 * export const program = (address: string) => Effect.provide(ask(address), Tx3Node.layer({}))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Tx3Node, AddressError | BindError | RegistrationError> =>
  Layer.scoped(Tx3Node, make(options))
