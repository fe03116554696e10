/**
 * One simulation: a whole relay on the kernel transport, its workers, and the other ends of its connections, in one process and
 * under one seed, which decides who acts next and when time goes by. After each step all invariants have to hold.
 */
import { CertDigest, Handshake, Identity } from "@tx3/protocol"
import {
  Access,
  Bandwidth,
  ControlSessions,
  Limiter,
  Listener,
  PendingSplices,
  Relay,
  RelayConfig,
  RelayError,
  RelayEvents,
  Splices,
  Statistics
} from "@tx3/relay"
import type { Stage } from "@tx3/relay/Accepted"
import { KernelTransport, Rate } from "@tx3/transport"
import type { Fiber } from "effect"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Scope } from "effect"
import { createHash } from "node:crypto"
import type { Duplex } from "node:stream"
import { Simulated } from "../../../../transport/src/internal/mainSystem.js"
import { SimulatedKernel } from "../../../../transport/test/utils/simulatedKernel.js"
import { Securing } from "../../../src/internal/securing.js"
import type { Script, Wait, World } from "./actors.js"
import { helloBytes, scriptOf } from "./actors.js"
import { Clients } from "./clients.js"
import { MainThread } from "./mainThread.js"
import type { Incident, Plan } from "./plan.js"
import { hosts, Random } from "./plan.js"
import { SimulatedSystem } from "./simulatedSystem.js"

export interface Outcome {
  readonly plan: Plan
  /** What is wrong; undefined if nothing is. */
  readonly failure: string | undefined
  readonly trace: ReadonlyArray<string>
  /** Of the trace. */
  readonly hash: string
  readonly steps: number
  /** How splices have ended. */
  readonly outcomes: Readonly<Record<string, number>>
}

/** Bounds of a simulation that does not come to its end. */
const stepsMax = 300_000
const msMax = 30 * 60_000
/** Real time until the relay is made. */
const startMs = 10_000

/** Within so long after its deadline a connection has to be closed: a deadline may be noticed a second late, and time jumps. */
const lateMs = 2_000

/** What a direction may keep beside its pipe. */
const bufferBytes = 16 * 1024

/** The stages that have a deadline. */
const bounded: ReadonlySet<Stage> = new Set(["preamble", "handshake", "pending"])

class Wrong extends Error {}

const identity = Effect.runPromise(Identity.generate)

const nodeDigest = (node: number) => new Uint8Array(32).fill(node + 1)

/** What a simulation has in place of TLS: a node says which it is. */
const secure = (stream: Duplex) =>
  Effect.acquireRelease(Effect.succeed(stream), () => Effect.sync(() => stream.destroy())).pipe(
    Effect.zipRight(Effect.async<Buffer, Handshake.HandshakeError>((resume) => {
      const stop = () => void stream.off("readable", look).off("end", closed).off("close", closed)
      const settle = (result: Effect.Effect<Buffer, Handshake.HandshakeError>) => {
        stop()
        resume(result)
      }
      const closed = () => settle(new Handshake.HandshakeError({ reason: "closed" }))
      const look = () => {
        const bytes: Buffer | null = stream.read(helloBytes)
        if (bytes !== null) {
          settle(
            bytes.length === helloBytes && bytes[0] === 1
              ? Effect.succeed(bytes)
              : new Handshake.HandshakeError({ reason: "failed" })
          )
        }
      }
      stream.on("readable", look).on("end", closed).on("close", closed)
      look()
      return Effect.sync(stop)
    })),
    Effect.map((bytes) => ({ socket: stream, digest: CertDigest.fromBytes(bytes.subarray(1)) }))
  )

class Simulation {
  private readonly random: Random
  private readonly kernel: SimulatedKernel
  private readonly main: MainThread
  private readonly system: SimulatedSystem
  private readonly clients: Clients
  private readonly world: World
  private readonly scripts: Array<{ readonly script: Script; wait: Wait }> = []
  private readonly incidents: Array<Incident>
  private readonly tokens = new Set<string>()
  private readonly trace: Array<string> = []
  private readonly outcomes: Record<string, number> = {}
  private readonly logged: Array<string> = []
  /** Splices that run, by the number of their peer's connection: its client. */
  private readonly splices = new Map<number, number>()
  private readonly completed = new Set<number>()
  private wrong: string | undefined
  private acting = false
  /** Whether something has happened that may end any splice without its ends. */
  private disturbed = false
  private steps = 0
  private isStopping = false
  private services: {
    readonly relay: typeof Relay.Relay.Service
    readonly listener: typeof Listener.Listener.Service
    readonly config: Mutable
  } | undefined
  private readonly drains: Array<Fiber.RuntimeFiber<void>> = []

