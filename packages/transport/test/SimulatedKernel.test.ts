/** The simulated kernel answers as Linux does: the same calls in the same order have the same results on both. */
import { describe, it } from "@effect/vitest"
import { descriptorOf, unacknowledgedBytes } from "@tx3/sockets/SocketCalls"
import { send, sendUrgentByte, shutdown, shutWr, urgentByte } from "@tx3/testing/libc"
import { Effect } from "effect"
import * as Net from "node:net"
import { assert } from "vitest"
import * as Os from "../src/internal/descriptors.js"
import type { Descriptor, DescriptorCalls, Pipe, Poll } from "../src/internal/system.js"
import { noDescriptorLeak } from "./utils/kernel.js"
import { generator } from "./utils/random.js"
import { SimulatedDescriptors, SimulatedKernel, SimulatedPoll } from "./utils/simulatedKernel.js"
import { eventually } from "./utils/system.js"

type Step =
  /** The remote end sends so many bytes, one urgent byte, its end, or a reset. */
  | readonly ["send", number]
  | readonly ["sendUrgent"]
  | readonly ["end"]
  | readonly ["reset"]
  /** Calls that are compared. */
  | readonly ["receive" | "peek" | "fill" | "sendBack", number]
  | readonly ["shutdown"]
  | readonly ["poll"]

const remoteSteps = new Set<Step[0]>(["send", "sendUrgent", "end", "reset"])

/** One end of a connection for the calls, and the other for what the remote end does. */
interface Machine {
  readonly calls: DescriptorCalls
  readonly poll: Poll
  readonly socket: Descriptor
  readonly remote: {
    readonly send: (bytes: Uint8Array) => void
    readonly sendUrgent: () => void
    readonly end: () => void
    readonly reset: () => void
  }
  /** Waits until what the remote end did has arrived. */
  readonly settled: Effect.Effect<void>
}

const key = 7
const owner = 1

const linux = Effect.gen(function*() {
  const descriptors = new Os.Descriptors(Os.makeLedger(4096), owner, Infinity)
  const closing = (descriptor: Descriptor) => Effect.sync(() => descriptors.close(descriptor))
  const { bell, poll } = yield* Effect.acquireRelease(
    Effect.sync(() => descriptors.openPoll()),
    ({ bell, poll }) => Effect.zipRight(closing(bell), closing(poll))
  )
  const listener = yield* Effect.acquireRelease(
    Effect.sync(() => descriptors.listen("127.0.0.1", 0, false, 1)),
    ({ socket }) => closing(socket)
  )
  const client = yield* Effect.acquireRelease(
    Effect.async<Net.Socket>((resume) => {
      const socket = Net.connect({ host: listener.host, port: listener.port }, () => resume(Effect.succeed(socket)))
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )
  const incoming = descriptors.accept(listener.socket)
  assert(typeof incoming === "object")
  const { socket } = incoming
  yield* Effect.addFinalizer(() => Effect.sync(() => descriptors.reset(socket)))
  const epoll = new Os.Epoll(poll, bell)
  assert.strictEqual(epoll.watchConnection(socket, key), 0)
  const fd = descriptorOf(client)!
  const machine: Machine = {
    calls: descriptors,
    poll: epoll,
    socket,
    remote: {
      send: (bytes) => assert.strictEqual(send(fd, bytes, bytes.length, 0), bytes.length),
      sendUrgent: () => assert.isTrue(sendUrgentByte(client)),
      end: () => shutdown(fd, shutWr),
      reset: () => client.resetAndDestroy()
    },
    // Not from /proc/net/tcp, which is long on a machine with many connections, and read after each step.
    settled: eventually("an acknowledgement", () => (unacknowledgedBytes(client) ?? 0) === 0)
  }
  return machine
})

const simulated = Effect.sync((): Machine => {
  const kernel = new SimulatedKernel({ pipesMax: Infinity })
  const descriptors = new SimulatedDescriptors(kernel, owner)
  const poll = new SimulatedPoll(kernel)
  const listener = kernel.listen()
  const peer = kernel.connect(listener)
  const incoming = descriptors.accept(listener)
  assert(typeof incoming === "object")
  poll.watchConnection(incoming.socket, key)
  return {
    calls: descriptors,
    poll,
    socket: incoming.socket,
    remote: {
      send: (bytes) => peer.send(bytes),
      sendUrgent: () => peer.sendUrgent(urgentByte[0]!),
      end: () => peer.end(),
      reset: () => peer.reset()
    },
    settled: Effect.void
  }
})

/** What the calls of a script return: results, bytes and events. */
const results = ({ calls, poll, remote, settled, socket }: Machine, script: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const results: Array<unknown> = []
    let sent = 0
    const read = (call: (into: Uint8Array) => number, most: number) => {
      const bytes = new Uint8Array(most)
      const count = call(bytes)
      return [count, Buffer.from(bytes.subarray(0, Math.max(0, count))).toString("hex")]
    }
    const fill = (most: number) => {
      const pipe: Pipe = calls.lendPipe()!
      const count = calls.fill(pipe, socket, most)
      calls.close(pipe.from)
      calls.close(pipe.to)
      return count
    }
    const events = () => {
      const events: Array<number> = []
      poll.wait(0, (_, bits) => events.push(bits))
      return events
    }
    for (const step of script) {
      switch (step[0]) {
        case "send": {
          remote.send(Uint8Array.from({ length: step[1] }, () => sent++ % 251))
          break
        }
        case "sendUrgent": {
          remote.sendUrgent()
          break
        }
        case "end": {
          remote.end()
          break
        }
        case "reset": {
          remote.reset()
          break
        }
        case "receive": {
          results.push(read((into) => calls.receive(socket, into), step[1]))
          break
        }
        case "peek": {
          results.push(read((into) => calls.peek(socket, into), step[1]))
          break
        }
        case "fill": {
          results.push(fill(step[1]))
          break
        }
        case "sendBack": {
          results.push(calls.send(socket, new Uint8Array(step[1]), step[1]))
          break
        }
        case "shutdown": {
          results.push(calls.shutdown(socket))
          break
        }
        case "poll": {
          results.push(events())
          break
        }
      }
      if (remoteSteps.has(step[0])) {
        yield* settled
      }
    }
    return results
  })

/** A script that a connection can go through: the remote end does nothing behind its end or its reset. */
const scriptOf = (seed: number): ReadonlyArray<Step> => {
  const random = generator(seed)
  const pick = <A>(from: ReadonlyArray<A>) => from[Math.floor(random() * from.length)]!
  const sizes = [1, 2, 3, 100, 5_000]
  const script: Array<Step> = []
  let [ended, gone] = [false, false]
  for (let steps = 0; steps < 14; steps++) {
    const remote = gone ? 0 : random()
    if (remote > 0.97) {
      script.push(["reset"])
      gone = true
    } else if (remote > 0.93 && !ended) {
      script.push(["end"])
      ended = true
    } else if (remote > 0.75 && !ended) {
      script.push(["sendUrgent"])
    } else if (remote > 0.5 && !ended) {
      script.push(["send", pick(sizes)])
    } else {
      script.push(
        pick<Step>([
          ["poll"],
          ["poll"],
          ["receive", pick(sizes)],
          ["receive", pick(sizes)],
          ["fill", pick(sizes)],
          ["fill", pick(sizes)],
          ["peek", pick(sizes)],
          ["sendBack", 1],
          ["shutdown"]
        ])
      )
    }
  }
  return script
}

const same = (name: string, script: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const onLinux = yield* Effect.scoped(Effect.flatMap(linux, (machine) => results(machine, script)))
    const onSimulated = yield* Effect.flatMap(simulated, (machine) => results(machine, script))
    assert.deepStrictEqual(onSimulated, onLinux, `${name}: ${JSON.stringify(script)}`)
  })

