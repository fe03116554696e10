/**
 * `Transport` on Linux's splice(2): bytes go from socket to socket inside the kernel. Worker threads accept, read preambles,
 * watch for hang-ups and carry bytes; the main thread only decides, and touches no byte of a splice.
 *
 * The layer owns its threads, one or several. A thread that dies ends what it had, is reported, and is replaced. All of
 * them end with the layer, and with them every connection that is left.
 *
 * @since 0.1.0
 */
import { descriptorLimit } from "@tx3/sockets/DescriptorLimit"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { dial } from "./internal/dialing.js"
import type { Common, ThreadConnection } from "./internal/kernelThread.js"
import { KernelThread } from "./internal/kernelThread.js"
import type { MainSystem } from "./internal/mainSystem.js"
import { Simulated } from "./internal/mainSystem.js"
import { proxiesOf, refused } from "./internal/proxies.js"
import type { Proxies } from "./internal/proxyProtocol.js"
import type { Descriptor } from "./internal/system.js"
import { mainThread } from "./internal/system.js"
import * as Tcp from "./internal/tcp.js"
import type { Rate } from "./Rate.js"
import type { Carried, ListenOptions, Splice, SpliceOutcome, SpliceReport } from "./Transport.js"
import { AcceptError, ListenError, Transport } from "./Transport.js"

/**
 * The kernel transport does not work here.
 *
 * @since 0.1.0
 * @category errors
 */
export class KernelUnavailable extends Data.TaggedError("KernelUnavailable")<{
  readonly reason: string
  readonly cause?: unknown
}> {
  override get message() {
    return `the kernel transport is not available: ${this.reason}`
  }
}

/**
 * Pipes that may hold bytes at a time, in all: one for each direction whose receiver is slower than its sender. Directions
 * that get none move their bytes through a small buffer, at a higher cost. A sixteenth of all descriptors in pipes'
 * ends leaves fifteen for sockets.
 */
const pipesOf = (descriptors: number) => Math.min(1024, Math.floor(descriptors / 32))

/** Descriptor numbers beyond it are not used; it is what systemd and containers give at most. */
const descriptorsMax = 2 ** 20

interface Listening {
  readonly options: ListenOptions
  readonly proxies: Proxies | undefined
  readonly socket: Descriptor
}

const loadLinux: Effect.Effect<MainSystem, KernelUnavailable> = Effect.suspend(() => {
  if (process.platform !== "linux" || !["arm64", "x64"].includes(process.arch)) {
    return new KernelUnavailable({
      reason: `it is for Linux on x64 and arm64, not ${process.platform} ${process.arch}`
    })
  }
  return Effect.tryPromise({
    try: async () => (await import("./internal/linux.js")).linux,
    catch: (cause) =>
      new KernelUnavailable({
        reason: "the optional package koffi is not installed, or cannot be loaded; npm install koffi",
        cause
      })
  })
})

/** A thread that has died at once may do so again; not more than four times a second. */
const restartMs = 250

/** `EAGAIN`: the one thread has died, and the next has not started. */
const noThread = -11

/** A thread that does not stop within this time never will. */
const stopMs = 5_000

/** How long a process that exits waits for each thread to leave the kernel. */
const leaveMs = 1_000

