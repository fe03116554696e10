/** What tests of the kernel transport do to its threads. */
import { Effect, Logger, Queue } from "effect"
import koffi from "koffi"
import * as Fs from "node:fs"
import type { KernelThread, ThreadConnection } from "../../src/internal/kernelThread.js"
import { connect, payload } from "./client.js"
import type { Link, Listening } from "./fixtures.js"
import { eventually, openDescriptors } from "./system.js"

export interface Line {
  readonly level: string
  readonly message: string
}

/** Puts what is logged into the array. */
export const logInto = (lines: Array<Line>) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make<unknown, void>(({ logLevel, message }) => {
      lines.push({ level: logLevel.label, message: String(Array.isArray(message) ? message[0] : message) })
    })
  )

/** All descriptors of this process, by number and kind. */
const listing = () => openDescriptors().map(({ link, number }) => `${number} ${link.replace(/\d+/g, "")}`).sort()

/** Every descriptor that was opened in the scope, of whatever kind, has to be closed with it. Comes first. */
export const noDescriptorLeak = Effect.suspend(() => {
  const before = listing()
  return Effect.addFinalizer(() =>
    eventually("the descriptors of before", () => listing().join() === before.join()).pipe(
      Effect.catchAllDefect(() => {
        const left = listing().filter((line) => !before.includes(line))
        return Effect.dieMessage(
          `left open: ${left.join(", ")}; of ${before.length} before ${listing().length} are open`
        )
      })
    )
  )
})

export const threadOf = ({ connection }: Link) => (connection as ThreadConnection).thread

const dup2 = koffi.load(null).func("int dup2(int from, int to)") as (from: number, to: number) => number

/** The thread dies of its next epoll_wait: it has to be woken once. */
export const breakThread = (thread: KernelThread) =>
  Effect.acquireUseRelease(
    Effect.sync(() => Fs.openSync("/dev/null", "r")),
    (nothing) => Effect.sync(() => dup2(nothing, thread["poll"])),
    (nothing) => Effect.sync(() => Fs.closeSync(nothing))
  )

const burst = 32
const burstsMax = 100

/** Two connections, of two threads, whose preambles have been read. A burst is more than one thread takes at once. */
export const ofTwoThreads = (listener: Listening) =>
  Effect.gen(function*() {
    const links: Array<Link> = []
    for (let bursts = 0; bursts < burstsMax; bursts++) {
      const clients = yield* Effect.replicateEffect(connect(listener), burst).pipe(
        Effect.withConcurrency("unbounded")
      )
      const connections = Array.from(yield* Queue.takeN(listener.connections, burst))
      for (const client of clients) {
        const connection = connections.find(({ remotePort }) => remotePort === client.socket.localPort)
        links.push({ client, connection: connection! })
      }
      const other = links.find((link) => threadOf(link) !== threadOf(links[0]!))
      if (other !== undefined) {
        const pair = [links[0]!, other] as const
        for (const { client, connection } of pair) {
          client.socket.write(payload(32))
          yield* connection.preamble
        }
        return pair
      }
    }
    return yield* Effect.dieMessage(`${burstsMax * burst} connections, all of one thread`)
  })
