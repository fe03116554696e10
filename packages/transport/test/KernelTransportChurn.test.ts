import { describe, it } from "@effect/vitest"
import { KernelTransport, Transport } from "@tx3/transport"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import * as Net from "node:net"
import { assert } from "vitest"
import { payload } from "./utils/client.js"
import { heap } from "./utils/fixtures.js"
import { noDescriptorLeak } from "./utils/kernel.js"
import { eventually, openDescriptors } from "./utils/system.js"

const splices = 8_000
/** Of them, so many run until the transport ends. */
const running = 500
const atATime = 128
/** As in descriptors.ts. */
const idlePipesMax = 16

describe("KernelTransport in the long run", () => {
  it.scopedLive(`${splices} splices, ended in every way, leave /proc/self/fd as it was`, () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Layer.build(KernelTransport.layer()))
      yield* noDescriptorLeak
      const scope = yield* Scope.make()
      const transport = Context.get(
        yield* Layer.buildWithScope(KernelTransport.layer(), scope),
        Transport.Transport
      )
      const churn = new Churn(transport)
      const { port } = yield* Scope.extend(
        transport.listen({
          host: "127.0.0.1",
          port: 0,
          ipv6Only: false,
          onConnection: churn.onConnection,
          onAcceptError: (error) => {
            throw error
          }
        }),
        scope
      )
      const opened = openDescriptors().length
      const all = Array.from({ length: splices }, (_, number) => number)
      yield* Effect.forEach(
        all.slice(running),
        (number) => churn.run(port, number, number % stallEvery === 0 ? stall : ways[number % ways.length]!),
        { concurrency: atATime, discard: true }
      )
      yield* eventually("the clients' ends", () => churn.openClients === 0)
      yield* eventually("nothing but idle pipes", () => openDescriptors().length <= opened + 2 * idlePipesMax)
      yield* Effect.forEach(all.slice(0, running), (number) => churn.begin(port, number), {
        concurrency: atATime,
        discard: true
      })
      assert.strictEqual(churn.reports.reduce((sum, count) => sum + count, 0), splices - running)
      yield* Scope.close(scope, Exit.void)
      yield* eventually("the last clients' ends", () => churn.openClients === 0)

      assert.deepStrictEqual(Array.from(new Set(churn.reports)), [1])
      assert.deepStrictEqual(churn.unexpected, [])
    }), 120_000)
})

interface Way {
  readonly name: string
  readonly outcome: Transport.SpliceOutcome
  readonly options?: Partial<Transport.SpliceOptions>
  readonly act?: (left: Net.Socket, right: Net.Socket, connection: Transport.Connection) => void
}

const bytes = payload(10_000)

const ways: ReadonlyArray<Way> = [
  {
    name: "EOF left first",
    outcome: "completed",
    act: (left, right) => {
      left.end(bytes)
      right.once("end", () => right.end(bytes))
    }
  },
  {
    name: "EOF right first",
    outcome: "completed",
    act: (left, right) => {
      right.end(bytes)
      left.once("end", () => left.end(bytes))
    }
  },
  {
    name: "EOF of both",
    outcome: "completed",
    act: (left, right) => {
      left.end(bytes)
      right.end(bytes)
    }
  },
  { name: "reset of the left", outcome: "reset", act: (left) => left.resetAndDestroy() },
  { name: "reset of the right", outcome: "reset", act: (_, right) => right.resetAndDestroy() },
  {
    name: "reset behind data",
    outcome: "reset",
    act: (left) => {
      left.write(bytes)
      left.resetAndDestroy()
    }
  },
  { name: "closed", outcome: "closed", act: (_left, _right, connection) => Effect.runSync(connection.close) },
  { name: "idle", outcome: "idle", options: { idleTimeoutMs: 10 } },
  {
    name: "lingered",
    outcome: "lingered",
    options: { lingerTimeoutMs: 10 },
    act: (left) => {
      left.end(bytes)
    }
  }
]

/** It ends with bytes in a pipe. */
const overfull = payload(heap)
const stallEvery = 200
const stall: Way = {
  name: "idle behind a stall",
  outcome: "idle",
  options: { idleTimeoutMs: 20 },
  act: (left, right) => {
    right.pause()
    left.write(overfull)
  }
}

const untilClosed: Way = { name: "running", outcome: "closed" }

interface Running {
  readonly way: Way
  readonly sockets: ReadonlyArray<Net.Socket>
  readonly onBegun: () => void
  readonly onFinished: () => void
  first?: Transport.Connection
}

/** Clients that say in their preamble which splice they are of, and on which side. */
class Churn {
  readonly reports = new Uint32Array(splices)
  readonly unexpected: Array<string> = []
  openClients = 0
  private readonly splices = new Map<number, Running>()

  constructor(private readonly transport: Transport.Transport["Type"]) {}

  /** A splice from its beginning to its end. */
  run(port: number, number: number, way: Way) {
    return Effect.async<void>((resume) => this.open(port, number, way, () => {}, () => resume(Effect.void)))
  }

  /** Only its beginning. */
  begin(port: number, number: number) {
    return Effect.async<void>((resume) => this.open(port, number, untilClosed, () => resume(Effect.void), () => {}))
  }

  private open(port: number, number: number, way: Way, onBegun: () => void, onFinished: () => void) {
    const sockets = [0, 1].map((side) => this.client(port, 2 * number + side))
    this.splices.set(number, { onBegun, onFinished, sockets, way })
  }

  private client(port: number, id: number) {
    const preamble = Buffer.alloc(32)
    preamble.writeUInt32LE(id)
    // Ports of one address run out when so many connections end.
    const localAddress = `127.0.0.${1 + id % 64}`
    const socket = Net.connect({ allowHalfOpen: true, host: "127.0.0.1", localAddress, noDelay: true, port })
    this.openClients++
    socket.on("error", () => {}).on("close", () => this.openClients--)
    socket.write(preamble)
    socket.resume()
    return socket
  }

  readonly onConnection = (connection: Transport.Connection) => {
    Effect.runFork(Effect.map(connection.preamble, (preamble) => {
      const id = Buffer.from(preamble).readUInt32LE()
      const number = id >> 1
      const running = this.splices.get(number)!
      if (running.first === undefined) {
        running.first = connection
        return
      }
      const { onBegun, onFinished, sockets: [one, other], way } = running
      const [left, right] = id % 2 === 1 ? [one!, other!] : [other!, one!]
      const options = { idleTimeoutMs: undefined, lingerTimeoutMs: 60_000, rates: [], ...way.options }
      this.transport.splice(running.first, connection, options, ({ fromLeft, fromRight, outcome }) => {
        this.reports[number]!++
        if (outcome !== way.outcome) {
          this.unexpected.push(`${way.name}: ${outcome}`)
        } else if (outcome === "completed" && (fromLeft !== bytes.length || fromRight !== bytes.length)) {
          this.unexpected.push(`${way.name}: ${fromLeft} and ${fromRight} bytes`)
        }
        left.destroy()
        right.destroy()
        onFinished()
      })
      way.act?.(left, right, connection)
      onBegun()
    }))
  }
}
