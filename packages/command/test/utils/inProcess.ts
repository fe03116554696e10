import { CliConfig } from "@effect/cli"
import { NodeContext } from "@effect/platform-node"
import { ConfigProvider, Effect, Layer } from "effect"

const environment = Layer.merge(NodeContext.layer, CliConfig.layer({ showBuiltIns: false }))

/** Runs a program's command in this process, as its program does, with these variables and no others. */
export const inProcess = <A, E, R>(
  cli: (argv: ReadonlyArray<string>) => Effect.Effect<A, E, R>,
  args: ReadonlyArray<string>,
  variables: Readonly<Record<string, string>> = {}
) =>
  cli(["node", "program", ...args]).pipe(
    Effect.provide(environment),
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
  )
