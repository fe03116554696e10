/**
 * The commands of `tx3-relay`: run a relay, make its file, check its file, and those of `OperateCommand`. The flags and
 * the output of the first two are the original's (protocol section 7).
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Path from "@effect/platform/Path"
import { described, type Section } from "@tx3/command/Help"
import * as Program from "@tx3/command/Program"
import { UsageError } from "@tx3/command/UsageError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import { writeNew, writeSecret } from "@tx3/files/NewFile"
import * as OperatedRelay from "@tx3/operate/OperatedRelay"
import * as RelayActions from "@tx3/operate/RelayActions"
import * as OperatorConfig from "@tx3/policy/OperatorConfig"
import * as Identity from "@tx3/protocol/Identity"
import * as Limiter from "@tx3/relay/Limiter"
import * as Listener from "@tx3/relay/Listener"
import * as Relay from "@tx3/relay/Relay"
import * as RelayConfig from "@tx3/relay/RelayConfig"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as UnixSocket from "@tx3/sockets/UnixSocket"
import * as KernelTransport from "@tx3/transport/KernelTransport"
import * as Transport from "@tx3/transport/Transport"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import type { Which } from "./internal/load.js"
import { load } from "./internal/load.js"
import { advice, loopbackOnly } from "./internal/reachable.js"
import { bind, flagsBefore, identity, relayCommand, relayFile, whichOf } from "./internal/relayCommand.js"
import { build } from "./internal/version.js"
import * as OperateCommand from "./OperateCommand.js"

/** The unix socket beside a relay's file, for its commands; none where it cannot have that path. */
const socketBeside = (file: string) =>
  Effect.map(Path.Path, ({ resolve }) =>
    Option.liftPredicate(
      `${resolve(file).replace(/\.ya?ml$/, "")}.sock`,
      (path) => UnixSocket.problemOf(path) === undefined
    ))

/** The port behind the relay's, so that the pages of several relays on one machine do not collide. */
const pagePort = (relayPort: number) => relayPort === 0 ? 0 : relayPort === 65_535 ? relayPort - 1 : relayPort + 1

const write = ({ bind, file, identity }: Which, port: Option.Option<number>) =>
  Effect.gen(function*() {
    if (bind.length > 0 && Option.isSome(port)) {
      return yield* new UsageError({ message: "give --bind or --port, not both: --bind says the port too" })
    }
    const addresses = bind.length > 0
      ? bind
      : [`tx3-rst://0.0.0.0:${Option.getOrElse(port, () => RelayFile.defaultPort)}`]
    const place = () => bind.length > 0 ? "--bind" : "--port"
    const settings = yield* RelayConfig.decode([{ place, values: { bind: addresses } }])
    const socket = yield* socketBeside(file)
    const page = `http://127.0.0.1:${pagePort(settings.bind[0].port)}`
    const admin = [...Option.toArray(Option.map(socket, (path) => `unix:${path}`)), page]
    // A service that may not read secrets of the file signs browsers in by the socket; the file needs no token then.
    const isPublic = Option.isSome(identity) && Option.isSome(socket)
    const more = { admin, ...isPublic ? {} : { adminToken: randomBytes(24).toString("base64url") } }
    const own = Option.isSome(identity) ? Option.none() : Option.some(yield* Identity.generate)
    const text = RelayFile.render(own, settings, more)
    if (Option.isSome(identity)) {
      yield* IdentityFile.create(identity.value)
      yield* Console.log(`# tx3-relay wrote ${JSON.stringify(identity.value)} #`)
    }
    yield* isPublic ? writeNew(file, Redacted.value(text), 0o644) : writeSecret(file, text)
    yield* Console.log(`# tx3-relay wrote ${JSON.stringify(file)} #`)
  })

const serve = (which: Which) =>
  Effect.gen(function*() {
    yield* Program.goOnWithoutStdout
    const { addresses } = yield* Relay.Relay
    const actions = yield* RelayActions.RelayActions
    yield* Program.onHangUp(actions.reload)
    yield* Console.log(
      [
        "# tx3-relay listening #",
        "# tx3-relay address list start #",
        ...addresses.map(String),
        "# tx3-relay address list end #"
      ].join("\n")
    )
    const unreachable = loopbackOnly(addresses)
    if (unreachable !== undefined) {
      yield* Effect.logWarning(unreachable)
    }
    yield* actions.drained
  }).pipe(Effect.scoped, Effect.provide(OperatedRelay.layer(load(which))))

