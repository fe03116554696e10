/**
 * Tries a transport on the loopback of this machine, before anything depends on it: two connections, a splice of them, bytes
 * one way and back, and both ends.
 */
import * as Preamble from "@tx3/protocol/Preamble"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Bound, Connection, SpliceReport, Transport } from "../Transport.js"

class SelfTestFailed extends Data.TaggedError("SelfTestFailed")<{ readonly message: string }> {}

const withinMs = 5_000

/** More than goes through in one piece. */
const bytes = 256 * 1024

export const selfTest = (transport: Transport["Type"]): Effect.Effect<void, SelfTestFailed> =>
  Effect.gen(function*() {
    const arrivals: Array<Connection> = []
    const bothArrived = yield* Deferred.make<void>()
    const bound = yield* transport.listen({
      host: "127.0.0.1",
      port: 0,
      ipv6Only: false,
      onConnection: (connection) => {
        if (arrivals.push(connection) === 2) {
          Deferred.unsafeDone(bothArrived, Effect.void)
        }
      },
      onAcceptError: () => {}
    })
    yield* Effect.addFinalizer(() => Effect.forEach(arrivals, ({ close }) => close, { discard: true }))
    const sender = yield* connect(bound)
    const receiver = yield* connect(bound)
    const received = yield* Effect.forkScoped(countUntilEnd(receiver))
    const preamble = Buffer.alloc(Preamble.length)
    sender.end(Buffer.concat([preamble, Buffer.alloc(bytes)]))
    receiver.end(preamble)
    yield* Deferred.await(bothArrived)
    const [left, right] = arrivals as [Connection, Connection]
    yield* Effect.all([left.preamble, right.preamble])
    const report = yield* Effect.async<SpliceReport>((resume) => {
      transport.splice(
        left,
        right,
        { idleTimeoutMs: undefined, lingerTimeoutMs: withinMs, rates: [] },
        (report) => resume(Effect.succeed(report))
      )
    })
    const count = yield* Fiber.join(received)
    if (report.outcome !== "completed" || report.fromLeft + report.fromRight !== bytes || count !== bytes) {
      return yield* new SelfTestFailed({ message: `of ${bytes} bytes ${count} arrived; the splice ${report.outcome}` })
    }
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      HungUp: (error) => new SelfTestFailed({ message: error.message }),
      ListenError: (error) => new SelfTestFailed({ message: error.message })
    }),
    Effect.timeoutFail({
      duration: withinMs,
      onTimeout: () => new SelfTestFailed({ message: `nothing came through within ${withinMs} ms` })
    })
  )

const connect = ({ host, port }: Bound): Effect.Effect<Net.Socket, SelfTestFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => Net.connect({ allowHalfOpen: true, host, port })),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(Effect.flatMap((socket) =>
    Effect.async<Net.Socket, SelfTestFailed>((resume) => {
      socket.on("connect", () => resume(Effect.succeed(socket)))
      socket.on("error", ({ message }) => resume(new SelfTestFailed({ message })))
    })
  ))

const countUntilEnd = (socket: Net.Socket): Effect.Effect<number> =>
  Effect.async((resume) => {
    let count = 0
    socket.on("data", (chunk) => {
      count += chunk.length
    })
    socket.on("end", () => resume(Effect.succeed(count)))
  })
