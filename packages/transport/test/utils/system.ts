/** What Linux tells about the sockets of this process, and bounded waiting. */
import { Effect } from "effect"
import * as Fs from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

const patienceMs = 60_000

/** Fails with what was awaited if it does not come true; polls, because the system does not call back. */
export const eventually = (awaited: string, condition: () => boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    const deadline = Date.now() + patienceMs
    while (!condition()) {
      if (Date.now() > deadline) {
        return yield* Effect.die(new Error(`not within ${patienceMs} ms: ${awaited}`))
      }
      yield* Effect.sleep(2)
    }
  })

/** Lets the event loop handle everything that is ready now. */
export const turns = (count = 5) =>
  Effect.async<void>((resume) => {
    const turn = (left: number) => left === 0 ? resume(Effect.void) : setImmediate(() => turn(left - 1))
    turn(count)
  })

export interface OpenDescriptor {
  readonly number: number
  /** What it is: `socket:[inode]`, `pipe:[inode]`, `anon_inode:[eventpoll]`, a path. Source: proc(5), /proc/PID/fd. */
  readonly link: string
}

/** What a process has open, this one if no other is named. */
export const openDescriptors = (pid: number | undefined = process.pid): ReadonlyArray<OpenDescriptor> => {
  const open: Array<OpenDescriptor> = []
  for (const name of Fs.readdirSync(`/proc/${pid}/fd`)) {
    try {
      open.push({ number: Number(name), link: Fs.readlinkSync(`/proc/${pid}/fd/${name}`) })
    } catch {
      // The descriptor of the directory listing itself is gone by now.
    }
  }
  return open
}

/** Sockets this process has open, listening ones too. */
export const openSockets = () => openDescriptors().filter(({ link }) => link.startsWith("socket:")).length

/** The kernel's view of one end of a TCP connection. Source: proc_net_tcp.rst of the kernel. */
export interface KernelSocket {
  /** Bytes written and not yet acknowledged. */
  readonly sending: number
  /** Bytes received and not yet read. */
  readonly unread: number
  /** 2: a timer that is neither a retransmission nor TIME_WAIT runs, on an idle connection the keep-alive. */
  readonly timer: number
  readonly timerMs: number
}

export const kernelSocket = (localPort: number, remotePort: number): KernelSocket | undefined => {
  const port = (address: string) => Number.parseInt(address.slice(address.lastIndexOf(":") + 1), 16)
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of Fs.readFileSync(table, "utf8").split("\n").slice(1, -1)) {
      const [, local, remote, , queues, timer] = line.trim().split(/\s+/)
      if (port(local!) === localPort && port(remote!) === remotePort) {
        const [sending, unread] = queues!.split(":").map((hex) => Number.parseInt(hex, 16))
        const [kind, ticks] = timer!.split(":").map((hex) => Number.parseInt(hex, 16))
        return { sending: sending!, unread: unread!, timer: kind!, timerMs: ticks! * 10 }
      }
    }
  }
  return undefined
}

/** Connections of a listening port of 127.0.0.1, those that nobody has accepted included. */
export const socketsAt = (listeningPort: number): number => {
  const listening = `0100007F:${listeningPort.toString(16).toUpperCase().padStart(4, "0")}`
  const established = "01"
  // While others come and go, the listing may show one twice.
  const remotes = new Set<string>()
  for (const line of Fs.readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1, -1)) {
    const [, local, remote, state] = line.trim().split(/\s+/)
    if (local === listening && state === established) {
      remotes.add(remote!)
    }
  }
  return remotes.size
}

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

/** Bytes of all buffers that something still refers to. */
export const bufferBytes = () => {
  collectGarbage()
  // Buffers are freed in the background; a second collection waits for that of the first.
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}
