/**
 * The commands of `tx3-relay` that talk to a running relay's admin server: what it is doing, for people as tables and
 * for programs as JSON, and what an operator does to it.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { bytes, duration, table } from "@tx3/command/Table"
import { UsageError } from "@tx3/command/UsageError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import type * as AdminClient from "@tx3/operate/AdminClient"
import type * as ClusterOrder from "@tx3/operate/ClusterOrder"
import * as LogLevelSwitch from "@tx3/operate/LogLevelSwitch"
import type * as RelayStatus from "@tx3/operate/RelayStatus"
import * as OperatorConfig from "@tx3/policy/OperatorConfig"
import * as Address from "@tx3/protocol/Address"
import * as Identity from "@tx3/protocol/Identity"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { Target } from "./internal/asking.js"
import { NotEverywhere } from "./internal/notEverywhere.js"
import { relayFile } from "./internal/relayCommand.js"

const admin = Options.text("admin").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription(
    "The relay's admin server, http://HOST:PORT or unix:/PATH; without it that of TX3_RELAY_ADMIN, of the relay's file, or of " +
      "the service"
  ),
  Options.withFallbackConfig(Config.string("TX3_RELAY_ADMIN")),
  Options.optional
)

const json = Options.boolean("json").pipe(Options.withDescription("Print JSON"))

const target = { admin, file: relayFile }

/**
 * Asks at the first of the addresses where a server listens. What it takes to ask is loaded here: a relay that runs, and every
 * other command, do not need it.
 */
const ask = <A, E>(
  target: Target,
  question: (client: AdminClient.AdminClient, address: string) => Effect.Effect<A, E>
) => Effect.flatMap(Effect.promise(() => import("./internal/asking.js")), ({ ask }) => ask(target, question))

const proxyWarning = ({ suspectedProxy }: RelayStatus.Status) =>
  suspectedProxy === null
    ? []
    : [
      `${suspectedProxy.connections} connections come from ${suspectedProxy.source}, and few are left for others: if that ` +
      "is a proxy, let it send the PROXY protocol and list it in proxyProtocolFrom; if many people share it, raise " +
      "maxShareOfRelay"
    ]

/**
 * Returns the objections of the relay that runs with this file to its settings: none if no relay runs, or if its file has no
 * `admin`.
 *
 * @since 0.1.0
 * @category commands
 */
export const warningsOf = (file: string) =>
  ask({ admin: Option.none(), file: Option.some(file) }, (client) => client.status()).pipe(
    Effect.map(proxyWarning),
    Effect.timeout("2 seconds"),
    Effect.orElseSucceed((): ReadonlyArray<string> => [])
  )

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

const cluster = ({ cluster, connections }: RelayStatus.Status) => {
  if (cluster === null) {
    return []
  }
  const { isConnected, link, lookUpSeconds, lookUps, members, name, ...counts } = cluster
  const all = Object.values(lookUps).reduce((sum, count) => sum + count, 0)
  const place = ({ host, port }: typeof link) => Address.hostPort(host, port)
  return [
    `member ${name} of a cluster of ${members.length + 1}, links at ${place(link)}` +
    (isConnected ? "" : "; NATS is away: only local nodes and peers are served"),
    `${connections.forwarded} connections forwarded now, ${counts.forwarded} in all; ${counts.received} received`,
    `${all} look-ups${all === 0 ? "" : `, ${(lookUpSeconds * 1000 / all).toFixed(1)} ms on average`}: ` +
    Object.entries(lookUps).map(([outcome, count]) => `${count} ${outcome}`).join(", "),
    "",
    ...members.length === 0 ? [] : [
      table(
        ["other member", "links at", "state", "version", "round trip"],
        members.map(({ link, name, roundTripMs, state, version }) => [
          name,
          place(link),
          state,
          version,
          roundTripMs === null ? "no answer" : `${roundTripMs.toFixed(1)} ms`
        ])
      ),
      ""
    ]
  ]
}