  constructor(private readonly plan: Plan, private readonly relayIdentity: Identity.Identity) {
    const random = this.random = new Random(plan.seed ^ 0x5eed)
    const kernel = this.kernel = new SimulatedKernel(plan.limits)
    if (plan.partly) {
      kernel.partly = (bytes) => 1 + random.below(bytes)
    }
    kernel.choose = random.below
    this.main = new MainThread(() => kernel.nowMs)
    this.system = new SimulatedSystem(this.main, kernel, this.beforeCall, this.afterCall)
    this.clients = new Clients(kernel, () => this.system.listening)
    this.incidents = plan.incidents.toSorted((one, other) => one.atMs - other.atMs)
    this.world = {
      nowMs: () => kernel.nowMs,
      clients: this.clients,
      digestOf: nodeDigest,
      relay: CertDigest.toBytes(relayIdentity.digest),
      start: (script) => this.start(script),
      onToken: (token) => {
        if (this.tokens.has(token)) {
          this.wrong ??= "a token was sent twice"
        }
        this.tokens.add(token)
      }
    }
    for (const actor of plan.actors) {
      this.scripts.push({ script: scriptOf(this.world, actor, new Random(actor.seed)), wait: { atMs: actor.atMs } })
    }
  }

  private start(script: Script) {
    this.scripts.push({ script, wait: { atMs: this.kernel.nowMs } })
  }

  private note(line: string) {
    this.trace.push(`${this.kernel.nowMs} ${line}`)
  }

  // Between a worker's calls anything may happen.

  private readonly beforeCall = (name: string) => {
    if (!this.acting && this.plan.interrupting > 0 && this.random.chance(this.plan.interrupting)) {
      this.act()
    }
    if (failures[name] !== undefined && this.random.chance(this.plan.failing)) {
      this.disturbed = true
      return this.random.pick(failures[name])
    }
    return undefined
  }

  private readonly afterCall = (worker: number, name: string, args: ReadonlyArray<unknown>, result: unknown) => {
    const shown = args.filter((arg) => typeof arg === "number").join(" ")
    this.note(`worker ${worker}: ${name} ${shown} = ${typeof result === "number" ? result : typeof result}`)
  }

  private get readyScripts() {
    const { nowMs } = this.kernel
    return this.scripts.filter(({ wait: { atMs, until } }) => atMs <= nowMs || until?.() === true)
  }

  /** Lets one of the clients that have something to do do it. Returns whether there was one. */
  private act(): boolean {
    const ready = this.readyScripts
    if (ready.length === 0) {
      return false
    }
    this.acting = true
    const entry = this.random.pick(ready)
    const next = entry.script.next()
    this.note(`client ${this.scripts.indexOf(entry)}`)
    if (next.done === true) {
      this.scripts.splice(this.scripts.indexOf(entry), 1)
    } else {
      entry.wait = next.value
    }
    this.acting = false
    return true
  }

  // The relay.

  private readonly publish = (event: RelayEvents.RelayEvent) => {
    if (event._tag === "SpliceBegan") {
      const connection = Array.from(this.services!.listener.connections()).find(({ id }) => id === event.connection)
      const client = this.clients.byPort(connection!.socket.remotePort)
      this.splices.set(event.connection, client!.number)
    } else if (event._tag === "SpliceEnded") {
      this.outcomes[event.outcome] = (this.outcomes[event.outcome] ?? 0) + 1
      const client = this.splices.get(event.connection)!
      this.note(`splice of client ${client}: ${event.outcome} ${event.fromLeft} ${event.fromRight}`)
      if (event.outcome === "completed") {
        this.completed.add(client)
      } else if (event.outcome === "reset") {
        this.checkReset(client)
      }
    } else if (event._tag !== "Carried") {
      this.note(`${event._tag} ${event.connection}`)
    }
  }

  /** A splice may end by a reset only if one of its ends has reset it, or something has disturbed it. */
  private checkReset(number: number) {
    const client = this.clients.all[number]!
    const other = this.clients.otherOf(client)
    if (!this.disturbed && !client.isGone && other !== undefined && !other.isGone) {
      this.wrong ??= `the splice of ${client.name} with ${other.name} is reset, and neither has reset it`
    }
  }