const make = (threadCount: number): Effect.Effect<Transport["Type"], KernelUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const system = (yield* Simulated) ?? (yield* loadLinux)
    const descriptorCount = Math.min(descriptorsMax, Option.getOrElse(yield* descriptorLimit, () => descriptorsMax))
    const pipesMax = pipesOf(descriptorCount)
    const ledger = system.makeLedger(descriptorCount)
    const descriptors = system.descriptors(ledger)
    const listeners = new Map<number, Listening>()
    const numbers = new SpliceNumbers(Math.ceil(descriptorCount / 2))
    const threads = new Set<KernelThread>()
    const unavailable = yield* Deferred.make<never, KernelUnavailable>()
    let ready = false
    let lastListener = 0
    let lastOwner = 0
    let dialed = 0

    const common: Common = {
      system,
      descriptors,
      ledger,
      pipesMax: Math.floor(pipesMax / threadCount),
      carried: numbers.carried,
      onConnection: (listener, connection) => {
        const listening = listeners.get(listener)
        if (listening === undefined) {
          connection.closeNow()
        } else {
          listening.options.onConnection(connection)
        }
      },
      onAcceptFailed: (listener, negativeErrno) =>
        listeners.get(listener)?.options.onAcceptError(
          new AcceptError({ cause: system.systemError("accept", negativeErrno) })
        ),
      onRefused: (listener, address, problem) =>
        listeners.get(listener)?.options.onAcceptError(refused(address, problem))
    }

    const nextOwner = () => {
      do {
        lastOwner = lastOwner % (mainThread - 1) + 1
      } while (Array.from(threads).some(({ owner }) => owner === lastOwner))
      return lastOwner
    }

    const start = Effect.sync(() => {
      const over = Deferred.unsafeMake<unknown>(FiberId.none)
      const thread = new KernelThread(nextOwner(), common, (failure) => {
        threads.delete(thread)
        Deferred.unsafeDone(over, Exit.succeed(failure))
      })
      threads.add(thread)
      for (const [listener, { proxies, socket }] of listeners) {
        thread.accept(listener, socket, proxies)
      }
      return { over: Deferred.await(over), thread }
    })

    const stop = ({ over, thread }: Effect.Effect.Success<typeof start>) =>
      Effect.zipRight(Effect.sync(() => thread.stop()), orAbandon(over, () => [thread]))

    const oneThread = Effect.acquireUseRelease(
      start,
      ({ over }) =>
        Effect.flatMap(
          over,
          (failure) => report("a thread of the kernel transport died, and what it carried with it", failure)
        ),
      stop
    ).pipe(
      Effect.catchAllDefect((defect) => report("a thread of the kernel transport cannot start", defect)),
      Effect.zipRight(Effect.sleep(restartMs))
    )

    /** Before the transport is given out, its failure is the whole news. */
    const report = (what: string, cause: unknown) =>
      ready ? Effect.logError(what, cause) : Deferred.fail(unavailable, failedSelfTest(String(cause), cause))

    const listen = (options: ListenOptions) =>
      Effect.flatMap(proxiesOf(options), (proxies) => listenBehind(proxies, options))

    const listenBehind = (proxies: Proxies | undefined, options: ListenOptions) =>
      Effect.acquireRelease(
        Effect.try({
          try: () => {
            const { host, port, socket } = descriptors.listen(
              options.host,
              options.port,
              options.ipv6Only,
              Tcp.backlog
            )
            const listener = ++lastListener
            listeners.set(listener, { options, proxies, socket })
            threads.forEach((thread) => thread.accept(listener, socket, proxies))
            return { host, listener, port, socket }
          },
          catch: (cause) =>
            new ListenError({ host: options.host, port: options.port, cause: cause as NodeJS.ErrnoException })
        }),
        ({ listener, socket }) =>
          Effect.suspend(() => {
            listeners.delete(listener)
            const accepting = new Set(threads)
            const stopped = Effect.async<void>((resume) => {
              const check = () => accepting.size === 0 && resume(Effect.void)
              threads.forEach((thread) =>
                thread.stopAccepting(listener, () => {
                  accepting.delete(thread)
                  check()
                })
              )
              check()
            })
            return Effect.zipRight(
              orAbandon(stopped, () => accepting),
              Effect.sync(() => descriptors.close(socket))
            )
          })
      ).pipe(Effect.map(({ host, port }) => ({ host, port })))

    const connect = dial(({ first, host, port }, { connected, failed }) => {
      const thread = Array.from(threads)[++dialed % Math.max(1, threads.size)]
      if (thread === undefined) {
        failed(system.systemError("connect", noThread))
        return () => {}
      }
      return thread.dial(
        // As a worker's own keys, with the main thread as their owner.
        dialed * 256 + mainThread,
        { host, port, connected, failed: (negativeErrno) => failed(system.systemError("connect", negativeErrno)) },
        first
      )
    })

    const splice: Transport["Type"]["splice"] = (left, right, options, onEnd) => {
      const [kernelLeft, kernelRight] = [left as ThreadConnection, right as ThreadConnection]
      if (kernelLeft.isClosed || kernelRight.isClosed) {
        kernelLeft.resetNow()
        kernelRight.resetNow()
        queueMicrotask(() => onEnd({ ...nothing, outcome: "closed" }))
        return { carried: () => nothing, limit: () => {} }
      }
      const { thread } = kernelLeft
      const running = new RunningSplice(numbers, thread, onEnd)
      thread.splice(running, kernelLeft, kernelRight, options)
      return running
    }

    // Node ends its threads when the process exits, and waits for one that waits in the kernel: for ever. From version 24 it
    // aborts the process if koffi returns to a thread that is being ended.
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const stopAll = () => {
          threads.forEach((thread) => thread.stop())
          threads.forEach((thread) => thread.awaitLeft(leaveMs))
        }
        process.on("exit", stopAll)
        return stopAll
      }),
      (stopAll) => Effect.sync(() => process.off("exit", stopAll))
    )
    for (let count = 0; count < threadCount; count++) {
      yield* Effect.forkScoped(Effect.forever(oneThread))
    }
    const ownDescriptors = 2 * pipesMax + 3 * threadCount
    const transport: Transport["Type"] = { dial: connect, kind: "kernel", listen, ownDescriptors, splice }
    yield* system.selfTest(transport).pipe(
      Effect.mapError((cause) => failedSelfTest(cause.message, cause)),
      Effect.raceFirst(Deferred.await(unavailable))
    )
    ready = true
    return transport
  })

