/**
 * The program `tx3`.
 */
import * as LogLevel from "effect/LogLevel"
import * as Program from "./internal/program.js"
import * as Tx3Command from "./Tx3Command.js"

Program.run({
  name: "tx3",
  isService: false,
  // Whatever matters to its caller, the program says itself.
  logLevel: LogLevel.Error,
  usageErrors: [
    "AddressError",
    "AllowListError",
    "IdentityFileError",
    "KnownFileError",
    "LocalEndpointError",
    "UpFileError",
    "UsageError"
  ],
  cli: Tx3Command.cli
})
