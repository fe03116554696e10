import { CliConfig } from "@effect/cli"
import { NodeContext } from "@effect/platform-node"
import { ConfigProvider, Console, Effect, Layer } from "effect"
import { RelayCommand } from "tx3-relay"

const environment = Layer.merge(NodeContext.layer, CliConfig.layer({ showBuiltIns: false }))

/** How `tx3-relay` with these arguments and variables fails in this process, and all that it printed. */
export const failureOf = (args: ReadonlyArray<string>, variables: Readonly<Record<string, string>> = {}) => {
  let printed = ""
  return Console.consoleWith((console) => {
    const print = (...texts: ReadonlyArray<unknown>) => Effect.sync(() => void (printed += `${texts.join(" ")}\n`))
    return Effect.withConsole(RelayCommand.cli(["node", "tx3-relay", ...args]), {
      ...console,
      error: print,
      log: print
    })
  }).pipe(
    Effect.scoped,
    Effect.provide(environment),
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables)))),
    Effect.flip,
    Effect.map((error) => ({ error, printed }))
  )
}
