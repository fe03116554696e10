/**
 * Loads a program. Node's loader opens hundreds of files at once, and where descriptors run out its errors are of many kinds
 * and name none. So this module imports nothing but Node's own.
 *
 * @since 0.1.0
 */
import { readFileSync } from "node:fs"

/** Enough for either program to load and to do something. */
const enough = 256

/**
 * Imports a program, and says how many descriptors it needs where they do not suffice.
 *
 * @since 0.1.0
 * @category running
 */
export const load = async (name: string, program: () => Promise<unknown>): Promise<void> => {
  const limit = descriptorLimit()
  try {
    await program()
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

/** The soft limit, where the system tells it. */
const descriptorLimit = () => {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]
    return soft === undefined ? Infinity : Number(soft)
  } catch {
    return Infinity
  }
}
