/**
 * The files in packaging/, and programs that judge them.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** The repository. */
export const root = fileURLToPath(new URL("../../../", import.meta.url))

export const pathOf = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url))

export const read = (name: string) => readFileSync(pathOf(name), "utf8")

export const exists = (name: string) => existsSync(pathOf(name))

/** The exit code of a program, and all it said. */
export const judge = (command: string, ...args: ReadonlyArray<string>) => {
  const { error, status, stderr, stdout } = spawnSync(command, args, { encoding: "utf8", timeout: 30_000 })
  if (error !== undefined) {
    throw error
  }
  return { code: status, said: stdout + stderr }
}

export const output = (command: string, ...args: ReadonlyArray<string>) =>
  execFileSync(command, args, { encoding: "utf8", timeout: 30_000 })

/** A page's blocks of a language. */
export const blocks = (page: string, language: string) =>
  Array.from(page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms")), ([, text]) => text!)

/** The flags that a program's man page tells of, without their hyphens, and those that @effect/cli adds. */
export const flagsOf = (program: "tx3" | "tx3-relay") => [
  ...Array.from(
    read(`packaging/man/${program}.1`).matchAll(/\\-\\-((?:\w|\\-)+)/g),
    ([, flag]) => flag!.replaceAll("\\-", "-")
  ),
  "completions",
  "log-level"
]
