/**
 * Every knob of a relay with its default, its unit and the reason for it, and the places they are read from: code, a
 * file, the environment. Keys are those of the original's file (protocol section 7); what it does not have comes after.
 *
 * @since 0.1.0
 */
import * as Address from "@tx3/protocol/Address"
import * as Identity from "@tx3/protocol/Identity"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import ipaddr from "ipaddr.js"
import * as Net from "node:net"

const wholeNumber = (description: string) =>
  Schema.Int.pipe(Schema.between(1, 0x7fff_ffff)).annotations({
    description,
    message: () => ({ message: "must be a whole number from 1 to 2147483647", override: true })
  })

const knob = (defaultValue: number, description: string) =>
  Schema.optionalWith(wholeNumber(description), { default: () => defaultValue })

const optionalKnob = (description: string) => Schema.optional(wholeNumber(description))

const share = (defaultValue: number, description: string) =>
  Schema.optionalWith(
    Schema.Number.pipe(Schema.greaterThan(0), Schema.lessThanOrEqualTo(1)).annotations({
      description,
      message: () => ({ message: "must be a number above 0, up to 1", override: true })
    }),
    { default: () => defaultValue }
  )

/** An address to listen at, which needs no digest: the message of a wrong one must not ask for it. */
const BindAddress = Address.FromString.annotations({
  message: (issue) => ({
    message: `${JSON.stringify(issue.actual)} is no address to listen at: ${
      Either.match(Address.parse(String(issue.actual)), {
        onLeft: ({ part, problem }) => `its ${part} ${problem.split(";")[0]}`,
        onRight: () => "it has another scheme"
      })
    }; write tx3-rst://HOST:PORT, as tx3-rst://0.0.0.0:38141`,
    override: true
  })
}).pipe(
  Schema.filter((address) => address.scheme === "tx3-rst" || "a relay has tx3-rst://HOST:PORT addresses")
)

const listMustBe = "must be a list of at least one address, as [tx3-rst://0.0.0.0:38141]"
const rangesMustBe = "must be a list of at least one IP address or CIDR range"

/**
 * One address, `192.0.2.1`, or a range of them, `192.0.2.0/24`, `2001:db8::/32`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AddressRange = Schema.String.pipe(
  Schema.filter(
    (text) => {
      const [address, ...prefix] = text.split("/")
      // On its own isValidCIDR takes 010.0.0.0/8 for a range, that of 8.0.0.0, and 10.1/16 for that of 10.0.0.0.
      return Net.isIP(address!) !== 0 && (prefix.length === 0 || ipaddr.isValidCIDR(text)) && !text.includes("%")
    },
    {
      message: (issue) => ({ message: `${String(issue.actual)} is not an IP address or a CIDR range`, override: true })
    }
  )
)

/**
 * The settings, as they are in a file. All but `bind` have defaults. The defaults of the first five are the protocol's
 * (section 5).
 *
 * @since 0.1.0
 * @category schemas
 */
