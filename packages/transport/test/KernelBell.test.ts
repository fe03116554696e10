/** The bell of a worker, on two real threads: whenever a message comes, it is heard of. */
import { once } from "node:events"
import { Worker } from "node:worker_threads"
import { afterEach, assert, it, vi } from "vitest"
import * as Os from "../src/internal/descriptors.js"
import { posted } from "../src/internal/kernelBell.js"
import { makeSignals } from "../src/internal/kernelMessages.js"
import { mainThread } from "../src/internal/system.js"
import { generator } from "./utils/random.js"

const rounds = 10_000

/** A thread that does not hear of a message never takes it. */
const patienceMs = 30_000

afterEach(() => vi.restoreAllMocks())

it("a thread misses no message, whether it sleeps, is about to, or is awake", async () => {
  const random = generator(1)
  const descriptors = new Os.Descriptors(Os.makeLedger(4096), mainThread, 0)
  const { bell, poll } = descriptors.openPoll()
  const signals = makeSignals()
  const taken = new Int32Array(new SharedArrayBuffer(4))
  const dawdle = () => {
    for (let spins = random() * 2_000; spins > 0; spins--) {
      Atomics.load(signals, 0)
    }
  }
  // Slow between any two accesses to the shared memory, as the thread is.
  const { add, exchange } = Atomics
  vi.spyOn(Atomics, "add").mockImplementation((...args: Parameters<typeof add>) => {
    dawdle()
    return add(...args)
  })
  vi.spyOn(Atomics, "exchange").mockImplementation((...args: Parameters<typeof exchange>) => {
    dawdle()
    return exchange(...args)
  })
  const thread = new Worker(new URL("utils/bellWorker.mjs", import.meta.url), {
    workerData: { bell, poll, signals, taken }
  })
  let sent = 0
  let rung = 0
  const send = (message: string) => {
    thread.postMessage(message)
    sent++
    if (posted(signals)) {
      rung++
      Os.ring(bell)
    }
  }
  const awaitTaken = () => {
    for (let now; (now = Atomics.load(taken, 0)) !== sent;) {
      assert.notStrictEqual(Atomics.wait(taken, 0, now, patienceMs), "timed-out", `message ${now} is not taken`)
    }
  }
  try {
    for (let round = 0; round < rounds; round++) {
      send("a message")
      if (random() < 0.5) {
        awaitTaken()
        dawdle()
      }
    }
    awaitTaken()
    assert.isAbove(rung, 0)
    assert.isBelow(rung, sent)
  } finally {
    const exit = once(thread, "exit")
    send("last")
    Os.ring(bell)
    await exit
    descriptors.close(poll)
    descriptors.close(bell)
  }
})
