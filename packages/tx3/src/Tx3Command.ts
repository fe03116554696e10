/**
 * The commands of `tx3`: an identity, bytes, round trips and files, to and from other nodes, and those of `ReachCommand`. A
 * command's work is in `internal/commands/`, and is loaded when it is to be done.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { described, type Section } from "@tx3/command/Help"
import * as Program from "@tx3/command/Program"
import { repeatable } from "@tx3/command/Repeatable"
import { UsageError } from "@tx3/command/UsageError"
import {
  address,
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
import { build } from "./internal/version.js"
import * as ReachCommand from "./ReachCommand.js"

const place = argument("RELAY").pipe(
  Args.withDescription(
    "Where to be reached: through a relay, at the address that the relay prints, tx3-rst://HOST:PORT/DIGEST; or directly, " +
      "at tx3-st://HOST:PORT of this machine, with port 0 for any free one. Without it at the relays of tx3 relay use"
  ),
  Args.optional
)

const keep = (what: string) =>
  Options.boolean("keep").pipe(
    Options.withAlias("k"),
    Options.withDescription(`Take one ${what} after the other, until a signal ends it`)
  )

const keygen = Command.make("keygen", {
  file: Args.text({ name: "FILE" }).pipe(Args.withDescription("The file to make; one that exists is left as it is"))
}, later(() => import("./internal/commands/keygen.js"))).pipe(
  Command.withDescription(described(
    "Makes an identity file, which makes an address permanent, and prints the digest that the address will end in. " +
      "A reader of the file can act as you; without the file the address is lost.",
    ["tx3 keygen me.pem", "Then give --identity me.pem to the other commands"]
  ))
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
  qr,
  place
}, later(() => import("./internal/commands/listen.js"))).pipe(
  Command.withDescription(described(
    "Waits for a connection and joins it to stdin and stdout, until both ends have ended what they send. Its address is " +
      "printed on stderr, since stdout is the connection's; with --echo on stdout.",
    [
      "tx3 listen RELAY",
      "What is typed here appears at the tx3 connect of the address that is printed, and the other way round"
    ],
    ["tx3 listen --echo RELAY", "Answers tx3 ping"]
  ))
)

const ping = Command.make("ping", {
  identity,
  count: wholeNumber("count", 1, 1_000_000).pipe(
    Options.withAlias("c"),
    Options.withPseudoName("N"),
    Options.withDescription("How many round trips to make; 10 without it"),
    Options.withDefault(10)
  ),
  interval: wholeNumber("interval", 0, 3_600_000).pipe(
    Options.withPseudoName("MS"),
    Options.withDescription("How many milliseconds to wait between two; 200 without it, 0 for no wait"),
    Options.withDefault(200)
  ),
  verbose: Options.boolean("verbose").pipe(
    Options.withAlias("v"),
    Options.withDescription("Print each round trip also where stdout is not a terminal")
  ),
  address
}, later(() => import("./internal/commands/ping.js"))).pipe(
  Command.withDescription(described(
    "Measures how many milliseconds 64 bytes take to a tx3 listen --echo and back: the least, the mean and the 99th " +
      "percentile, also where it is interrupted.",
    ["tx3 ping ADDRESS", "Makes ten round trips"]
  ))
)

const send = Command.make("send", {
  identity,
  compress: Options.boolean("compress").pipe(
    Options.withDescription("Compress what becomes smaller by it, where the receiver can take that")
  ),
  dryRun: Options.boolean("dry-run").pipe(Options.withDescription("Print what would be sent, and send nothing")),
  name: Options.text("name").pipe(
    Options.withPseudoName("NAME"),
    Options.withDescription("What it is called there; its own name without it"),
    Options.optional
  ),
  via: repeatable("via").pipe(
    Options.withPseudoName("RELAY"),
    Options.withDescription(
      "Where to wait for the receiver with a code; may be repeated. Without it at the relays of tx3 relay use"
    ),
    Options.repeated
  ),
  words: argument("PATH... [ADDRESS]").pipe(
    Args.withDescription(
      "The files and folders to send, - for stdin, and at the end the address that tx3 receive prints, or its name (tx3 name). " +
        "Without an address it prints a code for the receiver"
    ),
    Args.atLeast(1)
  )
}, later(() => import("./internal/commands/send.js"))).pipe(
  Command.withDescription(described(
    "Sends files and folders to a tx3 receive. Without an address it prints a code, a number and two words, and waits for the one " +
      "tx3 receive that is given the code; a wrong word ends it. When one is safe on the disk there, it prints the SHA-256 and name of each file as " +
      "sha256sum does. A lost connection is opened again, and the transfer goes on; so does the same command another time. Of " +
      "permissions only that of a program goes over, and links only where they stay in their folder.",
    ["tx3 send photo.jpg", "Prints a code, and sends it to the tx3 receive that is given the code"],
    ["tx3 send photo.jpg ADDRESS", "Sends it to the tx3 receive that has printed this address"],
    ["tx3 send photos notes.txt ADDRESS", "Sends a folder and a file"],
    ["pg_dump shop | tx3 send - ADDRESS --name shop.sql --compress", "Sends stdin, compressed on its way"]
  ))
)

const receive = Command.make("receive", {
  identity,
  keep: keep("file"),
  allow,
  allowFile,
  known,
  maxSize: wholeNumber("max-size", 0, Number.MAX_SAFE_INTEGER).pipe(
    Options.withPseudoName("BYTES"),
    Options.withDescription("The largest file or folder to take; without it any that the disk has room for"),
    Options.optional
  ),
  qr,
  code: argument("CODE").pipe(
    Args.withDescription(
      "The code that tx3 send has printed, as 417923-crater-lemon, to receive from that sender; - reads it from stdin, where " +
        "other users of this machine do not see it"
    ),
    Args.optional
  ),
  place,
  folder: argument("DIR").pipe(
    Args.withDescription("The folder to put files into; this one without it"),
    Args.optional
  )
}, later(() => import("./internal/commands/receive.js"))).pipe(
  Command.withDescription(described(
    "Takes files and folders of tx3 send into a folder. With a code it takes those of the sender that has printed the code, at the " +
      "same relay. Otherwise it prints its address and waits there. Any node that knows the address " +
      "may send, or only those of --allow. A file or folder appears in DIR when it is whole, with the SHA-256 it was sent with, " +
      "and never in place of another; then the SHA-256 and name of each file are printed as sha256sum does. What came of an " +
      "interrupted transfer is kept as .tx3-KEY.part, and its sender goes on from there. Several may come at a time; a sender " +
      "slower than 64 KiB a minute is given up.",
    ["tx3 receive 417923-crater-lemon", "Takes what the tx3 send sends that has printed this code"],
    ["tx3 receive RELAY", "Takes what one tx3 send sends into this folder"],
    ["tx3 receive --keep --allow DIGEST RELAY ~/inbox", "Takes every file that one sender has"]
  ))
)

/**
 * The command `tx3` with its subcommands, from which the man page and the help are made.
 *
 * @since 0.1.0
 * @category commands
 */
