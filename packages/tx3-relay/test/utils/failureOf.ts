import { Console, Effect } from "effect"
import { RelayCommand } from "tx3-relay"
import { inProcess } from "../../../command/test/utils/inProcess.js"

/** How `tx3-relay` with these arguments and variables fails in this process, and all that it printed. */
export const failureOf = (args: ReadonlyArray<string>, variables: Readonly<Record<string, string>> = {}) => {
  let printed = ""
  const print = (...texts: ReadonlyArray<unknown>) => Effect.sync(() => void (printed += `${texts.join(" ")}\n`))
  return Console.consoleWith((console) =>
    Effect.withConsole(inProcess(RelayCommand.cli, args, variables), { ...console, error: print, log: print })
  ).pipe(
    Effect.flip,
    Effect.map((error) => ({ error, printed }))
  )
}
