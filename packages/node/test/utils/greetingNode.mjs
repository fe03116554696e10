// A node of its own process, which may have as many descriptors as its argument says: prints its address, sends each peer a byte,
// and holds the connection until the peer ends.
import * as Tx3Node from "@tx3/node/Tx3Node"
import { Effect, Logger, Stream } from "effect"
import { execFileSync } from "node:child_process"

// Not before: modules are loaded with more.
execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${process.argv[2]}`])

const program = Effect.gen(function*() {
  const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"] })
  process.stdout.write(`${node.addresses[0]}\n`)
  yield* node.serve((connection) =>
    Effect.zipRight(connection.write(Uint8Array.of(1)), Effect.ignore(Stream.runDrain(connection.readable)))
  )
})

Effect.runFork(Effect.provide(Effect.scoped(program), Logger.remove(Logger.defaultLogger)))
