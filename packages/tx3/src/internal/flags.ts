/** Flags and arguments that several commands of `tx3` have. */
import * as Args from "@effect/cli/Args"
import * as Options from "@effect/cli/Options"
import { repeatable } from "@tx3/command/Repeatable"
import * as Schema from "effect/Schema"

export const identity = Options.text("identity").pipe(
  Options.withAlias("i"),
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The identity of this node: a file that tx3 keygen made. Without it, a new identity each time"
  ),
  Options.optional
)

/** @effect/cli takes a flag that it does not know for an argument. */
export const argument = (name: string) =>
  Args.withSchema(
    Args.text({ name }),
    Schema.String.pipe(
      Schema.filter((text) => !text.startsWith("-") || text === "-", {
        message: (issue) => ({ message: `there is no flag ${JSON.stringify(issue.actual)}`, override: true })
      })
    )
  )

/** An address to connect to. @effect/cli keeps the description that an argument has, and adds the next one to it. */
const addressDescribed = (description: string) => argument("ADDRESS").pipe(Args.withDescription(description))

export const address = addressDescribed(
  "The address to connect to, as tx3 listen, tx3 receive and tx3 expose print it, or its name (tx3 name)"
)

export const addresses = addressDescribed(
  "The address to connect to, as tx3 listen and tx3 expose print it, or its name (tx3 name). Of several of one node, the first " +
    "that answers is taken"
).pipe(Args.atLeast(1))

export const allowTruncated = Options.boolean("allow-truncated").pipe(
  Options.withDescription(
    "Take a connection that is cut off for one that has ended; only for data that says itself where it ends, as HTTP and SSH do"
  )
)

export const known = Options.text("known").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The file of names, as tx3 name writes it; without it that of TX3_KNOWN, or ~/.config/tx3/known"
  ),
  Options.optional
)

export const allow = repeatable("allow").pipe(
  Options.withPseudoName("DIGEST"),
  Options.withDescription(
    "A node that may connect: the digest at the end of its address, or its name from the file of names; may be repeated"
  ),
  Options.repeated
)

export const allowFile = Options.text("allow-file").pipe(
  Options.withPseudoName("FILE"),
  Options.withDescription(
    "The same from a file, one on each line and comments behind #; it is read again when it changes"
  ),
  Options.optional
)

export const qr = Options.boolean("qr").pipe(
  Options.withDescription("Also print the address as a QR code on stderr, for a camera")
)

/** A flag for a whole number. @effect/cli's own names no flag when what is given is no number. */
export const wholeNumber = (flag: string, min: number, max: number) =>
  Options.text(flag).pipe(
    Options.withSchema(
      Schema.NumberFromString.pipe(
        Schema.int(),
        Schema.between(min, max),
        Schema.annotations({
          message: () => ({ message: `--${flag} must be a whole number from ${min} to ${max}`, override: true })
        })
      )
    )
  )