const statusForPeople = (status: RelayStatus.Status) =>
  [
    `tx3-relay ${status.version}, ${status.state} for ${duration(status.uptimeSeconds)}, ${status.transport} transport`,
    ...status.addresses,
    ...proxyWarning(status),
    "",
    `${status.connections.control} nodes, ${status.splices} splices, ${status.connections.pending} peers waiting`,
    "",
    ...cluster(status),
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

const everywhere = Options.boolean("everywhere").pipe(
  Options.withDescription("Do it at every member of the relay's cluster, and say what came of it at each")
)

const outcomes = {
  done: "done",
  notThere: "not there",
  refused: "refused",
  noAnswer: "no answer"
} as const

/** Asks all members. Fails, after it has said what came of it, unless it is done everywhere where there was something to do. */
const askEverywhere = (target: Target, json: boolean, order: ClusterOrder.ClusterOrder) =>
  Effect.gen(function*() {
    const { members } = yield* ask(target, (client) => client.everywhere({ payload: order }))
    yield* print(json, { members }, () =>
      table(
        ["member", "links at", "outcome", "ended"],
        members.map(({ ended, link, member, outcome }) => [member, link, outcomes[outcome], ended])
      ))
    const undone = members.filter(({ outcome }) => outcome === "noAnswer" || outcome === "refused")
    if (undone.length > 0) {
      return yield* new NotEverywhere({
        message: undone.map(({ link, member, message }) => `member ${member} at ${link}: ${message}`).join("\n")
      })
    }
    if (members.every(({ outcome }) => outcome === "notThere")) {
      return yield* new NotEverywhere({ message: `no member has ${order.who}` })
    }
  })

const kicked = (count: number) => `${count} ${count === 1 ? "connection" : "connections"} ended`

const kick = Command.make(
  "kick",
  {
    ...target,
    everywhere,
    json,
    who: Args.text({ name: "WHO" }).pipe(
      Args.withDescription(
        "A node's digest or the first characters of it, behind -- if it begins with -, or the number of a splice; with --everywhere a whole digest"
      )
    )
  },
  ({ everywhere, json, who, ...target }) =>
    everywhere ? askEverywhere(target, json, { action: "kick", who }) : Effect.flatMap(
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

const ban = Command.make(
  "ban",
  { ...target, everywhere, json, who },
  ({ everywhere, json, who, ...target }) =>
    everywhere ? askEverywhere(target, json, { action: "ban", who }) : Effect.flatMap(
      ask(target, (client) => client.ban({ payload: { who } })),
      (answer) => print(json, answer, () => `${who} is banned until the relay restarts; ${kicked(answer.kicked)}`)
    )
).pipe(Command.withDescription("Keeps a node or an address out, and ends what it has"))

const unban = Command.make(
  "unban",
  { ...target, everywhere, json, who },
  ({ everywhere, json, who, ...target }) =>
    everywhere ? askEverywhere(target, json, { action: "unban", who }) : Effect.flatMap(
      ask(target, (client) => client.unban({ payload: { who } })),
      (answer) => print(json, answer, () => `${who} is not banned any more`)
    )
).pipe(Command.withDescription("Lets a banned node or address in again"))

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
  { ...target, json, level: Args.choice(LogLevelSwitch.names.map((level) => [level, level]), { name: "LEVEL" }) },
  ({ json, level, ...target }) =>
    Effect.flatMap(
      ask(target, (client) => client.logLevel({ payload: { level } })),
      (answer) => print(json, answer, () => `the log level is ${answer.level}`)
    )
).pipe(Command.withDescription("Changes what the relay logs, until it restarts"))

/** A link is of the address that was asked, where that is the page's; else of the first at which the relay serves it. */
const page = Command.make(
  "page",
  { ...target, json },
  ({ json, ...target }) =>
    Effect.gen(function*() {
      const { addresses, asked, code, expiresInSeconds } = yield* ask(target, (client, address) =>
        Effect.map(client.page(), (answer) => ({ ...answer, asked: address })))
      const at = OperatorConfig.isUnix(asked) ? addresses[0] : asked
      if (at === undefined) {
        return yield* new UsageError({
          message:
            `this relay has its page at ${asked} only; add http://127.0.0.1:PORT to its setting admin, or forward ` +
            `the socket from the machine of your browser, ssh -L 38142:${asked.slice("unix:".length)} HOST, and open ` +
            "http://127.0.0.1:38142/"
        })
      }
      const link = `${at.replace(/\/$/, "")}/#code=${code}`
      yield* print(json, { link, expiresInSeconds }, () =>
        link)
      yield* Console.error(`It signs one browser in, within ${expiresInSeconds} seconds.`)
    })
).pipe(Command.withDescription("Prints a link that signs a browser in to the relay's page, once"))

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
  Options.withDescription(
    "The identity to register with, if the relay does not admit every node; a PEM file as tx3 keygen makes it"
  ),
  Options.optional
)

const probe = Command.make(
  "probe",
  { ...target, identity, json, timeoutMs, address },
  ({ address, identity, json, timeoutMs, ...target }) =>
    Effect.gen(function*() {
      const node = yield* Option.match(identity, { onNone: () => Identity.generate, onSome: IdentityFile.read })
      const relay = yield* addressOf(address, target)
      const [Probe, Proxy] = yield* Effect.promise(() =>
        Promise.all([import("@tx3/operate/Probe"), import("@tx3/sockets/Proxy")])
      )
      const times = yield* Effect.provide(Probe.run(relay, node, timeoutMs), Proxy.layerEnvironment)
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
export const commands = [status, nodes, splices, kick, ban, unban, bans, drain, reload, logLevel, page, probe] as const
