/**
 * All settings of an operator: the relay's, and those of the layers around it. They are in the same file and come from the same
 * places as `RelayConfig`'s.
 *
 * @since 0.1.0
 */
import * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as PublishedHosts from "@tx3/protocol/PublishedHosts"
import * as RelayConfig from "@tx3/relay/RelayConfig"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

const mustBe = (message: string) => () => ({ message, override: true })

const wholeNumber = (least: number, description: string) =>
  Schema.Int.pipe(Schema.between(least, Number.MAX_SAFE_INTEGER)).annotations({
    description,
    message: mustBe(`must be a whole number of at least ${least}`)
  })

const isWebUrl = (text: string) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)

const WebUrl = Schema.String.pipe(
  Schema.filter(isWebUrl, { message: mustBe("must be an http:// or https:// URL") })
)

const optionalNumber = (description: string) => Schema.optional(wholeNumber(1, description))

/**
 * Where the admin server is sought when there is no relay's file that says it.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultAdmin = "http://127.0.0.1:38142"

const addressMustBe = "must be http://HOST:PORT or unix:/PATH"

/**
 * Where the admin server listens: `http://HOST:PORT` or `unix:PATH`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AdminAddress = Schema.String.pipe(
  Schema.filter((text) => {
    if (text.startsWith("unix:/")) {
      return true
    }
    return isWebUrl(text) && new URL(text).href === `${new URL(text).origin}/` && text.startsWith("http:")
  }, { message: mustBe(addressMustBe) })
)

/**
 * Where the admin server listens, as it can be written: a list, or a text of several addresses with commas or spaces between
 * them, or `off`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AdminAddresses = Schema.transform(
  Schema.Union(Schema.String, Schema.Array(Schema.String)),
  Schema.Array(AdminAddress),
  {
    strict: true,
    decode: (text) => typeof text !== "string" ? text : text === "off" ? [] : text.split(/[\s,]+(?=unix:|http:)/),
    encode: (addresses) => addresses
  }
).annotations({ message: mustBe(`${addressMustBe}, or a list of these, or off`) })

/**
 * Whether an address is a unix socket's.
 *
 * @since 0.1.0
 * @category getters
 */
export const isUnix = (address: string): boolean => address.startsWith("unix:")

/**
 * The digest of a node.
 *
 * @since 0.1.0
 * @category schemas
 */
export const NodeDigest = CertDigest.CertDigest.annotations({
  message: (issue) => ({
    message: `${String(issue.actual)} is not a node's digest, the 43 characters at the end of its address`,
    override: true
  })
})

const list = <Entry extends Schema.Schema.Any>(entry: Entry) =>
  Schema.optionalWith(Schema.Array(entry), { default: () => [] })

/**
 * Which entries are admitted: none of `deny`, and only those of `allow` or `allowFile` if either is set. A file has one entry
 * per line; a comment begins with `#`.
 */
const lists = <Entry extends Schema.Schema.Any>(entry: Entry) =>
  Schema.Struct({
    allow: Schema.optional(Schema.Array(entry)),
    deny: list(entry),
    allowFile: Schema.optional(Schema.String),
    denyFile: Schema.optional(Schema.String)
  })

/**
 * The nodes, peers and sources that may use the relay. Without these settings all may.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Access = Schema.Struct({
  /** Which nodes may register. */
  nodes: Schema.optional(lists(NodeDigest)),
  /** From where nodes may register. */
  controlStreams: Schema.optional(lists(RelayConfig.AddressRange)),
  /** From where peers may come. */
  peers: Schema.optional(lists(RelayConfig.AddressRange)),
  /** From where the peers of one node may come, beside `peers`. */
  peersOf: Schema.optional(Schema.Record({ key: NodeDigest, value: lists(RelayConfig.AddressRange) })),
  /** Asked for each registration that the lists allow. */
  callout: Schema.optional(
    Schema.Struct({
      url: WebUrl,
      /** Without an answer within this time the node is not let in. */
      timeoutMs: Schema.optionalWith(wholeNumber(1, "milliseconds the callout has"), { default: () => 2_000 }),
      /** How long an answer holds for the same node and address. */
      cacheMs: Schema.optionalWith(wholeNumber(0, "milliseconds an answer holds"), { default: () => 60_000 })
    })
  )
})

/**
 * `access` as it is used: every digest and range in it is valid. Files of lists are named here, and read by
 * `AccessFiles.resolve`.
 *
 * @since 0.1.0
 * @category models
 */
export type Access = typeof Access.Type

