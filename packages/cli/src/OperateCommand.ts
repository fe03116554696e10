/**
 * The commands of `tx3-relay` that talk to a running relay's admin server: what it is doing, for people as tables and
 * for programs as JSON, and what an operator does to it.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as FileSystem from "@effect/platform/FileSystem"
import * as AdminApi from "@tx3/operate/AdminApi"
import * as AdminClient from "@tx3/operate/AdminClient"
import * as OperatorConfig from "@tx3/operate/OperatorConfig"
import type * as RelayStatus from "@tx3/operate/RelayStatus"
import * as Address from "@tx3/protocol/Address"
import * as Identity from "@tx3/protocol/Identity"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as IdentityFile from "./IdentityFile.js"
import { problemOf } from "./internal/problemOf.js"
import { relayFile } from "./internal/relayFile.js"
import { bytes, duration, table } from "./internal/table.js"
import * as Probe from "./Probe.js"
import { UsageError } from "./UsageError.js"

const admin = Options.text("admin").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription(
    "The relay's admin server, http://HOST:PORT or unix:/PATH; without it that of the relay's file, or " +
      OperatorConfig.defaultAdmin
  ),
  Options.withFallbackConfig(Config.string("TX3_RELAY_ADMIN")),
  Options.optional
)

const json = Options.boolean("json").pipe(Options.withDescription("Print JSON"))

const target = { admin, file: relayFile }

interface Target {
  readonly admin: Option.Option<string>
  readonly file: string
}

const adminToken = Config.option(Config.redacted("TX3_RELAY_ADMIN_TOKEN")).pipe(Effect.orDie)

/** What a relay's file says of its admin server, if there is such a file. */
const settingsOf = (file: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const exists = yield* Effect.orElseSucceed(fs.exists(file), () => false)
    return exists ? (yield* RelayFile.read(file)).settings.values : {}
  })

const decodeAddress = Schema.decodeUnknownEither(OperatorConfig.AdminAddress)

const optionsOf = (target: Target) =>
  Effect.gen(function*() {
    const ofFile = Option.isSome(target.admin) ? {} : yield* settingsOf(target.file)
    const address = Option.getOrElse(target.admin, () => String(ofFile["admin"] ?? OperatorConfig.defaultAdmin))
    if (decodeAddress(address)._tag === "Left" || address === "off") {
      return yield* new UsageError({
        message: `${address} is no admin server's address; name one with --admin http://HOST:PORT or unix:/PATH`
      })
    }
    const given = yield* adminToken
    const token = Option.getOrElse(
      given,
      () => typeof ofFile["adminToken"] === "string" ? Redacted.make(ofFile["adminToken"]) : undefined
    )
    return { address, token }
  })

type Answer = AdminApi.NotFound | AdminApi.NotReady | AdminApi.Refused

const ask = <A, E>(target: Target, question: (client: AdminClient.AdminClient) => Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const options = yield* optionsOf(target)
    return yield* Effect.mapError(
      Effect.flatMap(AdminClient.make(options), question),
      (error): Answer | AdminClient.AdminUnreachable =>
        isAnswer(error)
          ? error
          : new AdminClient.AdminUnreachable({ address: options.address, problem: problemIn(error) })
    )
  }).pipe(Effect.scoped)

const proxyWarning = ({ suspectedProxy }: RelayStatus.Status) =>
  suspectedProxy === null
    ? []
    : [
      `${suspectedProxy.connections} connections come from ${suspectedProxy.source}, and few are left for others: if that ` +
      "is a proxy, let it send the PROXY protocol and list it in proxyProtocolFrom; if many people share it, raise " +
      "maxShareOfRelay"
    ]

/**
 * What the relay that runs with this file has to say against its settings: nothing if none runs, or its file has no
 * `admin`.
 *
 * @since 0.1.0
 * @category commands
 */
export const warningsOf = (file: string) =>
  Effect.flatMap(settingsOf(file), (values) =>
    "admin" in values && values["admin"] !== "off"
      ? Effect.map(ask({ admin: Option.none(), file }, (client) => client.status()), proxyWarning)
      : Effect.succeed([])).pipe(
      Effect.timeout("2 seconds"),
      Effect.orElseSucceed((): ReadonlyArray<string> => [])
    )

const isAnswer = (error: unknown): error is Answer =>
  error instanceof AdminApi.NotFound || error instanceof AdminApi.NotReady || error instanceof AdminApi.Refused