export const Settings = Schema.Struct({
  /** The addresses to listen on, `tx3-rst://HOST:PORT`. Every address of a name is bound; port 0 is any free one. */
  bind: Schema.NonEmptyArray(BindAddress).annotations({
    description: "addresses to listen on, tx3-rst://HOST:PORT",
    message: (issue) => issue._tag === "Composite" ? "" : listMustBe
  }),

  /**
   * Accepted sockets, from accept to close. The protocol's 20480 is 320 nodes with 64 splices each; a splice being two
   * sockets, a relay meant for that needs 40960 and the descriptors for it.
   */
  maxInboundConnections: knob(20480, "accepted sockets in all"),

  /** Registered nodes. */
  maxControlStreams: knob(320, "registered nodes in all"),

  /** Registered nodes of one source: one IPv4 address or one IPv6 /64. */
  maxControlStreamsPerIp: knob(4, "registered nodes of one source"),

  /** Peers of one node, waiting or spliced, over all its control streams. */
  maxRelaysPerControl: knob(64, "peers of one node, waiting or spliced"),

  /** Milliseconds from accept until a socket must be a registered node or one side of a splice. */
  connectionTimeoutMs: knob(20_000, "milliseconds a socket has to become a node or a splice"),

  /**
   * Sockets of one source that are not a registered node or spliced yet. 512 is 8 nodes' worth of 64 peers arriving at
   * once behind one address; a source that holds all of them for their 20 s opens 26 a second, and holds 2.5 % of the
   * default maxInboundConnections.
   */
  maxInboundPerIp: knob(512, "sockets of one source that are neither a node nor spliced yet"),

  /**
   * Sockets of one source, whatever they are. None by default: behind a balancer or a carrier's NAT many are one source.
   */
  maxSocketsPerIp: optionalKnob("sockets of one source, whatever they are; without it, any number"),

  /**
   * New connections a second of one source, in the long run; ten seconds' worth may come at once. 100 lets the 64 peers of
   * one node come back every second, and bounds what a source that connects in vain costs all others. Behind a
   * balancer that sends no PROXY headers all are one source, and it should be more.
   */
  connectionRatePerIp: knob(100, "new connections a second of one source"),

  /**
   * The most of a node's peers that may come from one source, as a part of maxRelaysPerControl, rounded up. 0.875 lets a
   * lone source open the 50 connections of a browser or of curl --parallel, and leaves eight places to all others. Of
   * fewer than eight peers one source may be all, as the protocol has it.
   */
  maxShareOfNode: share(0.875, "the part of a node's peers that one source may have"),

  /**
   * New peers a second of one source to one node, in the long run; two seconds' worth may come at once. Each costs the
   * node a connection and a handshake, also if the peer is gone by then. 100 is more than browsers and tools open, and a
   * fraction of what a node answers.
   */
  peerRatePerIp: knob(100, "new peers a second of one source to one node"),

  /**
   * The part of all sockets that one source may have while less than a quarter of them is free, and never less than one
   * node's full use, 2 * maxRelaysPerControl + 8. A peer also counts to the source that registered its node. A half, so
   * that one host that registers, splices and leaves again and again cannot take all of them; 1 turns it off.
   */
  maxShareOfRelay: share(0.5, "the part of all sockets that one source may have when few are free"),

  /**
   * TLS handshakes in progress. Twice the nodes that may register: after a restart all of them come back at once, and
   * each may have left a stalled attempt behind. A stalled handshake holds about 50 KB, so all of them some 32 MB.
   */
  maxHandshakes: knob(640, "TLS handshakes in progress in all"),

  /** TLS handshakes in progress of one source: twice maxControlStreamsPerIp, for the same reason. */
  // A source also begins only so many a second, by maxControlStreamsPerIp: see Connection.
  maxHandshakesPerIp: knob(8, "TLS handshakes in progress of one source"),

  /**
   * Milliseconds in which a node must take a token it is sent. Two seconds are several round trips to anywhere; a node
   * that takes longer does not read, and its peers are waiting.
   */
  controlWriteTimeoutMs: knob(2_000, "milliseconds a node has to take a token"),

  /**
   * Milliseconds without a byte after which a half-closed splice ends. A minute is long for a reply to a request that is
   * complete, and short enough that sides which never close do not pile up.
   */
  lingerTimeoutMs: knob(60_000, "milliseconds a half-closed splice may be silent"),

  /** Milliseconds without a byte after which any splice ends. None by default: an idle session is still in use. */
  idleTimeoutMs: optionalKnob("milliseconds any splice may be silent; without it, for ever"),

  /** Milliseconds that running splices get at shutdown: longer than most requests, shorter than a supervisor's patience. */
  drainTimeoutMs: knob(10_000, "milliseconds running splices get at shutdown"),

  /** The addresses to print and publish, where they are not those that are bound: behind a NAT, in a container. */
  advertise: Schema.optional(
    Schema.NonEmptyArray(BindAddress).annotations({
      description: "addresses to publish in place of those bound, tx3-rst://HOST:PORT",
      message: (issue) => issue._tag === "Composite" ? "" : listMustBe
    })
  ),

  /**
   * Balancers and other proxies, as addresses and CIDR ranges. Their connections must begin with a PROXY header, version 1
   * or 2, within 5 s, and count to the source that it names. Connections from other addresses must have none. Default: no
   * proxies, since the sender of the header chooses its source.
   */
  proxyProtocolFrom: Schema.optional(
    Schema.NonEmptyArray(AddressRange).annotations({
      description: "addresses and CIDR ranges of proxies that send the PROXY protocol",
      message: (issue) => issue._tag === "Composite" ? "" : rangesMustBe
    })
  ),

  /**
   * The transport that carries bytes: `kernel` uses splice(2), on Linux with the optional package koffi; `portable` is this
   * process, on any system; `auto` is the kernel where possible. bench/ measures their costs.
   */
  transport: Schema.optionalWith(
    Schema.Literal("auto", "kernel", "portable").annotations({
      description: "who carries bytes: auto, kernel or portable",
      message: () => ({ message: "must be auto, kernel or portable", override: true })
    }),
    { default: () => "auto" as const }
  ),

  /**
   * Threads of the kernel transport. One carries more than most networks bring and leaves a second processor to
   * decisions; each beyond it is for a processor and a network that one does not fill.
   */
  transportThreads: Schema.optionalWith(
    Schema.Int.pipe(Schema.between(1, 64)).annotations({
      description: "threads of the kernel transport",
      message: () => ({ message: "must be a whole number from 1 to 64", override: true })
    }),
    { default: () => 1 }
  ),

  /**
   * How sources stand in the log: in full, or `short`, as the network around them, which is many people. Nodes are
   * never named by more than the first 8 characters of their digests.
   */
  logSources: Schema.optionalWith(
    Schema.Literal("full", "short").annotations({
      description: "how sources stand in the log: full or short",
      message: () => ({ message: "must be full or short", override: true })
    }),
    { default: () => "full" as const }
  )
})