  private get layer() {
    const { plan, random } = this
    const answer = (host: string): Effect.Effect<void, RelayError.Rejected> => {
      const verdict = host === hosts[2] && random.chance(0.3)
        ? Effect.fail(new RelayError.Rejected({ reason: "denied" }))
        : Effect.void
      return plan.slowPolicies && random.chance(0.5)
        ? Effect.zipRight(Effect.sleep(random.size(100)), Effect.suspend(() => verdict))
        : verdict
    }
    const access = Layer.succeed(Access.Access, {
      controlStream: answer,
      node: (_, host) => answer(host),
      peer: (_, host) => answer(host)
    })
    const shared = Rate.make(plan.rates ? 50_000 : undefined)
    const bandwidth = plan.rates
      ? Layer.succeed(Bandwidth.Bandwidth, {
        join: () => ({ rates: random.pick([[], [shared], [shared, Rate.make(20_000)]]), leave: () => {} })
      })
      : Bandwidth.layerUnlimited
    const events = Layer.succeed(RelayEvents.RelayEvents, { publish: this.publish })
    return Relay.layerNoDependencies.pipe(
      Layer.provideMerge(Listener.layer),
      Layer.provide([ControlSessions.layer, PendingSplices.layer, Splices.layer]),
      Layer.provide([Limiter.layer, Statistics.layer]),
      Layer.provide([access, bandwidth, events]),
      Layer.provide(KernelTransport.layer({ threads: plan.threads })),
      Layer.provide([Layer.succeed(Simulated, this.system), Layer.succeed(Securing, secure)]),
      Layer.provideMerge(
        RelayConfig.layer({
          bind: ["tx3-rst://192.0.2.100:38141"],
          identity: this.relayIdentity,
          connectionRatePerIp: 1_000_000,
          maxInboundConnections: 64,
          maxInboundPerIp: plan.maxInboundPerIp,
          maxRelaysPerControl: 4,
          maxHandshakesPerIp: 3,
          connectionTimeoutMs: 5_000,
          controlWriteTimeoutMs: 2_000,
          drainTimeoutMs: 3_000,
          idleTimeoutMs: 30_000,
          lingerTimeoutMs: 10_000
        })
      ),
      Layer.provide(Logger.minimumLogLevel(LogLevel.Warning))
    )
  }