const problemIn = (error: unknown): string => {
  const { _tag, cause, message, response } = error as {
    readonly _tag?: string
    readonly cause?: unknown
    readonly message: string
    readonly response?: { readonly status: number }
  }
  switch (response?.status) {
    case 401:
      return "it needs the relay's adminToken; set TX3_RELAY_ADMIN_TOKEN"
    case 403:
      return "it refuses to be called by this name; use its IP address"
  }
  return _tag === "RequestError" && cause !== undefined ? `${problemOf(cause)}; is the relay running?` : message
}

const print = (asJson: boolean, value: unknown, forPeople: () => string) =>
  Console.log(asJson ? JSON.stringify(value, undefined, 2) : forPeople())

const amount = ({ unit }: RelayStatus.LimitUse, value: number) =>
  unit === "count" ? `${value}` : unit === "bytes" ? bytes(value) : `${bytes(value)}/s`

const rates = (name: string, rate: RelayStatus.Rates) => [
  name,
  rate.accepted.toFixed(1),
  rate.rejected.toFixed(1),
  rate.splices.toFixed(1),
  `${bytes(rate.bytesFromPeers)}/s`,
  `${bytes(rate.bytesFromNodes)}/s`
]

const talkers = (name: string, talkers: ReadonlyArray<RelayStatus.Talker>) =>
  table([name, "splices", "bytes"], talkers.map(({ bytes: count, name, splices }) => [name, splices, bytes(count)]))

const statusForPeople = (status: RelayStatus.Status) =>
  [
    `tx3-relay ${status.version}, ${status.state} for ${duration(status.uptimeSeconds)}, ${status.transport} transport`,
    ...status.addresses,
    ...proxyWarning(status),
    "",
    `${status.connections.control} nodes, ${status.splices} splices, ${status.connections.pending} peers waiting`,
    "",
    table(
      ["limit", "used", "of"],
      status.limits.map((use) => [use.name, amount(use, use.used), amount(use, use.limit)])
    ),
    "",
    table(["each second", "accepted", "rejected", "splices", "from peers", "from nodes"], [
      rates("last 10 s", status.rates.last10s),
      rates("last minute", status.rates.last1m),
      rates("last 15 min", status.rates.last15m)
    ]),
    ...status.top.nodes.byBytes.length === 0 ? [] : [
      "",
      talkers("node", status.top.nodes.byBytes),
      "",
      talkers("source", status.top.sources.byBytes)
    ]
  ].join("\n")

const status = Command.make(
  "status",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.flatMap(
      ask(target, (client) => client.status()),
      (status) => print(json, status, () => statusForPeople(status))
    )
).pipe(
  Command.withDescription("Says what a running relay is doing")
)

const since = (milliseconds: number) => new Date(milliseconds).toISOString()

const nodes = Command.make(
  "nodes",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.flatMap(ask(target, (client) => client.controlStreams()), (streams) =>
      print(json, streams, () =>
        table(
          ["node", "from", "since", "peers"],
          streams.map(({ node, peers, since: at, source }) => [node, source, since(at), peers])
        )))
).pipe(Command.withDescription("Lists the registered nodes"))

const splices = Command.make(
  "splices",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.flatMap(ask(target, (client) => client.splices()), (splices) =>
      print(json, splices, () =>
        table(
          ["splice", "peer", "node", "since", "from peer", "from node"],
          splices.map((splice) => [
            `${splice.connection}`,
            splice.source,
            splice.node.slice(0, 8),
            since(splice.since),
            bytes(splice.bytesFromPeer),
            bytes(splice.bytesFromNode)
          ])
        )))
).pipe(Command.withDescription("Lists the running splices"))

const kicked = (count: number) => `${count} ${count === 1 ? "connection" : "connections"} ended`

const kick = Command.make(
  "kick",
  {
    ...target,
    json,
    who: Args.text({ name: "WHO" }).pipe(
      Args.withDescription(
        "A node's digest or the first characters of it, behind -- if it begins with -, or the number of a splice"
      )
    )
  },
  ({ json, who, ...target }) =>
    Effect.flatMap(
      ask(target, (client) =>
        /^\d{1,15}$/.test(who)
          ? client.kickSplice({ payload: { connection: Number(who) } })
          : client.kickNode({ payload: { node: who } })),
      (answer) => print(json, answer, () => kicked(answer.kicked))
    )
).pipe(Command.withDescription("Ends a node's connections, or a splice; they may come back"))

