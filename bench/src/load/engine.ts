/**
 * What a member of a cluster asks of NATS, without a relay: questions, subscriptions, and beside them a TCP connect.
 */
import * as Directory from "@tx3/cluster/Directory"
import * as NatsDirectory from "@tx3/cluster/NatsDirectory"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { connect, createServer } from "node:net"
import type * as messages from "./messages.js"
import { percentile, serve } from "./program.js"

/** Until the process ends. */
const scope = Effect.runSync(Scope.make())

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.runPromise(Scope.extend(effect, scope))

const connected = (server: string) =>
  run(
    Effect.map(Layer.build(Layer.fresh(NatsDirectory.layer({ servers: [server] }))), Context.get(Directory.Directory))
  )

/** One after the other. */
const timed = async (count: number, task: () => Promise<unknown>): Promise<messages.Times> => {
  const taken = new Float64Array(count)
  for (let index = 0; index < count; index++) {
    const startedAt = performance.now()
    await task()
    taken[index] = performance.now() - startedAt
  }
  return { count, p50: percentile(taken, 0.5), p99: percentile(taken, 0.99) }
}

let directory: Directory.Directory["Type"] | undefined

serve(async (request: messages.EngineRequest) => {
  switch (request.type) {
    case "roundTrips": {
      const [one, other] = [await connected(request.server), await connected(request.server)]
      await run(one.answer("bench.answer", Effect.succeed))
      await run(one.flush)
      const ask = () => run(other.ask("bench.answer", "a question"))
      await timed(request.count, ask)
      return timed(request.count, ask)
    }
    case "connects": {
      const server = createServer((socket) => socket.on("error", () => {}).resume())
      await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve))
      const { port } = server.address() as { readonly port: number }
      const times = await timed(request.count, () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect({ host: "127.0.0.1", port, noDelay: true })
          socket.once("error", reject).once("connect", () => {
            socket.destroy()
            resolve()
          })
        }))
      server.close()
      return times
    }
    case "connect":
      directory = await connected(request.server)
      return
    case "subscribe": {
      const { answer, flush } = directory!
      const startedAt = performance.now()
      for (let index = 0; index < request.count; index++) {
        // As long as those of nodes.
        await run(answer(`tx3.bench.find.${index.toString().padStart(11, "x")}.${"x".repeat(32)}`, Effect.succeed))
      }
      await run(flush)
      return { ms: performance.now() - startedAt } satisfies messages.Took
    }
  }
})