/**
 * The settings of a relay as it uses them: checked, with the defaults in place, times in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type Settings = typeof Settings.Type

/**
 * The configuration a relay runs with.
 *
 * @since 0.1.0
 * @category services
 */
export class RelayConfig extends Context.Tag("@tx3/relay/RelayConfig")<
  RelayConfig,
  Settings & {
    /** The certificate and key that the relay presents to nodes. Its digest is in the relay's address. */
    readonly identity: Identity.Identity
  }
>() {}

/**
 * A setting that cannot be used, with the place it came from and what it must be.
 *
 * @since 0.1.0
 * @category errors
 */
export class RelayConfigError extends Schema.TaggedError<RelayConfigError>("@tx3/relay/RelayConfigError")(
  "RelayConfigError",
  { place: Schema.String, problem: Schema.String }
) {
  override get message(): string {
    return `${this.place}: ${this.problem}`
  }
}

/**
 * Settings from one place.
 *
 * @since 0.1.0
 * @category models
 */
export interface SettingsSource {
  /** Names a key of this source, or a path in it, for people: `tx3-relay.yml: bind`, `TX3_RELAY_BIND`. */
  readonly place: (key: string) => string
  readonly values: Readonly<Record<string, unknown>>
}

/**
 * The settings that some sources give together; of two that give the same key the later wins.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (sources: ReadonlyArray<SettingsSource>): Either.Either<Settings, RelayConfigError> =>
  decodeSettings(sources)

/**
 * The same for settings that other layers add to the relay's.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decodeWith = <Fields extends Schema.Struct.Fields>(
  settings: Schema.Struct<Fields> & Schema.Schema<Schema.Struct.Type<Fields>, Schema.Struct.Encoded<Fields>>
) => {
  const decode = Schema.decodeUnknownEither(settings, { onExcessProperty: "error" })
  const unknownKey = `there is no such setting; there are ${Object.keys(settings.fields).join(", ")}`
  return (sources: ReadonlyArray<SettingsSource>): Either.Either<Schema.Struct.Type<Fields>, RelayConfigError> => {
    for (const { place, values } of sources) {
      // A schema takes keys that every object inherits for expected ones.
      const unknown = Object.keys(values).find((key) => !Object.hasOwn(settings.fields, key))
      if (unknown !== undefined) {
        return Either.left(new RelayConfigError({ place: place(unknown), problem: unknownKey }))
      }
    }
    const merged = Object.assign({}, ...sources.map((source) => source.values))
    return Either.mapLeft(decode(merged), (error) => {
      const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error)
      const [key, ...inside] = issue!.path.filter((step) => typeof step !== "number").map(String)
      const source = sources.findLast((source) => key! in source.values) ?? sources[0]!
      return new RelayConfigError({
        place: source.place([key, ...inside].join(".")),
        problem: issue!._tag === "Unexpected"
          ? "there is no such setting here"
          : issue!._tag === "Missing"
          ? inside.length > 0 ? "is missing" : key === "proxyProtocolFrom" ? rangesMustBe : listMustBe
          : issue!.message
      })
    })
  }
}

const decodeSettings = decodeWith(Settings)

/**
 * The settings of the environment, `TX3_RELAY_` and the key in capitals: `TX3_RELAY_MAX_CONTROL_STREAMS=100`. Several
 * addresses in `TX3_RELAY_BIND`, `TX3_RELAY_ADVERTISE` and `TX3_RELAY_PROXY_PROTOCOL_FROM` are separated by commas.
 *
 * @since 0.1.0
 * @category sources
 */
