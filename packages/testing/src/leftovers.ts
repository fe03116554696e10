/**
 * Vitest's global setup: gives a run a temporary folder and a mark of its own, which every process that a test starts
 * inherits, and at the end of the run, also an interrupted one, removes what is left of both and fails the run by naming it.
 * Processes are found on Linux only.
 */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { constants, tmpdir } from "node:os"
import { basename, join } from "node:path"

/** The variable by which a run's processes are found. Not `TX3_…`: the benchmark keeps such variables from its relays. */
const mark = "RUN_OF_TX3_TESTS"

/** Node's and vitest's own, made by the workers that run the tests, what `bundledExamples` made, and the programs' caches. */
const expected = /^(node-compile-cache|vitest|ssr$|examples$|cache$)/

const read = (path: string) => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    // The process has ended, or is another user's.
    return ""
  }
}

/** Every process but this one that has the run's mark in its environment. */
const processesOf = (run: string) =>
  process.platform !== "linux" ? [] : readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .filter((pid) => read(`/proc/${pid}/environ`).split("\0").includes(`${mark}=${run}`))
    .map((pid) => ({ pid: Number(pid), command: read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim() }))
    .filter(({ command }) => command !== "")

/** Vitest's own, and the shell in which a worker that starts counts cores, and which outlives it for a moment. */
const ofVitest = /^node \(vitest|vitest\/dist\/workers|tinypool|esbuild|^\/bin\/sh -c cat \/proc\/cpuinfo/

const processes = (run: string) => processesOf(run).filter(({ command }) => !ofVitest.test(command))

const kill = (pid: number) => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It has ended meanwhile.
  }
}

export default function setup() {
  // Vitest calls this for each project.
  if (process.env[mark] !== undefined) {
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "tx3-"))
  // Some tests run programs as another user.
  chmodSync(folder, 0o755)
  const run = basename(folder)
  process.env["TMPDIR"] = folder
  process.env["XDG_CACHE_HOME"] = join(folder, "cache")
  process.env[mark] = run

  const clear = () => {
    const left = [
      ...processes(run).map(({ command, pid }) => {
        kill(pid)
        return `process ${pid}: ${command}`
      }),
      ...readdirSync(folder).filter((name) => !expected.test(name)).map((name) => `file ${join(folder, name)}`)
    ]
    rmSync(folder, { recursive: true, force: true })
    return left
  }
  const onExit = () => {
    // A worker that outlives vitest goes on testing, and starts more.
    processesOf(run).forEach(({ pid }) => kill(pid))
    clear()
  }
  // SIGINT and SIGTERM are vitest's, and the listener that it has for the exit event lets none after it run.
  const onHangUp = () => process.exit(128 + constants.signals.SIGHUP)
  process.prependOnceListener("exit", onExit)
  process.once("SIGHUP", onHangUp)
  return async () => {
    process.off("exit", onExit)
    process.off("SIGHUP", onHangUp)
    // Processes that are ending get half a minute to end, which a busy machine needs.
    for (let tries = 0; tries < 300 && processes(run).length > 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const left = clear()
    if (left.length > 0) {
      process.exitCode = 1
      process.stderr.write(`the tests left behind (removed now):\n  ${left.join("\n  ")}\n`)
    }
  }
}
