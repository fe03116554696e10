import * as Command from "@effect/cli/Command"
import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import * as packaging from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, HashMap } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Tx3Command } from "tx3"
import { RelayCommand } from "tx3-relay"

/** How a terminal of old prints bold: each letter, a backspace, and the letter again. */
const overstruck = new RegExp(`.${String.fromCharCode(8)}`, "g")

describe("the man pages", () => {
  it.scopedLive("say what the programs' help says: npm run man makes them anew", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { code, said } = packaging.judge(process.execPath, packaging.pathOf("scripts/man.mjs"), folder)
      assert.strictEqual(code, 0, said)
      for (const name of ["tx3.1", "tx3-relay.1"]) {
        assert.strictEqual(packaging.read(`packaging/man/${name}`), readFileSync(join(folder, name), "utf8"))
      }
    }))

  withPrograms(["mandoc"], () => {
    for (const name of ["tx3", "tx3-relay"] as const) {
      it(`${name}(1) is well formed, and tells of every command there is`, () => {
        const file = packaging.pathOf(`packaging/man/${name}.1`)
        const { code, said } = packaging.judge("mandoc", "-Tlint", file)
        assert.strictEqual(said, "")
        assert.strictEqual(code, 0)
        const page = packaging.output("mandoc", "-Tutf8", file).replaceAll(overstruck, "")
        const commands = Array.from(HashMap.keys(
          name === "tx3" ? Command.getSubcommands(Tx3Command.command) : Command.getSubcommands(RelayCommand.command)
        ))
        assert.isAbove(commands.length, 5)
        assert.deepStrictEqual(commands.filter((command) => !page.includes(`\n   ${name} ${command}\n`)), [])
      })
    }
  })
})

/** What bash offers behind these words, with a completion that is a file. */
const offered = (file: string, name: string, ...words: ReadonlyArray<string>) => {
  const script = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    complete -p "$1" | grep -q -- "-F _$1_bash_completions" || exit 3
    "_$1_bash_completions" "$1" "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
    echo "\${COMPREPLY[@]}"`
  return packaging.output("bash", "-c", script, "bash", file, name, ...words).trim().split(" ")
}

withPrograms(["bash"], () => {
  describe("--completions bash", () => {
    const expected = {
      "tx3": [["keygen", ["--help"], "ke"]],
      "tx3-relay": [["status", ["--json", "--admin"], "stat"], ["log-level", ["--json", "--admin"], "log"]]
    } as const
    for (const name of ["tx3", "tx3-relay"] as const) {
      it.scopedLive(`completes what is behind ${name}`, () =>
        Effect.gen(function*() {
          const file = join(yield* programs.temporaryFolder, "completion")
          const { code, stderr, stdout } = yield* programs.run(name, ["--completions", "bash"])
          assert.strictEqual(code, 0, stderr)
          writeFileSync(file, stdout)
          for (const [command, options, start] of expected[name]) {
            assert.deepStrictEqual(offered(file, name, start), [command])
            const behind = offered(file, name, command, "--")
            assert.includeMembers(behind, Array.from(options))
            assert.notInclude(behind, "--bind")
          }
        }))
    }
  })
})
