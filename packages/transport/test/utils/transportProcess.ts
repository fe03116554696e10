/** Starts transportProcess.mjs, and hears what it tells; it ends with the scope. */
import type { Transport } from "@tx3/transport"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { connect } from "./client.js"
import { eventually } from "./system.js"

export interface ProcessOptions {
  readonly transport: "auto" | "kernel" | "portable"
  readonly threads?: number
  /** `ulimit -n`. */
  readonly descriptors?: number
  /** Of those, how many are free when it is ready. */
  readonly freeDescriptors?: number
  /** No descriptor is free while the transport is built. */
  readonly starvedWhenBuilt?: boolean
  /** A module to load first. */
  readonly first?: string
}

interface Log {
  readonly level: string
  readonly message: string
}

interface Ready {
  readonly kind: "portable" | "kernel"
  readonly limit: number
  readonly port: number
}

interface Told {
  readonly acceptError?: string
  readonly ended?: Transport.SpliceOutcome
  readonly failed?: { readonly message: string; readonly tag: string }
  readonly log?: Log
  readonly ready?: Ready
}

const startProcess = ({ descriptors, first, ...options }: ProcessOptions) => {
  const limit = descriptors === undefined ? "" : `ulimit -n ${descriptors}; `
  const imports = first === undefined ? [] : ["--import", first]
  const child = spawn(
    "bash",
    ["-c", `${limit}exec "$0" "$@"`, process.execPath, ...imports, file, JSON.stringify(options)],
    { stdio: ["ignore", "ignore", "pipe", "ipc"] }
  )
  const heard: Array<Told> = []
  let errors = ""
  let exit: { readonly code: number | null; readonly signal: string | null } | undefined
  child.on("message", (told: Told) => heard.push(told))
  child.stderr!.on("data", (text: Buffer) => {
    errors += text.toString()
  })
  child.on("exit", (code, signal) => {
    exit = { code, signal }
  })

  /** What it has told of one thing. */
  const all = <Key extends keyof Told>(key: Key) => heard.flatMap((told) => told[key] === undefined ? [] : [told[key]])

  const firstOf = <Key extends keyof Told>(key: Key) =>
    eventually(`${key} from the process`, () => all(key).length > 0 || exit !== undefined).pipe(
      Effect.flatMap(() => {
        const [told] = all(key)
        return told === undefined
          ? Effect.dieMessage(`it ended with ${JSON.stringify(exit)}: ${errors}`)
          : Effect.succeed(told)
      })
    )

  return {
    all,
    child,
    errors: () => errors,
    exit: Effect.suspend(() => eventually("the process's end", () => exit !== undefined)).pipe(
      Effect.map(() => exit!)
    ),
    failed: firstOf("failed"),
    ready: firstOf("ready"),
    tell: (order: "exit" | "throw") => Effect.sync(() => child.send(order))
  }
}

export type TransportProcess = ReturnType<typeof startProcess>

const file = fileURLToPath(new URL("transportProcess.mjs", import.meta.url))

export const transportProcess = (options: ProcessOptions) =>
  Effect.acquireRelease(
    Effect.sync(() => startProcess(options)),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** A new connection to it that is served, or closed for want of descriptors. */
export const ask = (port: number) =>
  Effect.gen(function*() {
    const client = yield* connect({ host: "127.0.0.1", port })
    client.socket.write(Buffer.alloc(32))
    yield* client.until("an answer or the end", () => client.socket.bytesRead > 0 || client.ending !== undefined)
    return { answered: client.socket.bytesRead === 2, client }
  })

let pairs = 0

/** Two clients that it splices. */
export const pairOf = (port: number, options: { readonly rightReads?: boolean } = {}) =>
  Effect.gen(function*() {
    const preamble = Buffer.alloc(32)
    preamble.writeUInt32LE(++pairs)
    const left = yield* connect({ host: "127.0.0.1", port })
    left.socket.write(preamble)
    const right = yield* connect({ host: "127.0.0.1", port }, options.rightReads ?? true)
    right.socket.write(preamble)
    return { left, right }
  })