export const fromEnvironment: Effect.Effect<SettingsSource> = Effect.suspend(() =>
  environmentOf(Object.keys(Settings.fields))
)

/**
 * The settings of these keys in the environment.
 *
 * @since 0.1.0
 * @category sources
 */
export const environmentOf = Effect.fnUntraced(function*(keys: ReadonlyArray<string>) {
  const values: Record<string, unknown> = {}
  for (const key of keys) {
    const text = yield* Config.option(Config.string(environmentName(key))).pipe(Effect.orDie)
    if (text._tag === "Some") {
      values[key] = lists.includes(key) ? text.value.split(",").map((address) => address.trim()) : numberIn(text.value)
    }
  }
  return { place: environmentName, values } satisfies SettingsSource
})

const lists = ["bind", "advertise", "proxyProtocolFrom"]

const environmentName = (key: string) =>
  `TX3_RELAY_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).replaceAll(".", "_").toUpperCase()}`

/** A text that is no number, or not written as one, stays a text, for the schema to refuse or to take. */
const numberIn = (text: string) => /^\d+(\.\d+)?$/.test(text) && String(Number(text)) === text ? Number(text) : text

/**
 * A configuration given in code. Without an identity a new one is made, and the relay's address ends with the layer.
 *
 * @example
 * ```ts
 * import { Identity } from "@tx3/protocol"
 * import { RelayConfig } from "@tx3/relay"
 * import { Effect, Layer } from "effect"
 *
 * // In place of Identity.generate read an identity, so that the relay keeps its address.
 * export const config = Layer.unwrapEffect(Effect.map(Identity.generate, (identity) =>
 *   RelayConfig.layer({
 *     bind: ["tx3-rst://0.0.0.0:38141"],
 *     advertise: ["tx3-rst://relay.example.org:38141"],
 *     identity,
 *     maxControlStreamsPerIp: 16
 *   })
 * ))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: typeof Settings.Encoded & { readonly identity?: Identity.Identity | undefined }
): Layer.Layer<RelayConfig, RelayConfigError> =>
  Layer.effect(
    RelayConfig,
    Effect.gen(function*() {
      const { identity, ...values } = options
      const settings = yield* decode([{ place: (key) => `RelayConfig.layer: ${key}`, values }])
      return { ...settings, identity: identity ?? (yield* Identity.generate) }
    })
  )

/**
 * A configuration from the environment alone, with a new identity.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFromEnvironment: Layer.Layer<RelayConfig, RelayConfigError> = Layer.effect(
  RelayConfig,
  Effect.gen(function*() {
    const settings = yield* decode([yield* fromEnvironment])
    return { ...settings, identity: yield* Identity.generate }
  })
)
