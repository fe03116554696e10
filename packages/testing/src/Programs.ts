/**
 * Programs that some tests run and that a machine with Node alone may lack. `programs.json` names each with its Debian
 * package; nothing is acquired here.
 */
import { existsSync } from "node:fs"
import { delimiter, join } from "node:path"
import packageOf from "../programs.json" with { type: "json" }

export type Command = keyof typeof packageOf

/** Debian keeps servers where the PATH of most users does not lead. */
const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"]

/** The path of a program, or undefined where it is not installed. */
export const find = (command: Command): string | undefined =>
  folders.map((folder) => join(folder, command)).find((path) => existsSync(path))

/** The command that installs the packages of these programs on Debian. */
export const installCommand = (commands: ReadonlyArray<Command>): string =>
  `apt-get install ${Array.from(new Set(commands.map((command) => packageOf[command]))).sort().join(" ")}`

/** The text that `withPrograms` puts before the names of missing programs, for a suite that it skips. */
export const prefix = "needs "

/** The programs that a suite was skipped for, from the name that `withPrograms` gave it. */
export const missingIn = (suite: string): ReadonlyArray<Command> =>
  suite.startsWith(prefix) ? suite.slice(prefix.length).split(", ") as ReadonlyArray<Command> : []

/** The name of the variable that names a folder with the programs as executables, which tests start in place of the bundles. */
export const executables = "TX3_TEST_EXECUTABLES"

/** The name of the variable that tells tests where `bundledExamples` put them. */
export const bundledExamples = "TX3_TEST_EXAMPLES"