/** Starts the relay and stops it at once, which is the one sure way to know that it can listen. */
const addressesOf = (config: RelayConfig.RelayConfig["Type"]) =>
  Effect.map(Relay.Relay, ({ addresses }) => [
    ...addresses.map((address) => `address: ${address}`),
    `reach: ${advice(addresses)}`
  ]).pipe(
    Effect.provide(Relay.layerOpen),
    Effect.provideService(RelayConfig.RelayConfig, config),
    Effect.provideService(Listener.PortPatience, 0),
    Logger.withMinimumLogLevel(LogLevel.None),
    Effect.catchIf(
      (error): error is Transport.ListenError => error._tag === "ListenError" && error.cause.code === "EADDRINUSE",
      (error) => Effect.succeed([`address: ${error.message} (nothing to mend if that is this relay)`])
    )
  )

/** Which transport a relay gets, why it is not the kernel's, and how many connections it can have with it. */
const transportOf = (config: RelayConfig.RelayConfig["Type"]) =>
  Effect.all({
    connections: Limiter.inboundByDescriptors,
    transport: Effect.flatMap(Transport.Transport, ({ kind }) =>
      kind === "kernel" || config.transport === "portable"
        ? Effect.succeed(kind)
        : Layer.build(KernelTransport.layer({ threads: config.transportThreads })).pipe(
          Effect.scoped,
          Effect.match({
            onFailure: ({ message }) => `${kind}; ${message}`,
            onSuccess: () => `${kind}; the kernel's failed its self-test once, and passes it now`
          })
        ))
  }).pipe(
    Effect.provide(Relay.transport),
    Effect.provideService(RelayConfig.RelayConfig, config),
    Logger.withMinimumLogLevel(LogLevel.None)
  )

const check = Command.make("check", { bind, file: relayFile, identity }, (own) =>
  Effect.gen(function*() {
    const before = yield* flagsBefore("check", ["bind", "config", "identity"])
    const which = yield* whichOf({
      bind: own.bind.length > 0 ? own.bind : before.bind,
      file: Option.orElse(own.file, () => before.file),
      identity: Option.orElse(own.identity, () => before.identity)
    })
    const { identity, settings: operator } = yield* load(which)
    const config = { ...operator, identity }
    const addresses = yield* addressesOf(config)
    const { connections, transport } = yield* transportOf(config)
    const { cluster } = operator
    const member = cluster === undefined
      ? []
      : yield* Effect.flatMap(Effect.promise(() => import("@tx3/operate/ClusterMember")), ({ check }) => check(cluster))
    const settings = Object.entries(operator).filter(([key, value]) =>
      (typeof value === "number" || typeof value === "string") && !["idleTimeoutMs", "transport"].includes(key)
    )
    yield* Console.log([
      `${which.file} is in order`,
      `digest: ${identity.digest}`,
      ...addresses,
      `transport: ${transport}`,
      ...member,
      `admin: ${operator.admin.length === 0 ? "off" : operator.admin.join(", ")}`,
      ...settings.map(([key, value]) => `${key}: ${OperatorConfig.withoutSecrets(String(value))}`),
      `idleTimeoutMs: ${config.idleTimeoutMs ?? "never"}`,
      `access: ${
        Object.keys(config.access).length === 0 ? "open to every node" : Object.keys(config.access).join(", ")
      }`,
      Option.match(connections, {
        onNone: () => "descriptors: without limit",
        onSome: (connections) =>
          connections < config.maxInboundConnections
            ? `descriptors: for ${connections} connections only; raise the limit (ulimit -n, LimitNOFILE=)`
            : "descriptors: enough for maxInboundConnections"
      }),
      ...yield* OperateCommand.warningsOf(which.file),
      ...OperatorConfig.warningsOf(operator).map((warning) => `warning: ${warning}`)
    ].join("\n"))
  })).pipe(
    Command.withDescription("Checks the file and the machine, and says what a relay would do; leaves nothing running")
  )