export const command = Command.make("tx3", {}, () =>
  new UsageError({
    message:
      "say what to do: expose, forward, connect, up, status, listen, ping, send, receive, keygen, name or relay; " +
      "tx3 --help tells about them"
  })).pipe(
    Command.withDescription(described(
      [
        "Joins two machines wherever they are, through a relay (tx3-relay) that both can reach and that sees nothing but " +
        "ciphertext. An address names the certificate that must be met there, so no other node can answer.",
        "In the examples RELAY is the address that a relay prints, and ADDRESS the one that tx3 prints then. " +
        "tx3 COMMAND --help says more about a command."
      ],
      ["tx3 expose 22 --via RELAY --identity me.pem", "Here: makes this machine's SSH server reachable"],
      ["ssh -o ProxyCommand='tx3 connect ADDRESS' home", "There: connects to it"],
      ["tx3 forward ADDRESS --listen 2222", "There: opens a local port in place of that"],
      ["tx3 listen RELAY", "Here: what is typed on one side of a connection appears on the other"],
      ["tx3 connect ADDRESS", "There: the other side"],
      ["tx3 send FILE --via RELAY", "Here: prints a code for a file or a folder"],
      ["tx3 receive CODE RELAY", "There: takes it"]
    )),
    Command.withSubcommands([keygen, ...ReachCommand.commands, listen, ping, send, receive])
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
      { term: "TX3_CONFIG", text: "The file of tx3 up and tx3 status, where --config does not say" },
      {
        term: "TX3_RELAY",
        text: "The relays to use, with commas between them, where neither --via nor an argument says"
      },
      { term: "TX3_KNOWN", text: "The file of names, where --known does not say" },
      {
        term: "HTTPS_PROXY, ALL_PROXY",
        text:
          "The proxy that relays and nodes are connected to through, the first before the second: http://HOST:PORT or " +
          "socks5://HOST:PORT, with USER:PASSWORD@ before HOST where it wants them"
      },
      {
        term: "NO_PROXY",
        text:
          "Hosts that are connected to directly, with commas between: names with all below them, addresses, ranges as " +
          "10.0.0.0/8, or *. This machine itself always is"
      }
    ]
  },
  {
    title: "FILES",
    items: [
      { term: "./tx3.yml", text: "What tx3 up exposes and forwards, where nothing else says" },
      { term: "~/.config/tx3/known", text: "The file of names, where nothing else says" },
      { term: "~/.config/tx3/relay", text: "The relays of tx3 relay use" }
    ]
  },
  {
    title: "EXIT STATUS",
    items: [
      { term: "0", text: "Done" },
      { term: "1", text: "Failed" },
      { term: "2", text: "Called wrongly: arguments, addresses, identity file" },
      { term: "130, 143", text: "Ended by SIGINT, SIGTERM" },
      { term: "141", text: "The reader of stdout has closed it" }
    ]
  }
]

/**
 * Runs `tx3` with these arguments, the first two being node and the script.
 *
 * @since 0.1.0
 * @category running
 */
export const cli = Program.cli(command, build, more)
