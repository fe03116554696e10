// A process with a transport that listens on 127.0.0.1, for what a test cannot do to its own process.
//
// It answers a preamble of zeros with "ok" and keeps the connection until its client ends it; two connections with the
// same other preamble it splices. Its argument says which transport, and in what want it lives. Its parent is told of
// what happens, by messages, and tells it how to end; see transportProcess.ts.
import { DescriptorLimit } from "@tx3/sockets"
import { AutoTransport, KernelTransport, PortableTransport, Transport } from "@tx3/transport"
import { Context, Effect, Layer, Logger, Option } from "effect"
import { Buffer } from "node:buffer"
import { closeSync, openSync } from "node:fs"

const { freeDescriptors, starvedWhenBuilt, threads, transport: kind } = JSON.parse(process.argv[2])

const tell = (told) => process.send(told)

const logger = Logger.make(({ logLevel, message }) =>
  tell({ log: { level: logLevel.label, message: [message].flat().map(String).join(" ") } })
)

const layer = {
  auto: AutoTransport.layer({ threads }),
  kernel: KernelTransport.layer({ threads }),
  portable: PortableTransport.layer
}[kind]

/** Takes all descriptors there are. */
const takeDescriptors = () => {
  const taken = []
  try {
    for (;;) {
      taken.push(openSync("/dev/null"))
    }
  } catch {
    return taken
  }
}

const giveBack = (descriptors) => descriptors.forEach((descriptor) => closeSync(descriptor))

const answer = (connection) =>
  connection.toDuplex.pipe(
    Effect.flatMap((duplex) =>
      Effect.async((resume) => {
        duplex.on("end", () => resume(Effect.void)).resume()
        duplex.write("ok")
      })
    ),
    Effect.ensuring(connection.close)
  )

const waiting = new Map()

const serve = (transport, connection) =>
  Effect.gen(function*() {
    const preamble = Buffer.from(yield* connection.preamble)
    if (preamble.every((byte) => byte === 0)) {
      yield* answer(connection)
      return
    }
    const key = preamble.toString("hex")
    const other = waiting.get(key)
    if (other === undefined) {
      waiting.set(key, connection)
    } else {
      waiting.delete(key)
      const options = { idleTimeoutMs: undefined, lingerTimeoutMs: 60_000, rates: [] }
      transport.splice(other, connection, options, ({ outcome }) => tell({ ended: outcome }))
    }
  }).pipe(Effect.catchAll(() => connection.close))

const program = Effect.gen(function*() {
  let taken = []
  if (starvedWhenBuilt) {
    // Loading the modules takes descriptors too.
    yield* Effect.scoped(Layer.build(layer))
    taken = takeDescriptors()
  }
  const transport = Context.get(yield* Layer.build(layer), Transport.Transport)
  giveBack(taken)
  const { port } = yield* transport.listen({
    host: "127.0.0.1",
    port: 0,
    ipv6Only: false,
    onConnection: (connection) => Effect.runFork(serve(transport, connection)),
    onAcceptError: ({ cause }) => tell({ acceptError: cause.code })
  })
  const limit = Option.getOrNull(yield* DescriptorLimit.descriptorLimit)
  if (freeDescriptors !== undefined) {
    giveBack(takeDescriptors().slice(0, freeDescriptors))
  }
  tell({ ready: { kind: transport.kind, limit, port } })
  yield* Effect.never
})

process.on("disconnect", () => process.exit(3))
process.on("message", (order) => {
  if (order === "exit") {
    process.exit(0)
  } else if (order === "throw") {
    throw new Error("thrown on purpose")
  }
})

Effect.runFork(program.pipe(
  Effect.scoped,
  Effect.catchAll(({ _tag, message }) => Effect.sync(() => tell({ failed: { message, tag: _tag } }))),
  Effect.provide(Logger.replace(Logger.defaultLogger, logger))
))
