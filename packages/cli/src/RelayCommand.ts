/**
 * The commands of `tx3-relay`: run a relay, make its file, check its file. The flags and the output of the first two are
 * the original's (protocol section 7).
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Identity from "@tx3/protocol/Identity"
import * as Limiter from "@tx3/relay/Limiter"
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
import { version } from "./internal/version.js"
import { writeSecret } from "./internal/writeSecret.js"
import { UsageError } from "./UsageError.js"

const file = Options.text("config").pipe(
  Options.withAlias("c"),
  Options.withPseudoName("FILE"),
  Options.withDescription("The relay's file; ./tx3-relay.yml without it"),
  Options.withFallbackConfig(Config.string("TX3_RELAY_CONFIG")),
  Options.withDefault("./tx3-relay.yml")
)

const init = Options.boolean("init").pipe(
  Options.withAlias("i"),
  Options.withDescription("Write a new file with a new identity, and exit; a file that exists is left as it is")
)

const bind = Options.text("bind").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription("An address to listen on, tx3-rst://HOST:PORT, in place of the file's; may be repeated"),
  Options.repeated
)

const port = Options.integer("port").pipe(
  Options.withPseudoName("N"),
  Options.withDescription(
    `With --init: the port to listen on, on all IPv4 addresses; ${RelayFile.defaultPort} without it`
  ),
  Options.optional
)

const write = (file: string, bind: ReadonlyArray<string>, port: Option.Option<number>) =>
  Effect.gen(function*() {
    if (bind.length > 0 && Option.isSome(port)) {
      return yield* new UsageError({ message: "give --bind or --port, not both: --bind says the port too" })
    }
    const addresses = bind.length > 0
      ? bind
      : [`tx3-rst://0.0.0.0:${Option.getOrElse(port, () => RelayFile.defaultPort)}`]
    const place = () => bind.length > 0 ? "--bind" : "--port"
    const settings = yield* RelayConfig.decode([{ place, values: { bind: addresses } }])
    yield* writeSecret(file, RelayFile.render(yield* Identity.generate, settings))
    yield* Console.log(`# tx3-relay wrote ${JSON.stringify(file)} #`)
  })

const load = (file: string, bind: ReadonlyArray<string>) =>
  RelayFile.load(file, [{ place: (key) => `--${key}`, values: bind.length > 0 ? { bind } : {} }])

const serve = (file: string, bind: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { addresses } = yield* Relay.Relay
    yield* Console.log(
      [
        "# tx3-relay listening #",
        "# tx3-relay address list start #",
        ...addresses.map(String),
        "# tx3-relay address list end #"
      ].join("\n")
    )
    return yield* Effect.never
  }).pipe(
    Effect.provide(Relay.layer),
    Effect.provideServiceEffect(RelayConfig.RelayConfig, load(file, bind))
  )

/** Starts the relay and stops it at once, which is the one sure way to know that it can listen. */
const addressesOf = (config: RelayConfig.RelayConfig["Type"]) =>
  Effect.map(Relay.Relay, ({ addresses }) => addresses.map(String)).pipe(
    Effect.provide(Relay.layer),
    Effect.provideService(RelayConfig.RelayConfig, config),
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

const check = Command.make("check", { bind, file }, ({ bind, file }) =>
  Effect.gen(function*() {
    const config = yield* load(file, bind)
    const addresses = yield* addressesOf(config)
    const { connections, transport } = yield* transportOf(config)
    const settings = Object.entries(config).filter(([key, value]) =>
      typeof value === "number" && key !== "idleTimeoutMs"
    )
    yield* Console.log([
      `${file} is in order`,
      `digest: ${config.identity.digest}`,
      ...addresses.map((address) => `address: ${address}`),
      `transport: ${transport}`,
      ...settings.map(([key, value]) => `${key}: ${value}`),
      `idleTimeoutMs: ${config.idleTimeoutMs ?? "never"}`,
      Option.match(connections, {
        onNone: () => "descriptors: without limit",
        onSome: (connections) =>
          connections < config.maxInboundConnections
            ? `descriptors: for ${connections} connections only; raise the limit (ulimit -n, LimitNOFILE=)`
            : "descriptors: enough for maxInboundConnections"
      })
    ].join("\n"))
  })).pipe(
    Command.withDescription("Checks the file and the machine, and says what a relay would do; leaves nothing running")
  )

const relay = Command.make(
  "tx3-relay",
  { bind, file, init, port },
  ({ bind, file, init, port }) =>
    Effect.gen(function*() {
      if (init) {
        return yield* write(file, bind, port)
      }
      if (Option.isSome(port)) {
        return yield* new UsageError({
          message: "--port goes with --init; to listen elsewhere now, use --bind tx3-rst://HOST:PORT"
        })
      }
      return yield* serve(file, bind)
    })
).pipe(
  Command.withDescription(HelpDoc.blocks([
    HelpDoc.p("Runs a tx3 relay: machines behind a NAT register here, and their peers reach them through it."),
    HelpDoc.p(
      "A setting is taken from a flag, else from the environment (maxControlStreams from TX3_RELAY_MAX_CONTROL_STREAMS), " +
        "else from the file, else it has its default."
    ),
    HelpDoc.p("Exit codes: 0 stopped by a signal, or done; 1 failed; 2 flags, file or settings are wrong.")
  ])),
  Command.withSubcommands([check])
)

/**
 * Runs `tx3-relay` with these arguments, the first two being node and the script.
 *
 * @since 0.1.0
 * @category running
 */
export const cli = Command.run(relay, { name: "tx3-relay", version })
