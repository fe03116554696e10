/**
 * The program `tx3-relay`.
 */
import * as Program from "@tx3/command/Program"
import * as LogLevel from "effect/LogLevel"
import * as RelayCommand from "./RelayCommand.js"

// A relay that is told to stop has done what it was started for: 0, after its splices have drained.
Program.run({
  name: "tx3-relay",
  isService: true,
  logLevel: LogLevel.Info,
  usageErrors: RelayCommand.usageErrors,
  cli: RelayCommand.cli
})
