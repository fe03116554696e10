/**
 * The commands of `tx3` that make a service of one machine reachable from another: expose, forward and connect, several of
 * them from one file with up, and what up is doing with status.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { described } from "@tx3/command/Help"
import { repeatable } from "@tx3/command/Repeatable"
import * as Config from "effect/Config"
import { addresses, allow, allowFile, allowTruncated, argument, identity, known } from "./internal/flags.js"
import { later } from "./internal/later.js"

const via = repeatable("via").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription(
    "Where to be reached: through a relay, at the address that it prints; or directly, at tx3-st://HOST:PORT of this " +
      "machine; may be repeated"
  ),
  Options.atLeast(1)
)

const service = argument("SERVICE").pipe(
  Args.withDescription("What to expose: HOST:PORT, as 127.0.0.1:22, or unix:PATH")
)

const expose = Command.make(
  "expose",
  { identity, via, allow, allowFile, allowTruncated, known, service },
  later(() => import("./internal/commands/expose.js"))
).pipe(
  Command.withDescription(described(
    "Makes a service of this machine reachable, and prints its address when it is. The service sees connections from this " +
      "machine, and nothing of peers that are not allowed. Registers again by itself whenever a relay is lost.",
    ["tx3 expose 127.0.0.1:22 --via RELAY --identity ssh.pem", "Anyone who knows the address may connect to sshd"],
    ["tx3 expose 127.0.0.1:80 --via RELAY --identity web.pem --allow DIGEST", "Only the node with this digest may"]
  ))
)

const name = Options.text("name").pipe(
  Options.withPseudoName("NAME"),
  Options.withDescription(
    "The name to give to the digest of the address in the file of names, once it has answered; refuses to connect if " +
      "another digest has that name there"
  ),
  Options.optional
)

const listen = Options.text("listen").pipe(
  Options.withPseudoName("ENDPOINT"),
  Options.withDescription(
    "Where programs of this machine connect to: HOST:PORT, as 127.0.0.1:2222, with port 0 for any free one, or unix:PATH"
  )
)

const forward = Command.make(
  "forward",
  { identity, listen, name, known, allowTruncated, addresses },
  later(() => import("./internal/commands/forward.js"))
).pipe(
  Command.withDescription(described(
    "Makes what a node exposes reachable on this machine, and prints where: each connection there is one to the address. " +
      "Nothing is connected before the first.",
    ["tx3 forward ADDRESS --listen 127.0.0.1:2222", "Then: ssh -p 2222 127.0.0.1"]
  ))
)

const connect = Command.make(
  "connect",
  { identity, name, known, allowTruncated, addresses },
  later(() => import("./internal/commands/connect.js"))
).pipe(
  Command.withDescription(described(
    "Connects to an address and joins the connection to stdin and stdout, until both ends have ended what they send.",
    ["tx3 connect ADDRESS", "Connects to a tx3 listen"],
    ["ssh -o ProxyCommand='tx3 connect ADDRESS' home", "Connects to an SSH server that tx3 expose makes reachable"]
  ))
)

const config = Options.text("config").pipe(
  Options.withAlias("c"),
  Options.withPseudoName("FILE"),
  Options.withDescription("What to expose and to forward; without it the file that TX3_CONFIG names, or ./tx3.yml"),
  Options.withFallbackConfig(Config.string("TX3_CONFIG")),
  Options.withDefault("./tx3.yml")
)

const up = Command.make("up", { config }, later(() => import("./internal/commands/up.js"))).pipe(
  Command.withDescription(described(
    "Exposes and forwards all that a file says, and prints the addresses of what it exposes and the endpoints of what it " +
      "forwards. Runs until a signal ends it, also while relays and services are down.",
    ["tx3 up --config home.yml", "Runs in the foreground; docs/reaching.md shows a file"]
  ))
)

const status = Command.make(
  "status",
  { config, json: Options.boolean("json").pipe(Options.withDescription("Print JSON")) },
  later(() => import("./internal/commands/status.js"))
).pipe(Command.withDescription("Says what a running tx3 up is doing: every registration and every connection"))

/**
 * These commands, to be found in `tx3`.
 *
 * @since 0.1.0
 * @category commands
 */
export const commands = [expose, forward, connect, up, status] as const
