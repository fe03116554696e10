/**
 * The worker thread of the kernel transport: a loop on Linux, until the main thread tells it to stop. It accepts
 * connections, reads their PROXY headers and preambles, watches for hang-ups, and carries the bytes of splices. The main
 * thread decides about connections.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"
import { nowNs } from "./budget.js"
import { Descriptors, Epoll } from "./descriptors.js"
import type { Port } from "./kernelContext.js"
import { KernelLoop } from "./kernelLoop.js"
import type { WorkerData } from "./kernelMessages.js"
import { Signal } from "./kernelMessages.js"

const data = workerData as WorkerData
const messages = parentPort!

const port: Port = {
  receive: () => receiveMessageOnPort(messages)!.message,
  post: (reports) => messages.postMessage(reports),
  close: () => messages.close()
}

try {
  new KernelLoop(data, {
    descriptors: new Descriptors(data.ledger, data.owner, data.pipesMax),
    poll: new Epoll(data.poll, data.bell),
    clock: { nowMs: () => performance.now(), nowNs },
    port
  }).run()
} finally {
  Atomics.store(data.signals, Signal.left, 1)
  Atomics.notify(data.signals, Signal.left)
}
