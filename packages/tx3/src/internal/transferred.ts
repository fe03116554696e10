/** The line that `tx3 send` and `tx3 receive` print for a file that has arrived. */
import { printable } from "@tx3/command/Printable"
import type * as FileTransfer from "@tx3/reach/FileTransfer"
import * as Console from "effect/Console"

/** As sha256sum prints it. */
export const printTransferred = ({ name, sha256 }: FileTransfer.Transferred) =>
  Console.log(`${sha256}  ${printable(name)}`)