const who = Args.text({ name: "WHO" }).pipe(
  Args.withDescription("A node's digest, behind -- if it begins with -, an IP address, or a CIDR range")
)

const ban = Command.make("ban", { ...target, json, who }, ({ json, who, ...target }) =>
  Effect.flatMap(
    ask(target, (client) => client.ban({ payload: { who } })),
    (answer) => print(json, answer, () => `${who} is banned until the relay restarts; ${kicked(answer.kicked)}`)
  )).pipe(Command.withDescription("Keeps a node or an address out, and ends what it has"))

const unban = Command.make("unban", { ...target, json, who }, ({ json, who, ...target }) =>
  Effect.flatMap(
    ask(target, (client) => client.unban({ payload: { who } })),
    (answer) => print(json, answer, () => `${who} is not banned any more`)
  )).pipe(Command.withDescription("Lets a banned node or address in again"))

const bans = Command.make(
  "bans",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.flatMap(
      ask(target, (client) => client.bans()),
      (bans) => print(json, bans, () => table(["banned", "since"], bans.map(({ since: at, who }) => [who, since(at)])))
    )
).pipe(
  Command.withDescription("Lists who is banned")
)

const drain = Command.make(
  "drain",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.flatMap(ask(target, (client) => client.drain()), (answer) =>
      print(
        json,
        answer,
        () => `draining: the relay takes no new connections, and stops when its ${answer.splices} splices have ended`
      ))
).pipe(Command.withDescription("Takes no new connections, lets the splices end, and stops the relay"))

const changes = (changes: ReadonlyArray<RelayStatus.Change>) =>
  table(["setting", "was", "is"], changes.map(({ from, setting, to }) => [setting, from, to]))

const reload = Command.make(
  "reload",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.flatMap(ask(target, (client) => client.reload()), (report) =>
      print(json, report, () =>
        [
          report.changed.length === 0 ? "nothing has changed" : changes(report.changed),
          ...report.needsRestart.length === 0
            ? []
            : ["", "only after a restart:", changes(report.needsRestart)]
        ].join("\n")))
).pipe(Command.withDescription("Loads the relay's file again; no connection is dropped"))

const logLevel = Command.make(
  "log-level",
  { ...target, json, level: Args.choice(AdminApi.LogLevel.literals.map((level) => [level, level]), { name: "LEVEL" }) },
  ({ json, level, ...target }) =>
    Effect.flatMap(
      ask(target, (client) => client.logLevel({ payload: { level } })),
      (answer) => print(json, answer, () => `the log level is ${answer.level}`)
    )
).pipe(Command.withDescription("Changes what the relay logs, until it restarts"))

const timeoutMs = Options.integer("timeout-ms").pipe(
  Options.withPseudoName("N"),
  Options.withDescription("Milliseconds that each step may take"),
  Options.withDefault(5_000)
)

const address = Args.text({ name: "ADDRESS" }).pipe(
  Args.withDescription("The relay's address with its digest; without it, the admin server says"),
  Args.optional
)

const addressOf = (given: Option.Option<string>, target: Target) =>
  Effect.gen(function*() {
    const address = Option.isSome(given)
      ? given.value
      : (yield* ask(target, (client) => client.status())).bound[0]!
    return yield* Either.mapLeft(Address.parseWithDigest(address), ({ message }) => new UsageError({ message }))
  })

const milliseconds = (number: number) => number.toFixed(1)

const identity = Options.text("identity").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription("Who to register as, where not everybody may; a PEM file as tx3 keygen makes it"),
  Options.optional
)

const probe = Command.make(
  "probe",
  { ...target, identity, json, timeoutMs, address },
  ({ address, identity, json, timeoutMs, ...target }) =>
    Effect.gen(function*() {
      const node = yield* Option.match(identity, { onNone: () => Identity.generate, onSome: IdentityFile.read })
      const times = yield* Probe.run(yield* addressOf(address, target), node, timeoutMs)
      yield* print(
        json,
        times,
        () => table(["step", "ms"], Probe.steps.map((step) => [step, milliseconds(times[step])]))
      )
    })
).pipe(
  Command.withDescription("Tries a relay end to end: a node, a peer, a splice, an echo; for health checks")
)

/**
 * `status`, `nodes`, `splices` and the others that talk to a relay that runs, as subcommands of `tx3-relay`.
 *
 * @since 0.1.0
 * @category commands
 */
export const commands = [status, nodes, splices, kick, ban, unban, bans, drain, reload, logLevel, probe] as const