const isNatsUrl = (text: string) =>
  URL.canParse(text) && /^(nats|tls):\/\/[^/?#]+\/?$/.test(text) && new URL(text).hostname !== ""

// The text itself may hold a password.
const NatsUrl = Schema.String.pipe(
  Schema.filter(isNatsUrl, { message: mustBe("must be nats://HOST:PORT or tls://HOST:PORT") })
)

const linkMustBe = "must be tx3-link://HOST:PORT"

const parseLink = (text: string) =>
  text.startsWith("tx3-link:") ? Address.parse(text.replace("tx3-link:", "tx3-rst:")) : Either.left(undefined)

const LinkAddress = Schema.String.pipe(
  Schema.filter((text) => Either.isRight(parseLink(text)), { message: mustBe(linkMustBe) })
)

/**
 * The host and port of a valid `tx3-link://HOST:PORT`.
 *
 * @since 0.1.0
 * @category getters
 */
export const placeOfLink = (link: string): { readonly host: string; readonly port: number } => {
  const { host, port } = Either.getOrThrow(parseLink(link))
  return { host, port }
}

const file = Schema.optional(Schema.String)

/**
 * The cluster that the relay is a member of.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Cluster = Schema.Struct({
  /** The servers of one NATS cluster. A user and password, or a token, may stand before the host. */
  nats: Schema.NonEmptyArray(NatsUrl).annotations({
    message: (issue) => issue._tag === "Composite" ? "" : "must be a list of at least one nats://HOST:PORT"
  }),
  /** Where other members connect to: a private address. */
  listen: LinkAddress,
  /** The same as the others dial it, where that is not what is bound. */
  advertise: Schema.optional(LinkAddress),
  /** The cluster's name. Default: the digest of the relay's certificate. */
  name: Schema.optional(
    Schema.String.pipe(
      Schema.filter((name) => /^[\w-]{1,64}$/.test(name), {
        message: mustBe("must be 1 to 64 letters, digits, - and _")
      })
    )
  ),
  /** A file with NATS credentials, or with the seed of an nkey. */
  credentials: file,
  /** PEM files: the authority that signed the certificates of the NATS servers, and a certificate with its key for them. */
  tls: Schema.optional(Schema.Struct({ ca: file, cert: file, key: file }))
}).pipe(
  Schema.filter(({ advertise, listen, tls }) => {
    if (advertise === undefined && PublishedHosts.isUnspecified(placeOfLink(listen).host)) {
      return {
        path: ["advertise"],
        message: `${linkMustBe} that other members can dial, since listen is on all addresses`
      }
    }
    return (tls?.cert === undefined) === (tls?.key === undefined)
      ? undefined
      : { path: ["tls"], message: "cert and key go together" }
  })
)

/**
 * `cluster` as it is used. Its files are read by `ClusterFiles.read`.
 *
 * @since 0.1.0
 * @category models
 */
export type Cluster = typeof Cluster.Type

/**
 * Everything that can stand in a relay's file but the identity: the relay's own settings, and those of the layers
 * around it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Settings = Schema.Struct({
  ...RelayConfig.Settings.fields,

  /**
   * Where the admin server listens. Off by default; a file made by `--init` has a unix socket beside the file, for the
   * commands, and a loopback address, for the page.
   */
  admin: Schema.optionalWith(AdminAddresses, { default: () => [] }),

  /**
   * The token that requests to the admin server must carry (`Authorization: Bearer TOKEN`), except over a unix socket. Required
   * if the server listens beyond loopback.
   */
  adminToken: Schema.optional(
    Schema.Redacted(Schema.String.pipe(
      Schema.minLength(16),
      Schema.annotations({ message: mustBe("must be a text of at least 16 characters") })
    ))
  ),

  /** Where `/metrics`, `/healthz` and `/readyz` are served alone, without a token: `http://HOST:PORT` or `unix:PATH`. */
  metrics: Schema.optional(AdminAddress),

  /** Where metrics, logs and traces are sent to, as OTLP over HTTP: `http://collector:4318`. */
  otlp: Schema.optional(WebUrl),

  /** Which nodes may register, and which peers may reach which nodes. Default: all, as with the original. */
  access: Schema.optionalWith(Access, { default: () => ({}) }),

  /** Several relays as one. Off by default. */
  cluster: Schema.optional(Cluster),

  /** Bytes a second of each splice, both directions together. */
  bandwidthPerSplice: optionalNumber("bytes a second of one splice"),

  /** Bytes a second of all splices of each node. */
  bandwidthPerNode: optionalNumber("bytes a second of one node"),

  /** Bytes a second of all splices with peers of each source. */
  bandwidthPerIp: optionalNumber("bytes a second of one source"),

  /** Bytes a second of all splices. */
  bandwidthTotal: optionalNumber("bytes a second in all"),

  /** Bytes a calendar month (UTC) after which the relay warns. */
  monthlyBytesSoft: optionalNumber("bytes a month after which the relay warns"),

  /** Bytes a calendar month (UTC) after which no new splices begin; those that run may end. */
  monthlyBytesHard: optionalNumber("bytes a month after which no splices begin"),

  /** Where the month's count is kept across restarts. */
  monthlyBytesFile: Schema.optionalWith(Schema.String, { default: () => "./tx3-relay.month.json" })
})

/**
 * The settings of a relay and of all that stands around it, as they are used: checked, with the defaults in place.
 *
 * @since 0.1.0
 * @category models
 */
export type Settings = typeof Settings.Type

