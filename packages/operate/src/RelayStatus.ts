/**
 * The schemas of `/status` and of the lists, for programs that read them. They show nodes by the first 8 characters of their
 * digests.
 *
 * @since 0.1.0
 */
import { stages } from "@tx3/relay/Accepted"
import { lookUpOutcomes } from "@tx3/relay/Elsewhere"
import { rejectionReasons } from "@tx3/relay/RelayError"
import { endReasons } from "@tx3/relay/RelayEvents"
import * as Schema from "effect/Schema"

const Count = Schema.NonNegativeInt

const counts = <Key extends string>(keys: ReadonlyArray<Key>) =>
  Schema.Struct(Object.fromEntries(keys.map((key) => [key, Count])) as Record<Key, typeof Count>)

/**
 * Totals since the relay started, and how many there are now, at one moment.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Sample = Schema.Struct({
  /** Milliseconds since the epoch. */
  at: Schema.Number,
  controlStreams: Count,
  pending: Count,
  splices: Count,
  connections: Count,
  acceptedTotal: Count,
  rejectedTotal: Count,
  splicesTotal: Count,
  bytesFromPeersTotal: Schema.Number,
  bytesFromNodesTotal: Schema.Number
})

/**
 * The relay at one moment: what there is, and totals that never get smaller.
 *
 * @since 0.1.0
 * @category models
 */
export type Sample = typeof Sample.Type

/**
 * How much happened in each second of the last so many.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Rates = Schema.Struct({
  /** The seconds it is about: fewer than asked for where the relay is younger. */
  seconds: Schema.Number,
  accepted: Schema.Number,
  rejected: Schema.Number,
  splices: Schema.Number,
  bytesFromPeers: Schema.Number,
  bytesFromNodes: Schema.Number
})

/**
 * Events per second, on average over the last `seconds`.
 *
 * @since 0.1.0
 * @category models
 */
export type Rates = typeof Rates.Type

/**
 * A limit and how much of it is used; where it is one of each node or source, of the one that uses most.
 *
 * @since 0.1.0
 * @category schemas
 */
export const LimitUse = Schema.Struct({
  /** The setting, or `descriptors`. */
  name: Schema.String,
  used: Schema.Number,
  limit: Schema.Number,
  unit: Schema.Literal("count", "bytes", "bytesPerSecond")
})

/**
 * How much of one limit is used, in its `unit`.
 *
 * @since 0.1.0
 * @category models
 */
export type LimitUse = typeof LimitUse.Type

/**
 * A node or a source, its running splices, and the bytes it had carried in the last 15 minutes.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Talker = Schema.Struct({ name: Schema.String, splices: Count, bytes: Schema.Number })

/**
 * A node or a source in the lists of those that use the relay most.
 *
 * @since 0.1.0
 * @category models
 */
export type Talker = typeof Talker.Type

const Talkers = Schema.Struct({ bySplices: Schema.Array(Talker), byBytes: Schema.Array(Talker) })

/**
 * Something that happened, in words.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Event = Schema.Struct({
  at: Schema.Number,
  kind: Schema.Literal("node", "splice", "rejection", "operator"),
  text: Schema.String
})

/**
 * One line of the journal. `at` is in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type Event = typeof Event.Type

const Link = Schema.Struct({ host: Schema.String, port: Schema.Number })

/**
 * A cluster, as this member sees it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Cluster = Schema.Struct({
  /** This member. Each start gives it a new name. */
  name: Schema.String,
  /** Where other members connect to. */
  link: Link,
  /** Whether NATS is there. */
  isConnected: Schema.Boolean,
  /** The others. */
  members: Schema.Array(Schema.Struct({
    name: Schema.String,
    link: Link,
    state: Schema.Literal("listening", "draining"),
    version: Schema.String,
    /** How long the last question to it took over NATS, and its answer back; null: it has not answered one. */
    roundTripMs: Schema.NullOr(Schema.Number)
  })),
  /** Connections forwarded to other members, and received from them. */
  forwarded: Count,
  received: Count,
  /** Look-ups in progress. */
  lookingUp: Count,
  lookUps: counts(lookUpOutcomes),
  /** Seconds that all look-ups took together. */
  lookUpSeconds: Schema.Number
})

/**
 * A cluster, as one of its members sees it. The totals are since the member started.
 *
 * @since 0.1.0
 * @category models
 */
export type Cluster = typeof Cluster.Type

