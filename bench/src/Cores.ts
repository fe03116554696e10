/**
 * Who runs on which core in (j), so that an attacker takes no CPU from the relay but by what the relay does for it.
 */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { accessSync, constants, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import { BenchError } from "./BenchError.js"

export interface Division {
  readonly relay: number
  readonly attacker: number
  /** The load: on a third core, or on the attacker's, which it has before the attacker. */
  readonly honest: number
}

/** The cores of a list as Linux writes it: `0-2,5`. */
export const parse = (list: string): ReadonlyArray<number> =>
  list.trim().split(",").flatMap((part) => {
    const [first, last] = part.split("-").map(Number)
    return Array.from({ length: (last ?? first!) - first! + 1 }, (_, offset) => first! + offset)
  })

const hasTaskset = () =>
  (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, "taskset"), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** The first of the cores that this program may use; nothing where there is but one, or no `taskset`. */
export const divide = (): Division | undefined => {
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0"
  const [relay, attacker, honest] = parse(allowed)
  return relay === undefined || attacker === undefined || !hasTaskset()
    ? undefined
    : { relay, attacker, honest: honest ?? attacker }
}

/** Keeps a process, with all its threads and those that they start, on a core. */
export const pin = (pid: number, core: number): Effect.Effect<void, BenchError> =>
  Effect.async((resume) => {
    execFile("taskset", ["-a", "-c", "-p", String(core), String(pid)], (error) =>
      resume(
        error === null ? Effect.void : new BenchError({ message: `taskset for process ${pid}: ${error.message}` })
      ))
  })
