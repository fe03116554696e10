// Leaves itself as many free descriptors as its argument says. Answers every preamble with "ok" and keeps the
// connection until its client ends it. Prints its port and descriptor limit.
import { DescriptorLimit, PortableTransport, Transport } from "@tx3/transport"
import { Effect, Option } from "effect"
import { closeSync, openSync } from "node:fs"

const serve = (connection) =>
  connection.preamble.pipe(
    Effect.zipRight(connection.toDuplex),
    Effect.flatMap((duplex) =>
      Effect.async((resume) => {
        duplex.on("end", () => resume(Effect.void)).resume()
        duplex.write("ok")
      })
    ),
    Effect.ignore,
    Effect.ensuring(connection.close)
  )

const program = Effect.gen(function*() {
  const transport = yield* Transport.Transport
  const { port } = yield* transport.listen({
    host: "127.0.0.1",
    port: 0,
    ipv6Only: false,
    onConnection: (connection) => Effect.runFork(serve(connection)),
    onAcceptError: (error) => process.stderr.write(`${error.message}\n`)
  })
  const limit = yield* DescriptorLimit.descriptorLimit
  // Not simply a small limit: loading the modules takes many descriptors at once.
  const taken = []
  try {
    for (;;) {
      taken.push(openSync("/dev/null"))
    }
  } catch {
    taken.slice(0, Number(process.argv[2])).forEach((descriptor) => closeSync(descriptor))
  }
  process.stdout.write(`${JSON.stringify({ limit: Option.getOrNull(limit), port })}\n`)
  yield* Effect.never
})

Effect.runFork(program.pipe(Effect.scoped, Effect.provide(PortableTransport.layer)))
