/**
 * The program `npm run bench`.
 */
import * as CliConfig from "@effect/cli/CliConfig"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as BenchCommand from "./BenchCommand.js"

/** The exit codes of a run that did not give all its figures: what failed was told, or a signal ended it. */
const failed = 1
const interrupted = 130

BenchCommand.cli(process.argv).pipe(
  // @effect/cli has said already what is wrong with the arguments.
  Effect.tapError((error) =>
    ValidationError.isValidationError(error) ? Effect.void : Console.error(`bench: ${error.message}`)
  ),
  Effect.provide([NodeContext.layer, CliConfig.layer({ showBuiltIns: false })]),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    teardown: (exit, onExit) =>
      onExit(Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? interrupted : failed)
  })
)
