/**
 * The relay of a soak: the program as npm installs it, which also answers by IPC what it cannot be asked from outside, and kills
 * a thread of its transport when it is told to. It ends as the program does.
 */
import { createRequire, syncBuiltinESMExports } from "node:module"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Worker } from "node:worker_threads"
import { ourRelay } from "../Subject.js"
import type { RelayReply, RelayRequest } from "./messages.js"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

const threads = createRequire(import.meta.url)("node:worker_threads") as { Worker: typeof Worker }
const running = new Set<Worker>()
threads.Worker = class extends threads.Worker {
  constructor(...args: ConstructorParameters<typeof Worker>) {
    super(...args)
    running.add(this)
    this.once("exit", () => running.delete(this))
  }
}
syncBuiltinESMExports()

process.on("message", (request: RelayRequest) => {
  const reply = (value: RelayReply) => process.send!(value)
  switch (request) {
    case "heap": {
      collect()
      return reply(process.memoryUsage().heapUsed)
    }
    case "kill a thread": {
      const [thread] = running
      void thread?.terminate()
      return reply(thread === undefined ? 0 : 1)
    }
  }
})
process.channel!.unref()

process.argv.push("--config", process.env["TX3_SOAK_CONFIG"]!)
delete process.env["TX3_SOAK_CONFIG"]
await import(ourRelay)
