/**
 * The commands of `tx3`: an identity, bytes, round trips and files, to and from other nodes, and those of `ReachCommand`. A
 * command's work is in `internal/commands/`, and is loaded when it is to be done.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Program from "@tx3/command/Program"
import { UsageError } from "@tx3/command/UsageError"
import * as Schema from "effect/Schema"
import { address, allow, allowFile, allowTruncated, argument, identity, known } from "./internal/flags.js"
import { later } from "./internal/later.js"
import { build } from "./internal/version.js"
import * as ReachCommand from "./ReachCommand.js"

const place = argument("RELAY_OR_BIND_ADDRESS").pipe(
  Args.withDescription(
    "Where to be reached: through a relay, at the address that the relay prints, tx3-rst://HOST:PORT/DIGEST; or directly, " +
      "at tx3-st://HOST:PORT of this machine, with port 0 for any free one"
  )
)

const wholeNumber = (flag: string, min: number, max: number) =>
  Schema.Int.pipe(
    Schema.between(min, max),
    Schema.annotations({
      message: () => ({ message: `${flag} must be a whole number from ${min} to ${max}`, override: true })
    })
  )

const keep = (what: string) =>
  Options.boolean("keep").pipe(
    Options.withAlias("k"),
    Options.withDescription(`Take one ${what} after the other, until a signal ends it`)
  )

const keygen = Command.make("keygen", {
  file: Args.text({ name: "FILE" }).pipe(Args.withDescription("The file to make; one that exists is left as it is"))
}, later(() => import("./internal/commands/keygen.js"))).pipe(
  Command.withDescription(
    "Makes an identity file, which makes an address permanent, and prints the digest that the address will end in. " +
      "A reader of the file can act as you; without the file the address is lost."
  )
)

const listen = Command.make("listen", {
  identity,
  keep: keep("connection"),
  echo: Options.boolean("echo").pipe(
    Options.withDescription(
      "Send back all that comes, to all connections at once until a signal ends it; stdin and stdout have no part in it"
    )
  ),
  allowTruncated,
  place
}, later(() => import("./internal/commands/listen.js"))).pipe(
  Command.withDescription(
    "Waits for a connection and joins it to stdin and stdout, until both ends have ended what they send. Its address is " +
      "printed on stderr, since stdout is the connection's; with --echo on stdout."
  )
)

const ping = Command.make("ping", {
  identity,
  count: Options.integer("count").pipe(
    Options.withAlias("c"),
    Options.withPseudoName("N"),
    Options.withDescription("How many round trips to make; 10 without it"),
    Options.withDefault(10),
    Options.withSchema(wholeNumber("--count", 1, 1_000_000))
  ),
  interval: Options.integer("interval").pipe(
    Options.withPseudoName("MS"),
    Options.withDescription("How many milliseconds to wait between two; 200 without it, 0 for no wait"),
    Options.withDefault(200),
    Options.withSchema(wholeNumber("--interval", 0, 3_600_000))
  ),
  verbose: Options.boolean("verbose").pipe(
    Options.withAlias("v"),
    Options.withDescription("Print each round trip also where stdout is not a terminal")
  ),
  address
}, later(() => import("./internal/commands/ping.js"))).pipe(
  Command.withDescription(
    "Measures how many milliseconds 64 bytes take to a tx3 listen --echo and back: the least, the mean and the 99th " +
      "percentile, also where it is interrupted."
  )
)

const send = Command.make("send", {
  identity,
  file: Args.file({ name: "FILE", exists: "yes" }).pipe(Args.withDescription("The file to send")),
  address
}, later(() => import("./internal/commands/send.js"))).pipe(
  Command.withDescription(
    "Sends a file to a tx3 receive, and when it is safe on the disk there prints its SHA-256 and name as sha256sum does. " +
      "Its permissions and the name of its folder stay here."
  )
)

const receive = Command.make("receive", {
  identity,
  keep: keep("file"),
  allow,
  allowFile,
  known,
  maxSize: Options.integer("max-size").pipe(
    Options.withPseudoName("BYTES"),
    Options.withDescription("The largest file to take; without it any that the disk has room for"),
    Options.withSchema(wholeNumber("--max-size", 0, Number.MAX_SAFE_INTEGER)),
    Options.optional
  ),
  place,
  folder: Args.directory({ name: "DIR", exists: "yes" }).pipe(Args.withDescription("The folder to put files into"))
}, later(() => import("./internal/commands/receive.js"))).pipe(
  Command.withDescription(
    "Prints its address and waits there for a tx3 send. Any node that knows the address may send, or only those of --allow. A file appears in DIR " +
      "when it is whole, with the SHA-256 it was sent with, and never in place of another; then its SHA-256 and name are " +
      "printed as sha256sum does. Several may come at a time; a sender slower than 64 KiB a minute is given up."
  )
)

/**
 * `tx3` and the commands in it, for whoever wants to describe them.
 *
 * @since 0.1.0
 * @category commands
 */
export const command = Command.make("tx3", {}, () =>
  new UsageError({
    message:
      "say what to do: keygen, expose, forward, connect, up, status, listen, ping, send or receive; tx3 --help tells about them"
  })).pipe(
    Command.withDescription(HelpDoc.blocks([
      HelpDoc.p(
        "Joins two machines wherever they are, through a relay (tx3-relay) that both can reach and that sees nothing but " +
          "ciphertext. An address names the certificate that must be met there, so no other node can answer."
      ),
      HelpDoc.p(
        "For example, where RELAY is the address that a relay prints, and ADDRESS the one that is printed then:"
      ),
      HelpDoc.enumeration([
        HelpDoc.p(
          "tx3 expose 127.0.0.1:22 --via RELAY --identity ME.pem here, and ssh -o ProxyCommand='tx3 connect ADDRESS' home there"
        ),
        HelpDoc.p("tx3 expose 127.0.0.1:80 --via RELAY here and tx3 forward ADDRESS --listen 127.0.0.1:8080 there"),
        HelpDoc.p("tx3 listen RELAY here and tx3 connect ADDRESS there: what is typed on one appears on the other"),
        HelpDoc.p("tx3 receive RELAY DIR here and tx3 send FILE ADDRESS there: copies a file"),
        HelpDoc.p("tx3 keygen ME.pem, then tx3 listen --identity ME.pem RELAY: has the same ADDRESS each time")
      ]),
      HelpDoc.p("tx3 COMMAND --help says more about a command.")
    ])),
    Command.withSubcommands([keygen, ...ReachCommand.commands, listen, ping, send, receive])
  )

/**
 * What the programs end with, as the help says it.
 *
 * @since 0.1.0
 * @category help
 */
export const exitCodes = HelpDoc.p(
  "Exit codes: 0 done; 1 failed; 2 called wrongly (arguments, addresses, identity file); 130 and 143 ended by SIGINT and " +
    "SIGTERM; 141 the reader of stdout has closed it."
)

/**
 * Runs `tx3` with these arguments, the first two being node and the script.
 *
 * @since 0.1.0
 * @category running
 */
export const cli = Program.cli(command, build, exitCodes)