  private readonly logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error)) {
      this.logged.push(`${String(message)} ${Cause.pretty(cause)}`)
    }
  })

  private fork<A>(effect: Effect.Effect<A>) {
    const simulated = effect.pipe(
      Effect.provide(Logger.replace(Logger.defaultLogger, this.logger)),
      Effect.withClock(this.main.clock)
    )
    return Effect.runFork(simulated, { scheduler: this.main.scheduler })
  }

  /** Runs the main thread alone until a fiber is over; what it waits for is real. */
  private async until<A>(fiber: Fiber.RuntimeFiber<A>): Promise<A> {
    const begin = performance.now()
    for (;;) {
      await this.main.settle()
      const exit = fiber.unsafePoll()
      if (exit !== null) {
        return Exit.match(exit, {
          onSuccess: (value) => value,
          onFailure: (cause) => {
            throw new Wrong(Cause.pretty(cause))
          }
        })
      }
      if (this.main.isRunnable) {
        await this.main.step(() => 0)
      }
      if (performance.now() - begin > startMs) {
        throw new Wrong("the relay does not start")
      }
    }
  }

  private get isRunnable() {
    return this.main.isRunnable || this.system.workers.some(({ isRunnable }) => isRunnable)
  }

  /** One step of somebody, or time goes by. Returns false if nothing can happen any more. */
  private async step(withClients: boolean): Promise<boolean> {
    if (++this.steps > stepsMax) {
      throw new Wrong(`it is not over after ${stepsMax} steps`)
    }
    const { kernel, main, random } = this
    if (this.incidents[0] !== undefined && this.incidents[0].atMs <= kernel.nowMs) {
      this.happen(this.incidents.shift()!)
    }
    const workers = this.system.workers.filter(({ isRunnable }) => isRunnable)
    const hasClients = withClients && this.readyScripts.length > 0
    const actors = (main.isRunnable ? 1 : 0) + workers.length + (hasClients ? 1 : 0)
    if (actors === 0 || random.chance(0.01)) {
      return this.passTime(withClients, actors > 0)
    }
    let chosen = random.below(actors)
    if (hasClients && chosen-- === 0) {
      this.act()
    } else if (main.isRunnable && chosen-- === 0) {
      const kind = await main.step(random.below)
      this.note(`main: ${kind}`)
      if (!this.isStopping) {
        this.checkRelay()
      }
    } else {
      const worker = workers[chosen]!
      this.note(`worker ${worker.data.owner}: turn`)
      worker.step()
    }
    this.check()
    return true
  }

  /** Lets time go by: to the next moment at which something happens, or a little of it while others are busy. */
  private passTime(withClients: boolean, isBusy: boolean): boolean {
    const { kernel, main } = this
    const next = Math.min(
      main.nextMs(),
      ...this.system.workers.map((worker) => worker.nextMs()),
      ...(withClients ? this.scripts.map(({ wait }) => wait.atMs) : []),
      ...(withClients && this.incidents[0] !== undefined ? [this.incidents[0].atMs] : [])
    )
    if (next === Infinity) {
      return isBusy
    }
    const problem = isBusy || this.disturbed || this.plan.rates ? undefined : this.clients.checkSettled()
    if (problem !== undefined) {
      throw new Wrong(problem)
    }
    const ms = Math.max(0, next - kernel.nowMs)
    kernel.pass(isBusy ? Math.min(ms, this.random.size(20)) : ms)
    if (kernel.nowMs > msMax) {
      throw new Wrong(`it is not over after ${msMax / 60_000} minutes`)
    }
    this.checkDeadlines()
    return true
  }

  private happen(incident: Incident) {
    const random = new Random(incident.seed)
    const { config, relay } = this.services!
    this.note(`incident: ${incident.is}`)
    switch (incident.is) {
      case "reload": {
        config.maxRelaysPerControl = 1 + random.below(6)
        config.maxInboundPerIp = 1 + random.below(20)
        config.connectionTimeoutMs = 500 + random.below(10_000)
        config.idleTimeoutMs = random.pick([undefined, 1_000, 60_000])
        config.lingerTimeoutMs = 500 + random.below(20_000)
        return
      }
      case "kick": {
        const chosen = <A>(all: Iterable<A>) => Array.from(all).filter(() => random.chance(0.3))
        this.disturbed = true
        chosen(relay.controlStreams()).forEach((session) => session.end("kicked"))
        this.fork(Effect.forEach(chosen(relay.splices()), ({ reset }) => reset, { discard: true }))
        return
      }
      case "killWorker": {
        const alive = this.system.workers.filter(({ isOver }) => !isOver)
        this.disturbed = true
        if (alive.length > 0) {
          random.pick(alive).end(new Error("killed"))
        }
        return
      }
      case "drain": {
        this.drains.push(this.fork(relay.drain))
      }
    }
  }

  private check() {
    const problem = this.wrong ?? this.clients.check() ?? this.checkBounds() ?? this.checkLog()
    if (problem !== undefined) {
      throw new Wrong(problem)
    }
  }

  /** Errors are logged of defects, and of workers that die. */
  private checkLog() {
    return this.logged.find((line) => !(line.startsWith("a thread of the kernel transport") && this.disturbed))
  }

  private checkRelay() {
    const [problem] = Effect.runSync(this.services!.relay.inconsistencies)
    if (problem !== undefined) {
      throw new Wrong(`the relay's counts differ: ${problem}`)
    }
  }

  /** A direction keeps a pipe and a buffer at most. */
  private checkBounds(): string | undefined {
    for (const client of this.clients.all) {
      const other = client.from === undefined ? undefined : this.clients.all[client.from]
      if (
        other !== undefined && client.ending === undefined && other.ending === undefined && !client.isGone &&
        !other.isGone
      ) {
        const inside = other.taken - 32 - client.given
        if (inside > this.plan.limits.pipeMax + bufferBytes) {
          return `${inside} bytes of ${other.name} are inside of the relay`
        }
      }
    }
    return undefined
  }

  private checkDeadlines() {
    const { config, listener } = this.services!
    const nowMs = this.kernel.nowMs
    for (const { id, sinceMonotonicMs, stage } of listener.connections()) {
      if (bounded.has(stage) && nowMs - sinceMonotonicMs > longestTimeoutMs + lateMs) {
        throw new Wrong(
          `connection ${id} is in the stage ${stage} ${nowMs - sinceMonotonicMs} ms after its accept; ` +
            `connectionTimeoutMs is ${config.connectionTimeoutMs}`
        )
      }
    }
  }

  /** Steps until the condition holds. */
  private async stepUntil(what: string, holds: () => boolean, withClients: boolean) {
    while (!holds()) {
      if (!await this.step(withClients) && !holds()) {
        throw new Wrong(`nothing can happen any more, and ${what} is still to come`)
      }
    }
  }

  private async play() {
    const scope = await this.until(this.fork(Scope.make()))
    const context = await this.until(this.fork(Effect.orDie(Layer.buildWithScope(this.layer, scope))))
    const [relay, listener, config] = await this.until(this.fork(
      Effect.provide(Effect.all([Relay.Relay, Listener.Listener, RelayConfig.RelayConfig]), context) as Effect.Effect<
        [typeof Relay.Relay.Service, typeof Listener.Listener.Service, typeof RelayConfig.RelayConfig.Service],
        never
      >
    ))
    this.services = { relay, listener, config }
    this.trace.length = 0

    // Some relays are stopped in the midst of it.
    const stopsAtMs = this.random.chance(0.2) ? this.random.size(20_000) : Infinity
    await this.stepUntil(
      "the end of the clients",
      () => this.kernel.nowMs >= stopsAtMs || this.scripts.length === 0 && this.incidents.length === 0,
      true
    )
    if (stopsAtMs === Infinity) {
      await this.stepUntil(
        "the end of all connections",
        () => Array.from(listener.connections()).length === 0 && !this.isRunnable,
        true
      )
      this.checkRelay()
      this.checkCompleted()
      const left = this.kernel.openKinds().filter((kind) => kind !== "event" && kind !== "listener")
      if (left.length > 0) {
        throw new Wrong(`left open: ${left.join(", ")}`)
      }
    } else {
      this.disturbed = true
    }
    this.note("stops")
    // It ends both connections of each splice by themselves then, so the counts differ until the last has ended.
    this.isStopping = true
    const closing = this.fork(Scope.close(scope, Exit.void))
    await this.stepUntil("the end of the relay", () => closing.unsafePoll() !== null, true)
    for (const drain of this.drains) {
      await this.stepUntil("the end of a drain", () => drain.unsafePoll() !== null, true)
    }
    await this.stepUntil("the end of the clients", () => this.scripts.length === 0, true)
    const left = this.kernel.openKinds()
    if (left.length > 0) {
      throw new Wrong(`left open by a relay that has stopped: ${left.join(", ")}`)
    }
    const open = this.clients.all.find(({ ending, isGone }) => ending === undefined && !isGone)
    if (open !== undefined) {
      throw new Wrong(`${open.name} has not seen an end`)
    }
  }

  /** Of a splice that is said to have completed, both ends have everything, unless they have gone themselves. */
  private checkCompleted() {
    for (const number of this.completed) {
      const client = this.clients.all[number]!
      const other = this.clients.otherOf(client)
      for (const [to, from] of other === undefined ? [] : [[client, other], [other, client]] as const) {
        if (!to.isGone && (to.received !== from.sent || to.ending !== "end")) {
          throw new Wrong(
            `the splice of ${to.name} has completed, which has ${to.received} of ${from.sent} bytes of ${from.name} and ` +
              `sees ${to.ending ?? "no end"}`
          )
        }
      }
    }
  }

  async run(): Promise<Outcome> {
    const exitListeners = process.listeners("exit")
    let failure: string | undefined
    try {
      await this.play()
    } catch (error) {
      failure = error instanceof Wrong ? error.message : String((error as Error).stack)
    } finally {
      this.main.giveBack()
      // Those of a relay that was left in the midst of it.
      for (const listener of process.listeners("exit").filter((listener) => !exitListeners.includes(listener))) {
        process.off("exit", listener)
      }
    }
    const { outcomes, plan, steps, trace } = this
    return { plan, failure, trace, hash: createHash("sha256").update(trace.join("\n")).digest("hex"), steps, outcomes }
  }
}

type Mutable = {
  -readonly [Key in keyof typeof RelayConfig.RelayConfig.Service]: (typeof RelayConfig.RelayConfig.Service)[Key]
}

/** The longest that a reload sets. */
const longestTimeoutMs = 10_500

/** What a call may fail with: EMFILE, ENFILE, ECONNABORTED, ENOMEM, EINTR, ENOBUFS, ENOSPC. */
const failures: Readonly<Record<string, ReadonlyArray<number>>> = {
  accept: [-24, -23, -103, -12, -4],
  receive: [-12],
  send: [-12, -105],
  fill: [-12],
  drain: [-12],
  watchConnection: [-12, -28]
}

export const run = async (plan: Plan): Promise<Outcome> => new Simulation(plan, await identity).run()
