/**
 * The seam for a cluster: other relays that answer for the same identity. A relay asks this service for what it does not have
 * itself, and lets the others ask for what it has. By default there are no others: the relay makes no service, map or timer
 * for them, and an unknown preamble is rejected at once.
 *
 * A cluster that implements it owns its links and look-ups until the relay's scope closes.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import type * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Accepted } from "./Accepted.js"
import type { ControlSession } from "./ControlSession.js"
import type { Settings } from "./RelayConfig.js"
import type { Rejected } from "./RelayError.js"

/**
 * Where a relay asks for nodes and peers that it does not have. A layer that provides it makes the relay a member of a cluster.
 *
 * @since 0.1.0
 * @category references
 */
export class Elsewhere extends Context.Reference<Elsewhere>()("@tx3/relay/Elsewhere", {
  defaultValue: (): Others => ({ join: undefined, tokenPrefix: undefined })
}) {}

/**
 * The others, as a relay finds them when it starts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Others {
  /** How every splice token of this relay begins, so that the others know whose it is. */
  readonly tokenPrefix: Uint8Array | undefined

  /**
   * Makes the relay one of them, before it accepts connections. The membership ends with the scope. Undefined: there are no
   * others.
   */
  readonly join: ((here: Here) => Effect.Effect<Membership, Transport.ListenError, Scope.Scope>) | undefined
}

/**
 * The part of a relay that the others of its cluster use.
 *
 * @since 0.1.0
 * @category models
 */
export interface Here {
  /** The digest of the relay's certificate. */
  readonly relay: CertDigest

  /** The settings of the relay, as they are at each moment. */
  readonly config: Settings

  /** The transport that carries the bytes of links. */
  readonly transport: Transport.Transport["Type"]

  /** Takes the place of a socket that is dialed for a connection of this source. Fails with the limit that is reached. */
  readonly dialed: (source: Source) => Effect.Effect<void, Rejected, Scope.Scope>

  /** The session of a node that is registered here. */
  readonly session: (node: CertDigest) => ControlSession | undefined

  /** The sessions of all nodes that are registered here. */
  readonly sessions: () => Iterable<ControlSession>

  /** Whether peers wait for nodes of this relay, or have a reservation. */
  readonly hasWaiting: () => boolean

  /**
   * Takes the places of a connection that another relay has accepted from `address` and will forward, as if it had been
   * accepted here. Undefined if its preamble names neither a node nor a waiting peer of this relay. Fails with the limit
   * that is reached.
   */
  readonly reserve: (preamble: Uint8Array, address: string) => Effect.Effect<Reservation | undefined, Rejected>
}

/**
 * The places of a connection that is still to come, until it comes or they are given back.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reservation {
  /** Runs the connection. It is never forwarded again. Once, and not after `giveBack`. */
  readonly open: (socket: Transport.Connection) => void

  /** Gives the places back. Does nothing once the connection has come. */
  readonly giveBack: Effect.Effect<void>
}

/**
 * The other relays of a cluster, as one relay uses them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Membership {
  /**
   * Carries a connection to the relay that has what its preamble names. Succeeds when it is on its way, in the stage
   * `forwarded`. Fails with `unknownPreamble` if no relay has it.
   */
  readonly forward: (connection: Accepted, preamble: Uint8Array) => Effect.Effect<void, Rejected, Scope.Scope>

  /** Tells the others that a node is registered here, before the node is told. Never fails, and takes a bounded time. */
  readonly announce: (session: ControlSession) => Effect.Effect<void, never, Scope.Scope>

  /** The connections that are forwarded now. */
  readonly forwards: () => Iterable<Forward>

  /** The cluster as this member sees it now, with totals since it started. */
  readonly view: () => View

  /** Asks each other member that is there to carry out an order of the operator. Takes a question's time at most. */
  readonly order: (order: string) => Effect.Effect<ReadonlyArray<Ordered>>

  /**
   * Carries out the orders of other members until the scope closes. `from` is the name of the member that was asked for it. A
   * member that does not call this refuses them.
   */
  readonly obey: (perform: (order: string, from: string) => Effect.Effect<string>) => Effect.Effect<
    void,
    never,
    Scope.Scope
  >

  /** Waits until no connection is forwarded. */
  readonly awaitNone: Effect.Effect<void>

  /** The relay accepts no more connections. Returns when its nodes may go to the others. */
  readonly drain: Effect.Effect<void>
}

/**
 * Another member, as it has told of itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface Member {
  /** Each start gives it a new one. */
  readonly name: string
  /** Where other members connect to. */
  readonly link: Transport.Bound
  readonly state: "listening" | "draining"
  readonly version: string
}

/**
 * What another member made of an order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ordered {
  readonly member: Member
  /** What it said: empty if it knows no orders, undefined if it did not answer in time. */
  readonly answer: string | undefined
}

/**
 * A connection that is carried to another relay.
 *
 * @since 0.1.0
 * @category models
 */
export interface Forward {
  /** The number of the connection at this relay. */
  readonly connection: number
  readonly source: Source
  /** The node that it came for; undefined: it was dialed back by one. */
  readonly node: CertDigest | undefined
  /** Bytes so far; left is the connection. */
  readonly carried: () => Transport.Carried
  /** Ends it with a reset of both sides. */
  readonly reset: Effect.Effect<void>
}

/**
 * How a look-up at the other members can end: its owner is `found`, no member has it (`unknown`), its owner has `refused` it, it is
 * `unavailable` whether a member has it, or there were too many look-ups (`limited`).
 *
 * @since 0.1.0
 * @category models
 */
export const lookUpOutcomes = ["found", "unknown", "refused", "unavailable", "limited"] as const

/**
 * One of {@link lookUpOutcomes}.
 *
 * @since 0.1.0
 * @category models
 */
export type LookUpOutcome = typeof lookUpOutcomes[number]

/**
 * A cluster, as one member sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface View {
  /** This member. Each start gives it a new name. */
  readonly name: string
  /** Where other members connect to. */
  readonly link: Transport.Bound
  /** Whether look-ups are possible. */
  readonly isConnected: boolean
  /**
   * The other members that have said in the last few seconds that they are there. `roundTripMs` is how long the last question to
   * the member took; undefined: it has not answered one.
   */
  readonly members: ReadonlyArray<Member & { readonly roundTripMs: number | undefined }>
  /** Connections forwarded to other members, in all. */
  readonly forwarded: number
  /** Connections that other members have forwarded to this one, in all. */
  readonly received: number
  /** Look-ups in progress, with the peers that wait for a node that moves. */
  readonly lookingUp: number
  readonly lookUps: Readonly<Record<LookUpOutcome, number>>
  /** Seconds that all look-ups took together. */
  readonly lookUpSeconds: number
}