const scripts: Record<string, ReadonlyArray<Step>> = {
  "a reset behind bytes is told of once": [
    ["send", 5],
    ["reset"],
    ["poll"],
    ["receive", 10],
    ["receive", 10],
    ["receive", 10],
    ["sendBack", 1],
    ["shutdown"],
    ["poll"]
  ],
  "a reset behind an end looks like an end": [
    ["send", 5],
    ["end"],
    ["reset"],
    ["poll"],
    ["fill", 10],
    ["fill", 10],
    ["receive", 10],
    ["sendBack", 1],
    ["sendBack", 1]
  ],
  "an end is seen before the bytes in front of it are read": [
    ["poll"],
    ["send", 5],
    ["end"],
    ["poll"],
    ["poll"],
    ["receive", 5],
    ["receive", 5],
    ["shutdown"],
    ["poll"]
  ],
  "splice(2) does not get past an urgent byte, and recv(2) leaves it out": [
    ["send", 5],
    ["sendUrgent"],
    ["send", 5],
    ["poll"],
    ["fill", 100],
    ["fill", 100],
    ["peek", 100],
    ["receive", 100],
    ["receive", 100],
    ["end"],
    ["poll"],
    ["fill", 100]
  ],
  "an urgent byte behind which the end comes looks like the end": [
    ["sendUrgent"],
    ["fill", 100],
    ["send", 3],
    ["end"],
    ["fill", 100],
    ["poll"],
    ["receive", 100],
    ["receive", 100]
  ],
  "of two urgent bytes the first is one of the others": [
    ["send", 2],
    ["sendUrgent"],
    ["send", 2],
    ["sendUrgent"],
    ["poll"],
    ["receive", 100],
    ["receive", 100],
    ["receive", 100],
    ["poll"]
  ],
  "an urgent byte that is next to be read is lost when another comes": [
    ["sendUrgent"],
    ["send", 2],
    ["poll"],
    ["sendUrgent"],
    ["receive", 100],
    ["receive", 100]
  ]
}

describe("the simulated kernel is like Linux:", () => {
  for (const [name, script] of Object.entries(scripts)) {
    it.scopedLive(name, () => Effect.zipRight(noDescriptorLeak, same(name, script)))
  }

  for (let first = 1; first <= 60; first += 10) {
    it.scopedLive(`in scripts at random, of the seeds ${first} to ${first + 9}`, () =>
      Effect.gen(function*() {
        yield* noDescriptorLeak
        for (let seed = first; seed < first + 10; seed++) {
          yield* same(`seed ${seed}`, scriptOf(seed))
        }
      }))
  }
})
