import * as Command from "@effect/cli/Command"
import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import * as packaging from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, HashMap } from "effect"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
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

type Shell = "bash" | "fish" | "zsh"

/** The completion for a shell, as a file, and a file of names. */
const completion = (shell: Shell) =>
  Effect.gen(function*() {
    const folder = yield* programs.temporaryFolder
    const [file, known] = [join(folder, "completion"), join(folder, "known")]
    const { code, stderr, stdout } = yield* programs.run("tx3", ["--completions", shell])
    assert.strictEqual(code, 0, stderr)
    writeFileSync(file, stdout)
    writeFileSync(known, "1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI home # at home\n# nobody\n")
    return { file, folder, known }
  })

withPrograms(["fish"], () => {
  it.scopedLive("--completions fish completes names, and files where there may be some", () =>
    Effect.gen(function*() {
      const { file, known } = yield* completion("fish")
      const script = "source $argv[1]; set -x TX3_KNOWN $argv[2]; cd (dirname $argv[1])\n" +
        "for command in connect send receive; echo $command (complete -C \"tx3 $command \"); end"
      assert.strictEqual(
        packaging.output("fish", "-N", "-c", script, file, known),
        "connect home\nsend completion home known\nreceive completion known\n"
      )
    }))
})

withPrograms(["zsh"], () => {
  it.scopedLive("--completions zsh completes names, and files where there may be some", () =>
    Effect.gen(function*() {
      const { file, known } = yield* completion("zsh")
      // zsh completes in a terminal only: here a function of the same name tells what it would be given.
      const script = `compdef() { }; autoload() { }; source "$1"; export TX3_KNOWN="$2"
        compadd() { shift; print -- "$@" }; _tx3_names
        is-at-least() { }; CURRENT=1; words=(tx3); command=$3
        _arguments() {
          if [[ "$*" == *":->tx3"* ]]; then state=tx3; line=("$command"); else print -l -- "$@" | grep '^[*]:argument'; fi
        }
        _tx3_zsh_completions`
      const offered = (command: string) => packaging.output("zsh", "-f", "-c", script, "zsh", file, known, command)
      assert.strictEqual(offered("connect"), "home\n*:argument:_tx3_names\n")
      assert.strictEqual(offered("send"), "home\n*:argument:_tx3_names_and_files\n")
      assert.strictEqual(offered("receive"), "home\n*:argument:_tx3_codes_and_folders\n")
    }))
})

/** What is typed in a terminal, and the arguments that tx3 gets then. The letter behind a tab shows what the tab has added. */
const typed: ReadonlyArray<readonly [keys: string, args: ReadonlyArray<string>]> = [
  ["receive 417923-crat\tlemo\tx", ["receive", "417923-crater-lemon", "x"]],
  ["receive 417923-crater\tlemon\tx", ["receive", "417923-crater-lemon", "x"]],
  ["receive 7-crat\tlemo\tx", ["receive", "7-crater-lemon", "x"]],
  ["receive 417923-crater-lemon-\tx", ["receive", "417923-crater-lemon-x"]],
  ["receive 417923-crater-lemon-crat\tx", ["receive", "417923-crater-lemon-cratx"]],
  ["receive 417923-zzz\tx", ["receive", "417923-zzzx"]],
  ["receive 417923-crater-zzz\tx", ["receive", "417923-crater-zzzx"]],
  ["receive crat\tx", ["receive", "cratx"]],
  ["receive --keep 417923-crat\tlemo\tinb\tx", ["receive", "--keep", "417923-crater-lemon", "inbox/x"]],
  ["send 417923-crat\tx", ["send", "417923-cratx"]]
]

/** The command that starts a shell in a terminal, and the file with which it begins. */
const inTerminal: Record<Shell, readonly [command: string, file: string, begin: string]> = {
  bash: ["bash --noprofile --rcfile .bashrc -i", ".bashrc", "source ./completion"],
  fish: ["fish -N -i -C 'source .fish'", ".fish", "source ./completion"],
  // As from a package: zsh loads the function at the first tab.
  zsh: ["zsh -d -i", ".zshrc", "mv completion _tx3; fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -D"]
}

for (const shell of ["bash", "fish", "zsh"] as const) {
  withPrograms([shell, "script"], () => {
    it.scopedLive(`--completions ${shell} completes names, and the words of codes without a program`, () =>
      Effect.gen(function*() {
        const { folder, known } = yield* completion(shell)
        const [command, file, begin] = inTerminal[shell]
        const bin = join(folder, "bin")
        mkdirSync(bin)
        mkdirSync(join(folder, "inbox"))
        writeFileSync(join(folder, file), begin)
        writeFileSync(join(bin, "tx3"), "#!/bin/sh\nIFS=,\necho \"$*\" >> \"$GOT\"\n", { mode: 0o755 })
        const lines = ["tx3 connect ho\tx", `export PATH=${bin}`, ...typed.map(([keys]) => `tx3 ${keys}`), "exit\n"]
        const { code, stdout } = yield* programs.runShell(`exec script -qec "${command}" /dev/null`, {
          cwd: folder,
          env: {
            HOME: folder,
            ZDOTDIR: folder,
            XDG_CONFIG_HOME: folder,
            XDG_DATA_HOME: folder,
            XDG_RUNTIME_DIR: folder,
            TERM: "xterm",
            PATH: `${bin}:${process.env["PATH"]}`,
            TX3_KNOWN: known,
            GOT: join(folder, "got")
          },
          stdin: lines.join("\n")
        })
        assert.strictEqual(code, 0, stdout.toString())
        assert.deepStrictEqual(
          readFileSync(join(folder, "got"), "utf8").trim().split("\n"),
          ["connect,home,x", ...typed.map(([, args]) => args.join(","))]
        )
      }))
  })
}
