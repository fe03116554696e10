/**
 * A setup file of vitest's: fails a test file that leaves something open in the process that ran it, such as a socket, a
 * server, a child process or a timer, and names it. The next file in that process starts with this count, so that only the
 * file fails that left it.
 */
import * as net from "node:net"
import { afterAll } from "vitest"

/** Handles by their kind, as Node names them. Node lists those that keep a process alive. */
type Counts = ReadonlyMap<string, number>

const counts = (): Counts => {
  const found = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) {
    found.set(kind, (found.get(kind) ?? 0) + 1)
  }
  return found
}

const key = Symbol.for("@tx3/testing/openHandles")
const globals = globalThis as { [key]?: Counts }

// Vitest's channel, and the standard streams, which a process opens when it first uses them, are the process's own.
void [process.stdin, process.stdout, process.stderr]
globals[key] ??= new Map(Array.from(counts()).filter(([kind]) => kind === "PipeWrap"))

/** How many handles of each kind were opened since, as text. */
const opened = (before: Counts) =>
  Array.from(counts(), ([kind, count]) => ({ kind, count: count - (before.get(kind) ?? 0) }))
    .filter(({ count }) => count > 0)
    .map(({ count, kind }) => count === 1 ? kind : `${count} ${kind}`)
    .sort()

const handles = () =>
  (process as unknown as { readonly _getActiveHandles: () => ReadonlyArray<object> })._getActiveHandles()

const earlier = new WeakSet(handles())

/** The addresses of sockets and servers that this file opened, to find them by. */
const places = () =>
  handles().filter((handle) => !earlier.has(handle))
    .flatMap((handle) =>
      handle instanceof net.Server
        ? [`server ${JSON.stringify(handle.address())}`]
        : handle instanceof net.Socket && handle.remotePort !== undefined
        ? [`socket ${handle.localAddress}:${handle.localPort} to ${handle.remoteAddress}:${handle.remotePort}`]
        : []
    )

/** How long handles that are closing get for it, on a busy machine. */
const patienceMs = 10_000

// The hooks of a file end in the reverse order, so this is the last of them.
afterAll(async () => {
  const before = globals[key]!
  const deadline = performance.now() + patienceMs
  while (opened(before).length > 0 && performance.now() < deadline) {
    // Without keeping the process alive: it would count itself.
    await new Promise((resolve) => setTimeout(resolve, 5).unref())
  }
  const left = opened(before)
  if (left.length > 0) {
    globals[key] = counts()
    throw new Error(`this file leaves open: ${[left.join(", "), ...places().slice(0, 5)].join("; ")}`)
  }
}, 2 * patienceMs)
