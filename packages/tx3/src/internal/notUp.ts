/** The message of a command that asks a `tx3 up` which does not answer. */
import { UsageError } from "@tx3/command/UsageError"
import { problemOf } from "@tx3/files/SystemProblem"

/** Makes the error from why the status socket at `path` does not answer. */
export const notUp =
  (config: string, path: string) => (error: { readonly cause?: unknown; readonly message: string }) =>
    new UsageError({
      message: `no tx3 up runs with ${config} (${path}: ${error.cause ? problemOf(error.cause) : error.message})`
    })
