/**
 * Networks that a test can break: this process moves into a network namespace of its own, and other machines are joined
 * to it by one cable each. Needs root, iproute2, iptables and util-linux. A namespace ends with the last process in it,
 * so a test that is killed leaves nothing behind.
 */
import { Effect, Exit, Scope } from "effect"
import koffi from "koffi"
import type { ChildProcess } from "node:child_process"
import { execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"

const run = (command: string, ...args: ReadonlyArray<string>) => execFileSync(command, args, { stdio: "pipe" })

/**
 * Whether this process may make network namespaces and set up what is in them. Where all that tests need is required
 * (`withPrograms`), it must.
 */
export const networksWork = (() => {
  if (process.platform !== "linux") {
    return false
  }
  try {
    run(
      "unshare",
      "-n",
      "sh",
      "-c",
      "ip link set lo up && ip link add cable1 type veth peer name cable2 && iptables -S"
    )
    return true
  } catch (error) {
    if (process.env["TX3_TEST_PROGRAMS"] === "required") {
      throw error
    }
    return false
  }
})()

const newNetwork = 0x40000000
const libc = koffi.load(null)
const unshare = libc.func("int unshare(int flags)") as (flags: number) => number
const setns = libc.func("int setns(int fd, int type)") as (fd: number, type: number) => number

const orDie = (what: string, result: number) =>
  result === 0 ? Effect.void : Effect.dieMessage(`${what}: errno ${koffi.errno()}`)

/** Brings this thread back into the network where it is now. */
const returning = (enter: Effect.Effect<void>) =>
  Effect.acquireRelease(
    Effect.tap(Effect.sync(() => Fs.openSync("/proc/self/ns/net", "r")), enter),
    (before) =>
      Effect.suspend(() => orDie("setns", setns(before, newNetwork))).pipe(
        Effect.ensuring(Effect.sync(() => Fs.closeSync(before)))
      )
  )

/** Moves this thread, and what it starts, into a network namespace of its own, until the scope closes. */
export const ownNetwork: Effect.Effect<void, never, Scope.Scope> = Effect.asVoid(
  returning(
    Effect.zipRight(
      Effect.suspend(() => orDie("unshare", unshare(newNetwork))),
      Effect.sync(() => run("ip", "link", "set", "lo", "up"))
    )
  )
)

/** A machine at the other end of a cable. */
export interface Machine {
  /** Its address, and this process' own at this end of the cable. */
  readonly host: string
  readonly here: string
  /** Starts a program on it, which ends with the machine. */
  readonly spawn: (command: string, ...args: ReadonlyArray<string>) => ChildProcess
  /**
   * Connects from it: sockets that this thread opens meanwhile are this machine's, for as long as they are open. Nothing
   * else may open sockets at the same time.
   */
  readonly inside: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** From now on nothing that it sends arrives anywhere, and it hears nothing: its power has failed. */
  readonly powerOff: () => void
  /** Takes the cable's other end out: this end has no carrier any more. */
  readonly unplug: () => void
}

let machines = 0

/** Adds a machine to this process' network, until the scope closes. `ownNetwork` comes first. */
export const machine: Effect.Effect<Machine, never, Scope.Scope> = Effect.gen(function*() {
  const number = ++machines
  const [here, host, cable] = [`10.77.${number}.1`, `10.77.${number}.2`, `cable${number}`]
  const started: Array<ChildProcess> = []
  const holder = yield* Effect.acquireRelease(
    Effect.sync(() => spawn("unshare", ["-n", "sh", "-c", "echo ready; exec sleep 600"], { stdio: "pipe" })),
    (holder) =>
      Effect.sync(() => {
        for (const child of [...started, holder]) {
          child.kill("SIGKILL")
        }
      })
  )
  yield* Effect.async<void>((resume) => {
    holder.stdout.once("data", () => resume(Effect.void))
  })
  const inside = ["-t", String(holder.pid), "-n"]
  run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", String(holder.pid))
  run("ip", "addr", "add", `${here}/24`, "dev", cable)
  run("ip", "link", "set", cable, "up")
  run("nsenter", ...inside, "ip", "addr", "add", `${host}/24`, "dev", "eth0")
  run("nsenter", ...inside, "ip", "link", "set", "eth0", "up")
  run("nsenter", ...inside, "ip", "link", "set", "lo", "up")
  return {
    here,
    host,
    inside: (effect) =>
      Effect.acquireUseRelease(
        Effect.flatMap(Scope.make(), (scope) =>
          returning(
            Effect.acquireUseRelease(
              Effect.sync(() => Fs.openSync(`/proc/${holder.pid}/ns/net`, "r")),
              (network) => Effect.suspend(() => orDie("setns", setns(network, newNetwork))),
              (network) => Effect.sync(() => Fs.closeSync(network))
            )
          ).pipe(Scope.extend(scope), Effect.as(scope))),
        () => effect,
        (scope) => Scope.close(scope, Exit.void)
      ),
    spawn: (command, ...args) => {
      const child = spawn("nsenter", [...inside, command, ...args], { stdio: "pipe" })
      started.push(child)
      return child
    },
    powerOff: () => {
      run("nsenter", ...inside, "iptables", "-I", "INPUT", "-i", "eth0", "-j", "DROP")
      run("nsenter", ...inside, "iptables", "-I", "OUTPUT", "-o", "eth0", "-j", "DROP")
    },
    unplug: () => run("nsenter", ...inside, "ip", "link", "set", "eth0", "down")
  }
})
