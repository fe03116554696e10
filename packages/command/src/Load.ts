/**
 * Loads a program, or prints what its bundle has in store: `--version` and `--help` need no program, and are asked for often. So
 * this module imports little. Node's loader opens many files at once, and where descriptors run out its errors are of many
 * kinds and name none.
 *
 * @since 0.1.0
 */
import { asset } from "@tx3/sockets/Executable"
import { readFileSync } from "node:fs"
import { stripVTControlCharacters } from "node:util"
import type { Build } from "./Version.js"

/** Enough for either program to load and to do something. */
const enough = 256

/**
 * Prints what the arguments ask for if the bundle has it; else imports the program, and says how many descriptors it needs where
 * they do not suffice. `help` is a file of what the program prints on a terminal, by its arguments; without a bundle it is
 * missing, and the program prints its help itself.
 *
 * @since 0.1.0
 * @category running
 */
export const load = async (options: {
  readonly build: Build
  readonly help: URL
  readonly program: () => Promise<unknown>
}): Promise<void> => {
  const { name } = options.build
  const limit = descriptorLimit()
  try {
    const text = await inStore(options)
    if (text === undefined) {
      await options.program()
    } else {
      process.stdout.on("error", (error: NodeJS.ErrnoException) => {
        process.exitCode = error.code === "EPIPE" ? 141 : 1
      })
      process.stdout.write(`${process.stdout.isTTY ? text : stripVTControlCharacters(text)}\n`)
    }
  } catch (error) {
    if (limit >= enough && (error as NodeJS.ErrnoException).code !== "EMFILE") {
      throw error
    }
    process.stderr.write(
      `${name}: cannot start with ${Number.isFinite(limit) ? `${limit}` : "so few"} descriptors; ` +
        `raise the limit to ${enough} or more (ulimit -n ${enough}, LimitNOFILE= of the unit)\n`
    )
    process.exitCode = 1
  }
}

/** The text that is printed for these arguments, if it is known without the program. */
const inStore = async ({ build, help }: { readonly build: Build; readonly help: URL }): Promise<string | undefined> => {
  const args = process.argv.slice(2)
  if (args.length === 1 && args[0] === "--version") {
    return (await import("./Version.js")).text(build)
  }
  const asked = args.map((arg) => arg === "-h" ? "--help" : arg)
  if (asked.at(-1) !== "--help") {
    return undefined
  }
  try {
    const texts = asset("help.json")?.toString() ?? readFileSync(help, "utf8")
    return (JSON.parse(texts) as Record<string, string>)[asked.join(" ")]
  } catch {
    return undefined
  }
}

/** The soft limit, where the system tells it. */
const descriptorLimit = () => {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]
    return soft === undefined ? Infinity : Number(soft)
  } catch {
    return Infinity
  }
}