/**
 * The answer to `GET /status`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Status = Schema.Struct({
  version: Schema.String,
  /** Milliseconds since the epoch. */
  startedAt: Schema.Number,
  uptimeSeconds: Schema.Number,
  state: Schema.Literal("listening", "draining"),
  digest: Schema.String,
  /** The addresses that nodes use. */
  addresses: Schema.Array(Schema.String),
  /** The addresses that the relay listens at: the same, unless others are advertised. */
  bound: Schema.Array(Schema.String),
  /** The transport that carries bytes. */
  transport: Schema.Literal("portable", "kernel"),
  logLevel: Schema.String,
  connections: counts(stages),
  splices: Count,
  totals: Schema.Struct({
    accepted: Count,
    acceptErrors: Count,
    rejections: counts(rejectionReasons),
    controlStreams: Count,
    controlStreamsEnded: counts(endReasons),
    unclaimedTokens: Count,
    splices: Count,
    bytesFromPeers: Schema.Number,
    bytesFromNodes: Schema.Number
  }),
  limits: Schema.Array(LimitUse),
  /** The cluster that the relay is a member of; null: none. */
  cluster: Schema.NullOr(Cluster),
  /** Over 10 seconds, a minute and 15 minutes. */
  rates: Schema.Struct({ last10s: Rates, last1m: Rates, last15m: Rates }),
  top: Schema.Struct({ nodes: Talkers, sources: Talkers }),
  /**
   * A source that has more than half of the open connections while `maxShareOfRelay` bites: a proxy that sends no PROXY
   * headers, or one host that takes what it can get.
   */
  suspectedProxy: Schema.NullOr(Schema.Struct({ source: Schema.String, connections: Count })),
  /** How long, at most, something waited for the event loop in the last 10 seconds, in seconds. */
  eventLoopLagSeconds: Schema.Number,
  residentBytes: Schema.Number
})

/**
 * All that an operator is shown of a relay at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = typeof Status.Type

/**
 * A registered node.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ControlStream = Schema.Struct({
  node: Schema.String,
  source: Schema.String,
  connection: Count,
  since: Schema.Number,
  /** Its peers, waiting or spliced. */
  peers: Count
})

/**
 * A running splice. `since` is in milliseconds since the epoch, the bytes are those up to now.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Splice = Schema.Struct({
  /** The number that `kick` takes. */
  connection: Count,
  node: Schema.String,
  /** Of the peer. */
  source: Schema.String,
  since: Schema.Number,
  bytesFromPeer: Schema.Number,
  bytesFromNode: Schema.Number
})

/** Characters of a search. */
const searchMax = 100

const Search = Schema.optional(Schema.String.pipe(Schema.maxLength(searchMax)))

const Offset = Schema.optional(Schema.NumberFromString.pipe(Schema.int(), Schema.nonNegative()))

/**
 * Which nodes to list: those with `search` in their digest or source, in any case of letters, from row `offset` on. Without `sort`
 * those with most bytes come first.
 *
 * @since 0.1.0
 * @category schemas
 */
export const NodeQuery = Schema.Struct({
  search: Search,
  sort: Schema.optional(Schema.Literal("bytes", "splices", "source", "newest", "oldest")),
  offset: Offset
})

/**
 * Which nodes to list.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeQuery = typeof NodeQuery.Type

/**
 * Which splices to list, as for nodes; `search` also looks at the source of a splice's node.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SpliceQuery = Schema.Struct({
  search: Search,
  sort: Schema.optional(Schema.Literal("bytes", "newest", "oldest")),
  offset: Offset
})

/**
 * Which splices to list.
 *
 * @since 0.1.0
 * @category models
 */
export type SpliceQuery = typeof SpliceQuery.Type

const piece = <Row extends Schema.Schema.Any>(row: Row) => ({
  /** All that there are. */
  total: Count,
  /** Those that were searched for. */
  found: Count,
  /** Of them, the number of the first row here. */
  offset: Count,
  /** At most 20. */
  rows: Schema.Array(row)
})

/**
 * A piece of the list of nodes, and the limits that a node and its source share in.
 *
 * @since 0.1.0
 * @category schemas
 */
export const NodeList = Schema.Struct({
  peersMax: Count,
  nodesOfSourceMax: Count,
  ...piece(Schema.Struct({
    node: Schema.String,
    source: Schema.String,
    connection: Count,
    since: Schema.Number,
    splices: Count,
    /** Its peers, waiting or spliced. */
    peers: Count,
    /** The registered nodes of its source, itself among them. */
    nodesOfSource: Count,
    /** Of the last 15 minutes. */
    bytes: Schema.Number
  }))
})

/**
 * A piece of the list of nodes.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeList = typeof NodeList.Type

/**
 * A piece of the list of splices.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SpliceList = Schema.Struct(piece(Schema.Struct({
  ...Splice.fields,
  /** The source that registered the node. */
  nodeSource: Schema.String
})))

/**
 * A piece of the list of splices.
 *
 * @since 0.1.0
 * @category models
 */
export type SpliceList = typeof SpliceList.Type

/**
 * Nodes and addresses that have been banned while the relay runs.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Ban = Schema.Struct({
  /** A node's digest, or an address or range. */
  who: Schema.String,
  since: Schema.Number
})

/**
 * A banned node or source, and since when, in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type Ban = typeof Ban.Type

/**
 * A setting that a reload found changed. Secrets are not shown.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Change = Schema.Struct({ setting: Schema.String, from: Schema.String, to: Schema.String })

/**
 * A setting, and its text before and after.
 *
 * @since 0.1.0
 * @category models
 */
export type Change = typeof Change.Type

/**
 * The settings that a reload changed, and those of the file that take effect only after a restart.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ReloadReport = Schema.Struct({ changed: Schema.Array(Change), needsRestart: Schema.Array(Change) })

/**
 * The settings that apply since a reload, and those that need a restart.
 *
 * @since 0.1.0
 * @category models
 */
export type ReloadReport = typeof ReloadReport.Type
