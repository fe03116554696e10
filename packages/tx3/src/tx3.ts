/**
 * The program `tx3`.
 */
import * as Program from "@tx3/command/Program"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Tx3Command from "./Tx3Command.js"

Program.run({
  name: "tx3",
  isService: false,
  // The commands print their own messages.
  logLevel: LogLevel.Error,
  usageErrors: [
    "AddressError",
    "CodeError",
    "DestinationError",
    "FileExists",
    "IdentityFileError",
    "ListError",
    "LocalEndpointError",
    "NoKnownFile",
    "ProxyUrlError",
    "UnknownName",
    "UpFileError",
    "UsageError"
  ],
  codeWords: Effect.flatMap(Effect.promise(() => import("@tx3/reach/Code")), ({ words }) => words),
  cli: Tx3Command.cli
})