/**
 * A setting's text as it may be shown: URLs in it without what they may have of passwords and keys.
 *
 * @since 0.1.0
 * @category getters
 */
export const withoutSecrets = (text: string): string =>
  text.replace(/((?:https?|nats|tls):\/\/)[^\s"/?@]*@/g, "$1…@").replace(/(https?:\/\/[^\s"?]*)\?[^\s"]*/g, "$1?…")

/** Whether only programs of this machine can connect to an address. */
const isLocal = (admin: string) =>
  isUnix(admin) || ["127.0.0.1", "[::1]", "localhost"].includes(new URL(admin).hostname)

/**
 * The addresses at which every user of this machine may do everything: those over TCP, where there is neither a token nor a
 * unix socket by which browsers are signed in.
 *
 * @since 0.1.0
 * @category getters
 */
export const openAddresses = (
  { admin, adminToken }: Pick<Settings, "admin" | "adminToken">
): ReadonlyArray<string> => adminToken !== undefined || admin.some(isUnix) ? [] : admin

/**
 * Returns the warnings about settings that are used nevertheless, each with its remedy.
 *
 * @since 0.1.0
 * @category getters
 */
export const warningsOf = (settings: Pick<Settings, "admin" | "adminToken">): ReadonlyArray<string> =>
  openAddresses(settings).map((address) =>
    `admin: every user of this machine can drain this relay at ${address}; add a unix socket, ` +
    `admin: [unix:/PATH/relay.sock, ${address}], or set adminToken`
  )

const decodeSettings = RelayConfig.decodeWith(Settings)

/** Sources may each have a part of `cluster`: the environment has the address of this member, the file the rest. */
const withWholeCluster = (
  sources: ReadonlyArray<RelayConfig.SettingsSource>
): ReadonlyArray<RelayConfig.SettingsSource> => {
  const parts = sources.filter(({ values }) => Predicate.isRecord(values["cluster"]))
  const has = (value: unknown, [key, ...path]: ReadonlyArray<string>): boolean =>
    key === undefined || Predicate.isRecord(value) && key in value && has(value[key], path)
  return parts.length < 2 ? sources : [...sources, {
    place: (path) => (parts.findLast(({ values }) => has(values, path.split("."))) ?? parts.at(-1)!).place(path),
    values: { cluster: Object.assign({}, ...parts.map(({ values }) => values["cluster"])) }
  }]
}

/**
 * The settings that some sources give together, as `RelayConfig.decode` takes them.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (
  sources: ReadonlyArray<RelayConfig.SettingsSource>
): Either.Either<Settings, RelayConfig.RelayConfigError> =>
  Either.filterOrLeft(
    decodeSettings(withWholeCluster(sources)),
    ({ admin, adminToken }) => adminToken !== undefined || admin.every(isLocal),
    ({ admin }) =>
      new RelayConfig.RelayConfigError({
        place: sources.findLast(({ values }) => "admin" in values)!.place("admin"),
        problem: `others than this machine could come to ${
          admin.find((address) => !isLocal(address))
        }; set adminToken, ` +
          "or use http://127.0.0.1:PORT"
      })
  )

const clusterFiles = ["clusterTlsCa", "clusterTlsCert", "clusterTlsKey"] as const

/** `cluster` in the environment, each of its keys a variable: `TX3_RELAY_CLUSTER_LISTEN`, `TX3_RELAY_CLUSTER_TLS_CA`. */
const clusterOfEnvironment = Effect.gen(function*() {
  const keys = ["clusterNats", "clusterListen", "clusterAdvertise", "clusterName", "clusterCredentials"] as const
  const { values } = yield* RelayConfig.environmentOf([...keys, ...clusterFiles])
  const texts = (names: ReadonlyArray<string>, prefix: string) =>
    Object.fromEntries(
      names.flatMap((name) => {
        const text = values[name]
        const key = name.slice(prefix.length)
        return text === undefined ? [] : [[key[0]!.toLowerCase() + key.slice(1), String(text)]]
      })
    )
  const { nats, ...cluster } = texts(keys, "cluster")
  const tls = texts(clusterFiles, "clusterTls")
  const whole = {
    ...nats === undefined ? {} : { nats: nats.split(",").map((server) => server.trim()) },
    ...cluster,
    ...Object.keys(tls).length === 0 ? {} : { tls }
  }
  return Object.keys(whole).length === 0 ? {} : { cluster: whole }
})

/**
 * The settings of the environment: all but `access`, which is no single text.
 *
 * @since 0.1.0
 * @category sources
 */
export const fromEnvironment: Effect.Effect<RelayConfig.SettingsSource> = Effect.zipWith(
  RelayConfig.environmentOf(Object.keys(Settings.fields).filter((key) => key !== "access" && key !== "cluster")),
  clusterOfEnvironment,
  ({ place, values }, cluster) => ({
    place,
    // A token may be all digits.
    values: {
      ...values,
      ..."adminToken" in values ? { adminToken: String(values["adminToken"]) } : {},
      ...cluster
    }
  })
)
