/**
 * What a process and all its descendants use, as Linux tells it under /proc: CPU time, memory and descriptors.
 */
import { readdirSync, readFileSync } from "node:fs"

/** Linux counts process times in these, whatever the machine (USER_HZ, which `getconf CLK_TCK` prints). */
export const ticksPerSecond = 100

interface Stat {
  readonly pid: number
  readonly parent: number
  /** User and system seconds of all its threads, those that have ended too. */
  readonly own: number
  /** The same of its children that have ended. */
  readonly ended: number
}

/** A process may end while it is looked at: then there is nothing. */
const tryRead = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

const statOf = (pid: number): Stat | undefined =>
  tryRead(() => {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8")
    // The second field is a name in parentheses and may hold anything; the parent is the fourth.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    const seconds = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) / ticksPerSecond
    return { pid, parent: Number(fields[1]), own: seconds(11), ended: seconds(13) }
  })

/**
 * Seconds on a CPU of the threads that a process has now, to the nanosecond. Ticks are too coarse where the work is
 * spread over many processes: each of them is rounded down.
 */
const scheduledSeconds = (pid: number): number => {
  const tasks = `/proc/${pid}/task`
  return (tryRead(() => readdirSync(tasks)) ?? []).reduce(
    (sum, task) => sum + (tryRead(() => Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0])) ?? 0),
    0
  ) / 1e9
}

const treeOf = (root: number): ReadonlyArray<Stat> => {
  const stats = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? [])
  const withDescendants = (process: Stat): ReadonlyArray<Stat> => [
    process,
    ...stats.filter(({ parent }) => parent === process.pid).flatMap(withDescendants)
  ]
  return stats.filter(({ pid }) => pid === root).flatMap(withDescendants)
}

/** The processes that there are now, the root first. */
export const pids = (root: number): ReadonlyArray<number> => treeOf(root).map(({ pid }) => pid)

/** Seconds of CPU since the tree's root started. */
export const cpuSeconds = (root: number): number =>
  treeOf(root).reduce((sum, { ended, own, pid }) => sum + Math.max(own, scheduledSeconds(pid)) + ended, 0)

/** Resident bytes. */
export const residentBytes = (root: number): number =>
  treeOf(root).reduce((sum, { pid }) => sum + residentBytesOf(pid), 0)

const residentBytesOf = (pid: number) =>
  bytesIn(tryRead(() => readFileSync(`/proc/${pid}/status`, "utf8")) ?? "", "VmRSS")

const bytesIn = (status: string, field: string) =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024

/** The most resident bytes that a process has had so far, from the text of its /proc/PID/status. */
export const peakBytesIn = (status: string): number => bytesIn(status, "VmHWM")

/** Open descriptors. */
export const descriptors = (root: number): number =>
  treeOf(root).reduce((sum, { pid }) => sum + (tryRead(() => readdirSync(`/proc/${pid}/fd`).length) ?? 0), 0)

/** The most descriptors that a process started from here may have, which each of our subjects raises its limit to. */
export const descriptorLimit = (): number => {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]
  return limit === undefined || limit === "unlimited" ? Infinity : Number(limit)
}
