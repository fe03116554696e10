/**
 * A thread that takes each message as soon as it hears of it, and counts it, until one says that it is the last. It is slow
 * before each access to the shared memory, so that the other thread gets between any two.
 */
import { Utils } from "effect"
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"
import { Epoll } from "../../dist/internal/descriptors.js"
import { Hearing } from "../../dist/internal/kernelBell.js"

const { bell, poll, signals, taken } = workerData
const { load, store } = Atomics
const random = new Utils.PCGRandom(1)
const dawdle = () => {
  for (let spins = random.integer(2_000); spins > 0; spins--) {
    load(signals, 0)
  }
}
Atomics.load = (...args) => {
  dawdle()
  return load(...args)
}
Atomics.store = (...args) => {
  dawdle()
  return store(...args)
}
const epoll = new Epoll(poll, bell)
const hearing = new Hearing(signals)
epoll.watchBell(0)
for (let last = false; !last;) {
  epoll.wait(hearing.fallAsleep() ? -1 : 0, () => {})
  hearing.wakeUp()
  while (hearing.take()) {
    last = receiveMessageOnPort(parentPort).message === "last"
    Atomics.add(taken, 0, 1)
    Atomics.notify(taken, 0)
  }
}
parentPort.close()
