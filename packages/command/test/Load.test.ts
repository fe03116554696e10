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

describe("load", { timeout: 180_000 }, () => {
  for (const [name, { cli, command }] of [["tx3", Tx3Command], ["tx3-relay", RelayCommand]] as const) {
    it.effect(`${name} has the help of each command in store, as the command prints it`, () =>
      Effect.gen(function*() {
        const stored = JSON.parse(readFileSync(bundled(name), "utf8")) as Record<string, string>
        const commands = Array.from(HashMap.keys(Command.getSubcommands(command)), String).sort()
        assert.deepStrictEqual(Object.keys(stored), ["--help", ...commands.map((name) => `${name} --help`)])
        for (const [args, text] of Object.entries(stored)) {
          assert.strictEqual(text, yield* Program.printed(cli, args.split(" ")), args)
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
