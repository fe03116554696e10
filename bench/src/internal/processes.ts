/**
 * Starts programs and ends them with the scope they were started in, with everything that they started themselves. What
 * they say goes to a file, so that nothing of it passes through the benchmark's own process.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork, spawn } from "node:child_process"
import { closeSync, openSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { BenchError } from "../BenchError.js"

export interface Process {
  readonly name: string
  readonly pid: number
  readonly child: ChildProcess
  /** By `performance.now()`, just before it was started. */
  readonly startedAt: number
  /** Where its stdout goes, unless it is read here, and its stderr. */
  readonly output: string
  readonly log: string
}

export interface Options {
  /** Names the program in errors, and its files in `folder`. */
  readonly name: string
  readonly folder: string
  readonly env?: NodeJS.ProcessEnv | undefined
}

export interface CommandOptions extends Options {
  /** A file to read as its stdin; without it there is nothing to read. */
  readonly stdin?: string
  /** Its stdout is a pipe, for `matching`. */
  readonly isRead?: boolean
}

/** Runs a command in a process group of its own. */
export const start = (
  command: string,
  args: ReadonlyArray<string>,
  options: CommandOptions
): Effect.Effect<Process, BenchError, Scope.Scope> =>
  run(options, (stdout, stderr) => {
    const stdin = options.stdin === undefined ? "ignore" : openSync(options.stdin, "r")
    const child = spawn(command, args, {
      detached: true,
      env: options.env,
      stdio: [stdin, options.isRead ? "pipe" : stdout, stderr]
    })
    if (typeof stdin === "number") {
      closeSync(stdin)
    }
    return child
  })

/** Runs a module with an IPC channel, in a process group of its own. */
export const startModule = (path: string, options: Options): Effect.Effect<Process, BenchError, Scope.Scope> =>
  run(
    options,
    (stdout, stderr) =>
      fork(path, { detached: true, env: options.env, execArgv: [], stdio: ["ignore", stdout, stderr, "ipc"] })
  )

let started = 0

const run = (options: Options, open: (stdout: number, stderr: number) => ChildProcess) =>
  Effect.acquireRelease(
    Effect.async<Process, BenchError>((resume) => {
      const path = join(options.folder, `${++started}-${options.name.replace(/[^\w-]/g, "_")}`)
      const output = `${path}.out`
      const log = `${path}.log`
      const [stdout, stderr] = [openSync(output, "w"), openSync(log, "w")]
      const startedAt = performance.now()
      const child = open(stdout, stderr)
      closeSync(stdout)
      closeSync(stderr)
      child.once("error", (error) =>
        resume(new BenchError({ message: `${options.name} cannot be started: ${error.message}` })))
      child.once("spawn", () => {
        const { name } = options
        resume(Effect.succeed({ name, pid: child.pid!, child, startedAt, output, log }))
      })
    }),
    (program) =>
      Effect.gen(function*() {
        // Those that have workers end them first, and so they are nobody's zombies.
        program.child.kill("SIGTERM")
        // A release cannot be interrupted, and what cannot be is waited for beyond its time.
        yield* Effect.timeoutOption(Effect.interruptible(exited(program)), endMs)
        yield* Effect.sync(() =>
          killGroup(program)
        )
        yield* exited(program)
      })
  )

/** How long a program may take to end by itself. */
const endMs = 500

/** How long a program may take to start or to answer: a bound for what hangs, not for what is slow on a busy machine. */
export const patienceMs = 180_000

const hasEnded = ({ child }: Process) => child.exitCode !== null || child.signalCode !== null

const exited = (program: Process) =>
  Effect.async<void>((resume) => {
    if (hasEnded(program)) {
      return resume(Effect.void)
    }
    const onExit = () => resume(Effect.void)
    program.child.once("exit", onExit)
    return Effect.sync(() => program.child.off("exit", onExit))
  })

const killGroup = ({ pid }: Process) => {
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // All of the group has ended.
  }
}

/** How a program ended, if it has. */
export const ending = (program: Process): string | undefined => {
  const { child, log, name } = program
  return hasEnded(program)
    ? `${name} ended with ${child.signalCode ?? `exit code ${child.exitCode}`}; its log: ${log}${lastLine(log)}`
    : undefined
}

const lastLine = (path: string) => {
  const line = readFileSync(path, "utf8").trim().split("\n").at(-1) ?? ""
  return line === "" ? "" : ` (${line.slice(0, 200)})`
}

/** Waits for its end, which must be a success, and says how many milliseconds it has run. */
export const ended = (program: Process, timeoutMs: number): Effect.Effect<number, BenchError> =>
  exited(program).pipe(
    Effect.map(() => performance.now() - program.startedAt),
    Effect.filterOrFail(
      () => program.child.exitCode === 0,
      () => new BenchError({ message: ending(program)! })
    ),
    inTime(program, "ending", timeoutMs)
  )

/**
 * Waits until its stdout matches, and says after how many milliseconds it did. The stdout must be read here; what comes
 * later is read and dropped.
 */
export const matching = (
  program: Process,
  what: string,
  timeoutMs: number,
  pattern: RegExp
): Effect.Effect<{ readonly match: RegExpExecArray; readonly ms: number }, BenchError> =>
  Effect.async<{ readonly match: RegExpExecArray; readonly ms: number }, BenchError>((resume) => {
    const { child } = program
    const stdout = child.stdout!
    if (hasEnded(program)) {
      return resume(Effect.suspend(() => new BenchError({ message: ending(program)! })))
    }
    let text = ""
    const onData = (chunk: Buffer) => {
      text += chunk.toString("latin1")
      const match = pattern.exec(text)
      if (match !== null) {
        stop()
        resume(Effect.succeed({ match, ms: performance.now() - program.startedAt }))
      }
    }
    const onClose = () => {
      stop()
      resume(Effect.suspend(() => new BenchError({ message: ending(program)! })))
    }
    const stop = () => {
      stdout.off("data", onData).resume()
      child.off("close", onClose)
    }
    stdout.on("data", onData)
    child.once("close", onClose)
    return Effect.sync(stop)
  }).pipe(inTime(program, what, timeoutMs))

/** Looks every few milliseconds until there is something, for as long as the program lives and the time lasts. */
export const until = <A>(
  program: Process,
  what: string,
  timeoutMs: number,
  look: Effect.Effect<A | undefined>
): Effect.Effect<A, BenchError> =>
  Effect.gen(function*() {
    while (true) {
      const found = yield* look
      if (found !== undefined) {
        return found
      }
      const end = ending(program)
      if (end !== undefined) {
        return yield* new BenchError({ message: end })
      }
      yield* Effect.sleep(20)
    }
  }).pipe(inTime(program, what, timeoutMs))

const inTime = (program: Process, what: string, timeoutMs: number) =>
  Effect.timeoutFail({
    duration: timeoutMs,
    onTimeout: () =>
      new BenchError({
        message: `${program.name}: ${what} did not happen in ${timeoutMs} ms; its log: ${program.log}`
      })
  })