const service = Command.make("service", {
  action: Args.choice<"install" | "status" | "uninstall">(
    [["install", "install"], ["uninstall", "uninstall"], ["status", "status"]],
    { name: "ACTION" }
  ).pipe(Args.withDescription("What to do: install, uninstall or status")),
  file: relayFile,
  identity,
  user: Options.boolean("user").pipe(
    Options.withDescription("Only for this user, also where root calls; without it root installs it for the machine")
  )
}, ({ action, file, identity, user }) =>
  Effect.gen(function*() {
    const before = yield* flagsBefore("service", ["config", "identity"])
    const which = yield* whichOf({
      bind: [],
      file: Option.orElse(file, () => before.file),
      identity: Option.orElse(identity, () => before.identity)
    })
    const { run } = yield* Effect.promise(() => import("./internal/service.js"))
    yield* run({ action, user, which })
  })).pipe(
    Command.withDescription(described(
      "Makes the relay start by itself, with systemd or launchd: writes the unit, enables and starts it. Root installs it for " +
        "the machine, with the files of /etc/tx3-relay and as a user of its own. A unit that somebody wrote or changed is left as " +
        "it is. On Windows it prints the command for the Task Scheduler.",
      ["sudo tx3-relay service install", "Starts it now, and whenever the machine starts"],
      ["tx3-relay service install --config relay.yml", "Starts it now, and whenever you log in"],
      ["tx3-relay service status", "Says whether it is installed and runs"],
      ["tx3-relay service uninstall", "Stops it, and removes the unit"]
    ))
  )

/**
 * The command `tx3-relay` with its subcommands, from which the man page and the help are made.
 *
 * @since 0.1.0
 * @category commands
 */
export const command = relayCommand.pipe(
  Command.withHandler(({ init, port, ...flags }) =>
    Effect.gen(function*() {
      const which = yield* whichOf(flags)
      if (init) {
        return yield* write(which, port)
      }
      if (Option.isSome(port)) {
        return yield* new UsageError({
          message: "--port goes with --init; to listen elsewhere now, use --bind tx3-rst://HOST:PORT"
        })
      }
      return yield* serve(which)
    })
  ),
  Command.withDescription(described(
    [
      "Runs a tx3 relay: machines behind a NAT register here, and their peers reach them through it.",
      "A setting is taken from a flag, else from the environment (maxControlStreams from TX3_RELAY_MAX_CONTROL_STREAMS), " +
      "else from the file, else it has its default. SIGHUP, and tx3-relay reload, load the file again; SIGTERM and SIGINT " +
      "stop the relay."
    ],
    ["tx3-relay --init --config relay.yml", "Makes an identity and writes the file"],
    ["tx3-relay check --config relay.yml", "Says what a relay would do with it"],
    ["tx3-relay --config relay.yml", "Runs the relay, and prints its address"],
    ["tx3-relay status --config relay.yml", "Says what it is doing"]
  )),
  Command.withSubcommands([check, service, ...OperateCommand.commands])
)

/**
 * The text of the help and the man page beyond commands and flags.
 *
 * @since 0.1.0
 * @category help
 */
export const more: ReadonlyArray<Section> = [
  {
    title: "ENVIRONMENT",
    items: [
      { term: "TX3_RELAY_CONFIG", text: "The relay's file, where --config does not say" },
      { term: "TX3_RELAY_IDENTITY", text: "The relay's certificate and key, where --identity does not say" },
      {
        term: "TX3_RELAY_ADMIN",
        text: "The admin server, where --admin does not say, and where a relay has it; several with commas between them"
      },
      { term: "TX3_RELAY_METRICS", text: "Where a relay serves metrics alone, without a token" },
      { term: "TX3_RELAY_ADMIN_TOKEN", text: "The token that the admin server wants" },
      {
        term: "HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        text: "The proxy through which tx3-relay probe connects, and the hosts to which it connects directly"
      },
      { term: "CREDENTIALS_DIRECTORY", text: "Set by systemd. The identity may be a file in there" }
    ]
  },
  {
    title: "FILES",
    items: [{
      term: "./tx3-relay.yml",
      text: "The relay's file, where nothing else says. With an identity in it, only its owner may read it"
    }]
  },
  {
    title: "EXIT STATUS",
    items: [
      { term: "0", text: "Stopped by a signal, or done" },
      { term: "1", text: "Failed" },
      { term: "2", text: "Flags, file or settings are wrong" }
    ]
  }
]

/**
 * The tags of the errors of flags, file and settings, with which the program exits with 2.
 *
 * @since 0.1.0
 * @category running
 */
export const usageErrors: ReadonlyArray<string> = [
  "FileExists",
  "IdentityFileError",
  "ListError",
  "ProxyUrlError",
  "RelayConfigError",
  "RelayFileError",
  "UsageError"
]

/**
 * Runs `tx3-relay` with these arguments, the first two being node and the script.
 *
 * @since 0.1.0
 * @category running
 */
export const cli = Program.cli(command, build, more)
