/**
 * Runs the built programs as a shell does, and waits for what they say. Each is killed with the scope it was started in.
 */
import { assert } from "@effect/vitest"
import { Data, Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import { bundledExamples, executables } from "./Programs.js"

/** The file that starts a program, as npm installs it. */
export const bin = (name: string) => fileURLToPath(new URL(`../../${name}/bin/${name}.cjs`, import.meta.url))

/** The two words that start a program: Node and that file, or `env` and an executable. */
export const commandOf = (name: "tx3" | "tx3-relay"): readonly [string, string] => {
  const folder = process.env[executables]
  return folder === undefined
    ? [process.execPath, bin(name)]
    : ["env", join(folder, `${name}-${process.platform}-${process.arch}`)]
}

/** An example's module, by its path in the repository, or the same from the bundle. */
export const exampleModule = (path: string) => {
  const folder = process.env[bundledExamples]
  return folder === undefined ? path : join(folder, path.replace(/\.js$/, ".mjs"))
}

/** The relay's file that the original made, and the digest of the certificate in it. */
export const upstreamFile = fileURLToPath(new URL("../fixtures/upstream-relay-init.yml", import.meta.url))
export const upstreamDigest = "fhrY_juNo5Z1o_5snJVbl-MsWlGTpvphz3dZf7sUkbo"

/** How a program ended, and all it said. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
}

export interface Program {
  readonly pid: number
  readonly stdin: Writable
  /** Stops reading its stdout, which fails its writes. */
  readonly closeStdout: () => void
  readonly kill: (signal: NodeJS.Signals) => void
  /** Waits until what it said so far matches. */
  readonly untilStdout: (pattern: RegExp) => Effect.Effect<RegExpMatchArray, Unexpected>
  readonly untilStderr: (pattern: RegExp) => Effect.Effect<RegExpMatchArray, Unexpected>
  readonly ended: Effect.Effect<Ended>
}

/** A program that ended before it said what was waited for. */
export class Unexpected extends Data.TaggedError("Unexpected")<{ readonly message: string }> {}

export interface Options {
  readonly cwd?: string
  readonly env?: Record<string, string>
  /** Shell commands to run before it, as `umask 000` or `ulimit -f 1`. */
  readonly before?: string
  /** Nothing to read, unless it is given here or the program's `stdin` is used. */
  readonly stdin?: "pipe" | Uint8Array | string
}

export const start = (
  name: "tx3" | "tx3-relay",
  args: ReadonlyArray<string>,
  options: Options = {}
): Effect.Effect<Program, never, Scope.Scope> =>
  startCommand("sh", [
    "-c",
    `${options.before ?? ":"}; exec "$@"`,
    "sh",
    ...commandOf(name),
    ...args
  ], options)

/** Runs a shell script in which `tx3` and `tx3_relay` are the programs. */
export const startShell = (script: string, options: Options = {}) => {
  const [NODE, TX3] = commandOf("tx3")
  const [, TX3_RELAY] = commandOf("tx3-relay")
  return startCommand("sh", [
    "-c",
    `tx3() { "$NODE" "$TX3" "$@"; }; tx3_relay() { "$NODE" "$TX3_RELAY" "$@"; }; ${script}`
  ], { ...options, env: { ...options.env, NODE, TX3, TX3_RELAY } })
}

export const startCommand = (
  command: string,
  args: ReadonlyArray<string>,
  options: Options
): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(command, args, {
        cwd: options.cwd,
        // A relay has no admin server unless its test wants one. Nobody has a name.
        env: { ...process.env, TX3_RELAY_ADMIN: "off", TX3_KNOWN: "/dev/null", ...options.env },
        // A process group of its own, so that what a shell started ends with it.
        detached: true,
        stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"]
      })
      if (options.stdin !== undefined && options.stdin !== "pipe") {
        child.stdin!.end(options.stdin)
      }
      child.stdin?.on("error", () => {})
      return observe([command, ...args].join(" "), child)
    }),
    ({ ended, pid }) =>
      Effect.suspend(() => {
        try {
          process.kill(-pid, "SIGKILL")
        } catch {
          // All of it has ended.
        }
        return ended
      })
  )

const observe = (title: string, child: ChildProcess): Program => {
  const stdout: Array<Buffer> = []
  const stderr: Array<Buffer> = []
  let end: Ended | undefined
  const waiting = new Set<() => void>()
  const tell = () => Array.from(waiting).forEach((attempt) => attempt())
  const collect = (to: Array<Buffer>) => (chunk: Buffer) => {
    to.push(chunk)
    tell()
  }
  child.stdout!.on("data", collect(stdout))
  child.stderr!.on("data", collect(stderr))
  child.once("close", (code, signal) => {
    end = { code, signal, stdout: Buffer.concat(stdout), stderr: text(stderr) }
    tell()
  })

  /** Looks again whenever anything has happened. */
  const until = <A, E>(look: () => Effect.Effect<A, E> | undefined) =>
    Effect.async<A, E>((resume) => {
      const attempt = () => {
        const found = look()
        if (found !== undefined) {
          waiting.delete(attempt)
          resume(found)
        }
      }
      waiting.add(attempt)
      attempt()
      return Effect.sync(() => waiting.delete(attempt))
    })

  const untilText = (from: Array<Buffer>) => (pattern: RegExp) =>
    until<RegExpMatchArray, Unexpected>(() => {
      const match = text(from).match(pattern)
      return match !== null
        ? Effect.succeed(match)
        : end &&
          Effect.fail(new Unexpected({ message: `${title} ended (${end.code}) without ${pattern}:\n${text(stderr)}` }))
    })

  return {
    pid: child.pid!,
    stdin: child.stdin!,
    closeStdout: () => child.stdout!.destroy(),
    kill: (signal) => child.kill(signal),
    untilStdout: untilText(stdout),
    untilStderr: untilText(stderr),
    ended: until(() => end && Effect.succeed(end))
  }
}

const text = (chunks: ReadonlyArray<Buffer>) => Buffer.concat(chunks).toString()

/** Runs a program to its end. */
export const run = (name: "tx3" | "tx3-relay", args: ReadonlyArray<string>, options?: Options) =>
  Effect.scoped(Effect.flatMap(start(name, args, options), ({ ended }) => ended))

/** Runs a program that refuses its arguments: exit code 2, a message that includes this, and nothing on stdout. */
export const refused = (
  name: "tx3" | "tx3-relay",
  args: ReadonlyArray<string>,
  message: string
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const cwd = yield* temporaryFolder
    const { code, stderr, stdout } = yield* run(name, args, { cwd })
    assert.strictEqual(code, 2, stderr)
    assert.include(stderr, message)
    assert.strictEqual(stdout.toString(), "")
  }).pipe(Effect.scoped)

export const runShell = (script: string, options?: Options) =>
  Effect.scoped(Effect.flatMap(startShell(script, options), ({ ended }) => ended))

/** An empty folder, removed with the scope. */
export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-cli-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** A copy of the original's file, which only its owner may read. */
export const copyOfUpstreamFile = Effect.map(temporaryFolder, (folder) => {
  const file = join(folder, "tx3-relay.yml")
  copyFileSync(upstreamFile, file)
  chmodSync(file, 0o400)
  return file
})

/** A relay on 127.0.0.1, and the address it prints. */
export const startRelay = (env: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const file = yield* copyOfUpstreamFile
    const program = yield* start("tx3-relay", ["--config", file, "--bind", "tx3-rst://127.0.0.1:0"], { env })
    const [address] = yield* program.untilStdout(/tx3-rst:\S+/)
    return { address, program }
  })
