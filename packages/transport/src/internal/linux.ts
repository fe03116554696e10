/** Linux, and Node's worker threads, for the main thread of the kernel transport. This module owns nothing. */
import { asset } from "@tx3/sockets/Executable"
import * as Net from "node:net"
import { Worker } from "node:worker_threads"
import { Descriptors, makeLedger, ring, systemError, unwatch } from "./descriptors.js"
import type { MainSystem } from "./mainSystem.js"
import { selfTest } from "./selfTest.js"
import type { Descriptor } from "./system.js"
import { mainThread } from "./system.js"
import * as Tcp from "./tcp.js"

/** The compiled worker, whether this is the compiled module or its source in a test, or the code that an executable carries. */
const workerFile = new URL("../../dist/internal/kernelWorker.js", import.meta.url)
const workerCode = asset("kernelWorker.cjs")?.toString()

class OfMainThread extends Descriptors {
  toDuplex(socket: Descriptor) {
    const duplex = new Net.Socket({ allowHalfOpen: true, fd: this.giveAway(socket) })
    Tcp.limitSilence(duplex)
    return duplex
  }
}

export const linux: MainSystem = {
  makeLedger,
  descriptors: (ledger) => new OfMainThread(ledger, mainThread, 0),
  ring,
  unwatch,
  systemError,
  selfTest,
  startThread: (workerData, onReports, onExit) => {
    let failure: unknown
    const worker = new Worker(workerCode ?? workerFile, {
      eval: workerCode !== undefined,
      execArgv: [],
      name: "tx3-transport",
      workerData
    })
    worker.on("message", onReports)
    worker.on("error", (cause) => {
      failure = cause
    })
    worker.on("exit", () => onExit(failure))
    return {
      post: (orders) => worker.postMessage(orders),
      abandon: () => {
        worker.unref()
        void worker.terminate()
      }
    }
  }
}
