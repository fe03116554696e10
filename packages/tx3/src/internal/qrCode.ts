/** Addresses for a camera. */
import { printableLines } from "@tx3/command/Printable"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

/** Prints the addresses as QR codes on stderr, if that was asked for. */
export const qrCodes = (isAskedFor: boolean, addresses: ReadonlyArray<{ toString: () => string }>) =>
  Effect.when(
    Effect.flatMap(Effect.promise(() => import("uqr")), ({ renderUnicodeCompact }) =>
      Effect.forEach(addresses, (address) =>
        Console.error(printableLines(`${renderUnicodeCompact(String(address), { border: 2 })}\n`)))),
    () =>
      isAskedFor
  )
