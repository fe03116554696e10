import { assert, describe, it } from "@effect/vitest"
import { temporaryFolder } from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { appendFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import module from "node:module"
import { join } from "node:path"

const compiled = new URL("../dist/Compiled.js", import.meta.url).href

/** Newer versions of Node keep code themselves. */
const isOurs = !("enableCompileCache" in module)

describe("Compiled", () => {
  const inFolder = <A>(
    use: (given: {
      readonly folder: string
      /** Runs the program with these arguments; returns what it says. */
      readonly run: (args?: ReadonlyArray<string>, env?: Record<string, string>) => string
      /** The files with compiled code. */
      readonly kept: () => ReadonlyArray<string>
      readonly writeProgram: (hash: string, text: string) => void
    }) => A
  ) =>
    Effect.scoped(Effect.map(temporaryFolder, (folder) => {
      const cache = join(folder, "cache")
      let file = ""
      return use({
        folder,
        kept: () => {
          try {
            return readdirSync(join(cache, "tx3/compiled")).sort()
          } catch {
            return []
          }
        },
        run: (args = [], env = {}) =>
          execFileSync(process.execPath, [
            "--input-type=module",
            "--eval",
            `import { run } from ${JSON.stringify(compiled)}; run(new URL(${JSON.stringify(`file://${file}`)}))`,
            "program",
            ...args
          ], { encoding: "utf8", env: { PATH: process.env["PATH"], XDG_CACHE_HOME: cache, ...env } }),
        writeProgram: (hash, text) => {
          file = join(folder, `program-${hash}.cjs`)
          writeFileSync(file, text)
        }
      })
    }))

  const program = "const { sep } = require(\"node:path\")\nprocess.stdout.write(`${sep} ${process.argv.slice(2)}`)\n"

  it.effect("runs a program, and keeps its code for each command", () =>
    inFolder(({ folder, kept, run, writeProgram }) => {
      writeProgram("A", program)
      for (const start of ["first", "second"]) {
        assert.strictEqual(run(["send", "--to", "x"]), "/ send,--to,x", start)
        assert.strictEqual(run(), "/ ", start)
        assert.strictEqual(run(["--flag"]), "/ --flag", start)
      }
      if (isOurs) {
        assert.deepStrictEqual(kept(), ["program", "program-flag", "program-send"])
        assert.strictEqual(statSync(join(folder, "cache/tx3/compiled/program")).mode & 0o777, 0o600)
      }
    }))

  it.effect.skipIf(!isOurs)(
    "takes the code that it kept, as long as it is whole and of the same program",
    () =>
      inFolder(({ folder, run, writeProgram }) => {
        const file = join(folder, "cache/tx3/compiled/program")
        const inode = () => statSync(file).ino
        writeProgram("A", program)
        run()
        const first = inode()
        run()
        assert.strictEqual(inode(), first)

        // As long as the first, which is all that V8 looks at.
        writeProgram("B", program.replace("sep }", "delimiter: sep }").replace("process.argv.slice(2)", "\"\""))
        assert.strictEqual(run(), ": ")
        const second = inode()
        assert.notStrictEqual(second, first)

        appendFileSync(file, "x")
        assert.strictEqual(run(), ": ")
        assert.notStrictEqual(inode(), second)
        writeFileSync(file, readFileSync(file).subarray(0, 40))
        assert.strictEqual(run(), ": ")
        run()
      })
  )

  it.effect.skipIf(!isOurs)(
    "starts a command that has no code with what another command compiled",
    () =>
      inFolder(({ folder, run, writeProgram }) => {
        const cache = (name: string) => join(folder, name, "tx3/compiled")
        const sizeOfList = (name: string) => statSync(join(cache(name), "program-list")).size
        // A function is compiled, and kept, when it is called. Only `send` calls this one.
        writeProgram(
          "A",
          `const send = () => [${
            "\"a word\".concat(process.title), ".repeat(500)
          }]\nif (process.argv[2] === "send") { send() }`
        )
        run(["list"], { XDG_CACHE_HOME: join(folder, "one") })
        run(["send"], { XDG_CACHE_HOME: join(folder, "other") })
        run(["list"], { XDG_CACHE_HOME: join(folder, "other") })
        assert.isAbove(sizeOfList("other"), 2 * sizeOfList("one"))

        // The newest is of another program now, whose code does not fit.
        writeProgram("B", program)
        assert.strictEqual(run(["list"], { XDG_CACHE_HOME: join(folder, "one") }), "/ list")
        assert.strictEqual(run(["send"], { XDG_CACHE_HOME: join(folder, "other") }), "/ send")
      })
  )

  it.effect.skipIf(!isOurs)(
    "tells a command of one program from another program of that name",
    () =>
      inFolder(({ kept, run, writeProgram }) => {
        writeProgram("A", program)
        run(["relay"])
        // The program `program-relay`.
        writeProgram("relay-A", program)
        run()
        assert.deepStrictEqual(kept(), ["program-relay", "program_relay"])
      })
  )

  it.effect("keeps nothing of a command that failed, and runs where nothing can be kept", () =>
    inFolder(({ folder, kept, run, writeProgram }) => {
      writeProgram("A", program)
      writeFileSync(join(folder, "file"), "")
      mkdirSync(join(folder, "home"))
      assert.strictEqual(run([], { XDG_CACHE_HOME: "" }), "/ ")
      assert.strictEqual(run([], { XDG_CACHE_HOME: "relative" }), "/ ")
      assert.strictEqual(run([], { XDG_CACHE_HOME: join(folder, "file") }), "/ ")
      writeProgram("C", "process.exitCode = 2")
      assert.throws(() => run())
      if (isOurs) {
        assert.deepStrictEqual(kept(), [])
      }
    }))
})