const failedSelfTest = (problem: string, cause: unknown) =>
  new KernelUnavailable({ reason: `it fails its self-test: ${problem}`, cause })

/** Waits for threads to answer; those that do not in time are ended by force, and have as long again for that. */
const orAbandon = (answer: Effect.Effect<unknown>, threads: () => Iterable<KernelThread>) => {
  // Interruptible first: in a finalizer a timeout cannot cut off what is uninterruptible.
  const inTime = answer.pipe(Effect.interruptible, Effect.timeoutOption(stopMs))
  return Effect.flatMap(inTime, (answered) => {
    if (Option.isSome(answered)) {
      return Effect.void
    }
    for (const thread of threads()) {
      thread.abandon()
    }
    return Effect.zipRight(Effect.logError("a thread of the kernel transport does not answer, and is ended"), inTime)
  })
}

const nothing: Carried = { fromLeft: 0, fromRight: 0 }

/** Gives each running splice a number, and a place for its counts in memory that all threads share. */
class SpliceNumbers {
  readonly carried: Float64Array
  private readonly free: Array<number> = []
  private used = 0

  constructor(max: number) {
    this.carried = new Float64Array(new SharedArrayBuffer(2 * 8 * max))
  }

  take(): number {
    const number = this.free.pop() ?? this.used++
    this.carried.fill(0, 2 * number, 2 * number + 2)
    return number
  }

  giveBack(number: number) {
    this.free.push(number)
  }
}

class RunningSplice implements Splice {
  readonly number: number
  private final: Carried | undefined

  constructor(
    private readonly numbers: SpliceNumbers,
    private readonly thread: KernelThread,
    private readonly onEnd: (report: SpliceReport) => void
  ) {
    this.number = numbers.take()
  }

  carried(): Carried {
    const { carried } = this.numbers
    return this.final ?? { fromLeft: carried[2 * this.number]!, fromRight: carried[2 * this.number + 1]! }
  }

  limit(rates: ReadonlyArray<Rate>) {
    if (this.final === undefined) {
      this.thread.limit(this.number, rates)
    }
  }

  end() {
    if (this.final === undefined) {
      this.thread.endSplice(this.number)
    }
  }

  ended(outcome: SpliceOutcome) {
    this.final = this.carried()
    this.numbers.giveBack(this.number)
    this.onEnd({ ...this.final, outcome })
  }
}

/**
 * A transport with so many threads; one carries more than a gigabyte a second. Tried on the machine's own loopback before
 * it is given out.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: { readonly threads?: number | undefined } = {}
): Layer.Layer<Transport, KernelUnavailable> => Layer.scoped(Transport, make(options.threads ?? 1))
