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
import {
  addresses,
  allow,
  allowFile,
  allowTruncated,
  argument,
  identity,
  known,
  qr,
  wholeNumber
} from "./internal/flags.js"
import { later } from "./internal/later.js"

const via = repeatable("via").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription(
    "Where to be reached: through a relay, at the address that it prints; or directly, at tx3-st://HOST:PORT of this " +
      "machine; may be repeated. Without it at the relays of tx3 relay use"
  ),
  Options.repeated
)

const service = argument("SERVICE").pipe(
  Args.withDescription(
    "What to expose: HOST:PORT, as 192.168.1.7:80, a PORT of 127.0.0.1 alone, unix:PATH, udp:HOST:PORT, or socks, a SOCKS5 " +
      "proxy that connects to what --to allows"
  )
)

const to = repeatable("to").pipe(
  Options.withPseudoName("RANGE:PORTS"),
  Options.withDescription(
    "With socks: what peers may connect to, as 192.168.1.0/24:22,80 or [fd00::/8]:443, * for all ports; may be repeated"
  ),
  Options.repeated
)

const expose = Command.make(
  "expose",
  { identity, via, allow, allowFile, allowTruncated, known, qr, to, service },
  later(() => import("./internal/commands/expose.js"))
).pipe(
  Command.withDescription(described(
    "Makes a service of this machine reachable, and prints its address when it is. The service sees connections from this " +
      "machine, and nothing of peers that are not allowed. Registers again by itself whenever a relay is lost.",
    ["tx3 expose 22 --via RELAY --identity ssh.pem", "Anyone who knows the address may connect to sshd"],
    ["tx3 expose 80 --via RELAY --identity web.pem --allow DIGEST", "Only the node with this digest may"],
    ["tx3 expose udp:127.0.0.1:51820 --via RELAY --identity wg.pem", "A UDP service, here WireGuard"],
    [
      "tx3 expose socks --to 192.168.1.0/24:22,80 --allow DIGEST --via RELAY --identity lan.pem",
      "A SOCKS5 proxy into a network"
    ]
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
    "Where programs of this machine connect to: HOST:PORT, as 0.0.0.0:2222, a PORT of 127.0.0.1 alone, 0 for any free " +
      "one, unix:PATH, or udp:HOST:PORT for a UDP service"
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
    ["tx3 forward ADDRESS --listen 2222", "Then: ssh -p 2222 127.0.0.1"],
    ["tx3 forward ADDRESS --listen udp:127.0.0.1:51820", "A UDP service: each local port that sends is one connection"]
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
    ["tx3 connect home", "Connects to the node that has this name"],
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

const up = Command.make("up", {
  config,
  init: Options.boolean("init").pipe(
    Options.withDescription(
      "Write a new file with one service and its identity, and exit; on a terminal it asks what is not said"
    )
  ),
  via: repeatable("via").pipe(
    Options.withPseudoName("RELAY"),
    Options.withDescription("With --init: the relay; may be repeated. Without it that of tx3 relay use"),
    Options.repeated
  ),
  expose: Options.text("expose").pipe(
    Options.withPseudoName("NAME=ENDPOINT"),
    Options.withDescription("With --init: what to expose; ssh=22 without it"),
    Options.optional
  )
}, later(() => import("./internal/commands/up.js"))).pipe(
  Command.withDescription(described(
    "Exposes and forwards all that a file says, and prints the addresses of what it exposes and the endpoints of what it " +
      "forwards. Runs until a signal ends it, also while relays and services are down.",
    ["tx3 up --init --via RELAY --expose ssh=22", "Writes tx3.yml and ssh.pem"],
    ["tx3 up", "Runs what tx3.yml says, in the foreground"]
  ))
)

const status = Command.make(
  "status",
  {
    config,
    json: Options.boolean("json").pipe(Options.withDescription("Print JSON")),
    watch: Options.boolean("watch").pipe(
      Options.withAlias("w"),
      Options.withDescription("Print it again each second, until a signal ends it")
    )
  },
  later(() => import("./internal/commands/status.js"))
).pipe(Command.withDescription("Says what a running tx3 up is doing: every registration and every connection"))

const reload = Command.make("reload", { config }, later(() => import("./internal/commands/reload.js"))).pipe(
  Command.withDescription(described(
    "Lets a running tx3 up load its file again, as SIGHUP does. A file that is wrong changes nothing. Services that have not changed " +
      "keep their connections, except those of peers that are not allowed any longer.",
    ["tx3 reload --config home.yml", "Prints which services were started and stopped"]
  ))
)

const words = (name: string, description: string) =>
  argument(name).pipe(Args.withDescription(description), Args.repeated)

const nameOf = Command.make("name", {
  known,
  json: Options.boolean("json").pipe(Options.withDescription("Print the list as JSON")),
  action: Args.choice([["add", "add"], ["list", "list"], ["remove", "remove"], ["rename", "rename"]], {
    name: "ACTION"
  })
    .pipe(Args.withDescription("What to do: add, list, remove or rename")),
  words: words("WORD", "The name, and for add its addresses, for rename the new name")
}, later(() => import("./internal/commands/name.js"))).pipe(
  Command.withDescription(described(
    "Keeps names for nodes: a name stands for an address in connect, forward, ping and send, and for a digest in allowlists.",
    ["tx3 name add home ADDRESS", "Then: tx3 connect home"],
    ["tx3 name list", "Prints the names and addresses"],
    ["tx3 name rename home house", "Gives it another name"],
    ["tx3 name remove house", "Forgets it"]
  ))
)

const relay = Command.make("relay", {
  action: Args.choice([["use", "use"], ["show", "show"], ["forget", "forget"]], { name: "ACTION" }).pipe(
    Args.withDescription("What to do: use, show or forget")
  ),
  relays: words("RELAY", "For use: the address that a relay prints, or several")
}, later(() => import("./internal/commands/relay.js"))).pipe(
  Command.withDescription(described(
    "Sets the relay that expose, listen and receive use where they are not told of one. TX3_RELAY says it for one command.",
    ["tx3 relay use RELAY", "Then: tx3 expose 22 --identity ssh.pem"],
    ["tx3 relay show", "Prints it"],
    ["tx3 relay forget", "Takes it back"]
  ))
)

const sshConfig = Command.make("ssh-config", {
  identity,
  known,
  user: Options.text("user").pipe(
    Options.withPseudoName("USER"),
    Options.withDescription("The user to log in as"),
    Options.optional
  ),
  name: argument("NAME").pipe(Args.withDescription("A name that tx3 name has an address of"))
}, later(() => import("./internal/commands/sshConfig.js"))).pipe(
  Command.withDescription(described(
    "Prints the Host block of ~/.ssh/config with which ssh, scp and rsync connect to a name.",
    ["tx3 ssh-config home --user me >> ~/.ssh/config", "Then: ssh home"]
  ))
)

const logs = Command.make("logs", {
  config,
  follow: Options.boolean("follow").pipe(
    Options.withAlias("f"),
    Options.withDescription("Go on with what is told next, until a signal ends it")
  ),
  lines: wholeNumber("lines", 0, 1_000).pipe(
    Options.withAlias("n"),
    Options.withPseudoName("N"),
    Options.withDescription("Only the last so many lines; without it the last thousand, which are all that are kept"),
    Options.optional
  ),
  since: Options.text("since").pipe(
    Options.withPseudoName("WHEN"),
    Options.withDescription(
      "Only what is not older: an age, as 90s, 10m, 2h or 1d, or a time, as 2026-01-31T12:00:00Z"
    ),
    Options.optional
  )
}, later(() => import("./internal/commands/logs.js"))).pipe(
  Command.withDescription(described(
    "Prints what a running tx3 up has told: who came and went, and what went wrong.",
    ["tx3 logs --since 1h", "What happened in the last hour"],
    ["tx3 logs --follow --lines 20", "The last 20 lines, and then what happens"]
  ))
)

const page = Command.make("page", { config }, later(() => import("./internal/commands/page.js"))).pipe(
  Command.withDescription(described(
    "Prints a link that signs a browser in to the page of a running tx3 up, once: its services and addresses, who is connected, what " +
      "it has told, and who may connect. The page is for this machine only.",
    ["tx3 page --config home.yml", "Open the link within a minute"]
  ))
)

const startedBySystem = Command.make("service", {
  action: Args.choice<"install" | "status" | "uninstall">(
    [["install", "install"], ["uninstall", "uninstall"], ["status", "status"]],
    { name: "ACTION" }
  ).pipe(Args.withDescription("What to do: install, uninstall or status")),
  config,
  user: Options.boolean("user").pipe(
    Options.withDescription("Only for this user, also where root calls; without it root installs it for the machine")
  )
}, later(() => import("./internal/commands/service.js"))).pipe(
  Command.withDescription(described(
    "Makes tx3 up start by itself, with systemd or launchd: writes the unit, enables and starts it. A unit that somebody " +
      "wrote or changed is left as it is. On Windows it prints the command for the Task Scheduler.",
    ["tx3 service install --config ~/.config/tx3/tx3.yml", "Starts it now, and whenever you log in"],
    ["tx3 service status", "Says whether it is installed and runs"],
    ["tx3 service uninstall", "Stops it, and removes the unit"]
  ))
)

/**
 * These commands, to be found in `tx3`.
 *
 * @since 0.1.0
 * @category commands
 */
export const commands = [
  expose,
  forward,
  connect,
  nameOf,
  relay,
  sshConfig,
  up,
  reload,
  status,
  logs,
  page,
  startedBySystem
] as const
