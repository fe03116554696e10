import { Command } from "@effect/cli"
import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect, HashMap } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Tx3Command } from "tx3"
import { RelayCommand } from "tx3-relay"
import * as Program from "../src/Program.js"

const bundled = (name: string) => new URL(`../../${name}/bundle/help.json`, import.meta.url)

const subcommandsOf = <Name extends string, R, E, A>(command: Command.Command<Name, R, E, A>) =>
  Array.from(HashMap.keys(Command.getSubcommands(command)), String).sort()

const printedBy = (cli: Parameters<typeof Program.printed>[0]) => (args: ReadonlyArray<string>) =>
  Program.printed(cli, args)

describe("load", { timeout: 180_000 }, () => {
  for (
    const [name, printed, commands] of [
      ["tx3", printedBy(Tx3Command.cli), subcommandsOf(Tx3Command.command)],
      ["tx3-relay", printedBy(RelayCommand.cli), subcommandsOf(RelayCommand.command)]
    ] as const
  ) {
    it.effect(`${name} has the help of each command in store, as the command prints it`, () =>
      Effect.gen(function*() {
        const stored = JSON.parse(readFileSync(bundled(name), "utf8")) as Record<string, string>
        assert.deepStrictEqual(Object.keys(stored), ["--help", ...commands.map((name) => `${name} --help`)])
        for (const [args, text] of Object.entries(stored)) {
          assert.strictEqual(text, yield* printed(args.split(" ")), args)
        }
      }))

    it.scopedLive(`${name} prints the same with and without it`, () =>
      Effect.gen(function*() {
        const stored = yield* programs.run(name, ["--help"])
        const program = fileURLToPath(new URL(`../../${name}/dist/main.js`, import.meta.url))
        const { ended } = yield* programs.startCommand(process.execPath, [program, "--help"], {})
        const { code, stderr, stdout } = yield* ended
        assert.deepStrictEqual([stored.stdout.toString(), stored.stderr, stored.code], [
          stdout.toString(),
          stderr,
          code
        ])
      }))
  }
})
