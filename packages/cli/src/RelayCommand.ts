/**
 * The commands of `tx3-relay`: run a relay, make its file, check its file, and those of `OperateCommand`. The flags and
 * the output of the first two are the original's (protocol section 7).
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as OperatedRelay from "@tx3/operate/OperatedRelay"
import * as OperatorConfig from "@tx3/operate/OperatorConfig"
import * as OperatorFile from "@tx3/operate/OperatorFile"
import * as RelayActions from "@tx3/operate/RelayActions"
import * as Identity from "@tx3/protocol/Identity"
import * as Limiter from "@tx3/relay/Limiter"
import * as Listener from "@tx3/relay/Listener"
import * as Relay from "@tx3/relay/Relay"
import * as RelayConfig from "@tx3/relay/RelayConfig"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as KernelTransport from "@tx3/transport/KernelTransport"
import * as Transport from "@tx3/transport/Transport"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as IdentityFile from "./IdentityFile.js"
import * as Program from "./internal/program.js"
import { relayFile } from "./internal/relayFile.js"
import { repeatable } from "./internal/repeatable.js"
import { version } from "./internal/version.js"
import { writeNew, writeSecret } from "./internal/writeNew.js"
import * as OperateCommand from "./OperateCommand.js"
import { UsageError } from "./UsageError.js"

const init = Options.boolean("init").pipe(
  Options.withAlias("i"),
  Options.withDescription("Write a new file with a new identity, and exit; a file that exists is left as it is")
)

const bind = repeatable("bind").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription("An address to listen on, tx3-rst://HOST:PORT, in place of the file's; may be repeated"),
  Options.repeated
)

const identity = Options.text("identity").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The relay's certificate and key, a PEM file as tx3 keygen makes it, in place of those in its file; with --init, made anew"
  ),
  Options.withFallbackConfig(Config.string("TX3_RELAY_IDENTITY")),
  Options.optional
)

const port = Options.integer("port").pipe(
  Options.withPseudoName("N"),
  Options.withDescription(
    `With --init: the port to listen on, on all IPv4 addresses; ${RelayFile.defaultPort} without it`
  ),
  Options.optional
)

/** Which relay it is about. */
const which = { bind, file: relayFile, identity }

interface Which {
  readonly bind: ReadonlyArray<string>
  readonly file: string
  readonly identity: Option.Option<string>
}

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
    const more = { admin: OperatorConfig.defaultAdmin }
    if (Option.isSome(identity)) {
      yield* IdentityFile.create(identity.value)
      yield* writeNew(file, Redacted.value(RelayFile.render(Option.none(), settings, more)), 0o644)
      yield* Console.log(`# tx3-relay wrote ${JSON.stringify(identity.value)} #`)
    } else {
      yield* writeSecret(file, RelayFile.render(Option.some(yield* Identity.generate), settings, more))
    }
    yield* Console.log(`# tx3-relay wrote ${JSON.stringify(file)} #`)
  })

const load = ({ bind, file, identity }: Which) =>
  OperatorFile.load(
    file,
    [{ place: (key) => `--${key}`, values: bind.length > 0 ? { bind } : {} }],
    Option.map(identity, IdentityFile.read)
  )

const serve = (which: Which) =>
  Effect.gen(function*() {
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
    yield* actions.drained
  }).pipe(Effect.scoped, Effect.provide(OperatedRelay.layer(load(which))))

/** Starts the relay and stops it at once, which is the one sure way to know that it can listen. */
const addressesOf = (config: RelayConfig.RelayConfig["Type"]) =>
  Effect.map(Relay.Relay, ({ addresses }) => addresses.map(String)).pipe(
    Effect.provide(Relay.layer),
    Effect.provideService(RelayConfig.RelayConfig, config),
    Effect.provideService(Listener.PortPatience, 0),
    Logger.withMinimumLogLevel(LogLevel.None),
    Effect.catchIf(
      (error): error is Transport.ListenError => error._tag === "ListenError" && error.cause.code === "EADDRINUSE",
      (error) => Effect.succeed([`${error.message} (nothing to mend if that is this relay)`])
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

const check = Command.make("check", which, (which) =>
  Effect.gen(function*() {
    const { identity, settings: operator } = yield* load(which)
    const config = { ...operator, identity }
    const addresses = yield* addressesOf(config)
    const { connections, transport } = yield* transportOf(config)
    const settings = Object.entries(operator).filter(([key, value]) =>
      (typeof value === "number" || typeof value === "string") && !["idleTimeoutMs", "transport"].includes(key)
    )
    yield* Console.log([
      `${which.file} is in order`,
      `digest: ${identity.digest}`,
      ...addresses.map((address) => `address: ${address}`),
      `transport: ${transport}`,
      ...settings.map(([key, value]) => `${key}: ${OperatorConfig.withoutSecrets(String(value))}`),
      `idleTimeoutMs: ${config.idleTimeoutMs ?? "never"}`,
      `access: ${
        Object.keys(config.access).length === 0 ? "open to everybody" : Object.keys(config.access).join(", ")
      }`,
      Option.match(connections, {
        onNone: () => "descriptors: without limit",
        onSome: (connections) =>
          connections < config.maxInboundConnections
            ? `descriptors: for ${connections} connections only; raise the limit (ulimit -n, LimitNOFILE=)`
            : "descriptors: enough for maxInboundConnections"
      }),
      ...yield* OperateCommand.warningsOf(which.file)
    ].join("\n"))
  })).pipe(
    Command.withDescription("Checks the file and the machine, and says what a relay would do; leaves nothing running")
  )

/**
 * `tx3-relay` and the commands in it, for whoever wants to describe them.
 *
 * @since 0.1.0
 * @category commands
 */
export const command = Command.make(
  "tx3-relay",
  { ...which, init, port },
  ({ init, port, ...which }) =>
    Effect.gen(function*() {
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
).pipe(
  Command.withDescription(HelpDoc.blocks([
    HelpDoc.p("Runs a tx3 relay: machines behind a NAT register here, and their peers reach them through it."),
    HelpDoc.p(
      "A setting is taken from a flag, else from the environment (maxControlStreams from TX3_RELAY_MAX_CONTROL_STREAMS), " +
        "else from the file, else it has its default."
    ),
    HelpDoc.p("SIGHUP, and tx3-relay reload, load the file again; SIGTERM and SIGINT stop the relay."),
    HelpDoc.p("Exit codes: 0 stopped by a signal, or done; 1 failed; 2 flags, file or settings are wrong.")
  ])),
  Command.withSubcommands([check, ...OperateCommand.commands])
)

/**
 * Runs `tx3-relay` with these arguments, the first two being node and the script.
 *
 * @since 0.1.0
 * @category running
 */
export const cli = Command.run(command, { name: "tx3-relay", version })
