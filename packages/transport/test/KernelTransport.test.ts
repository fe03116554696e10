import { describe, it } from "@effect/vitest"
import { AutoTransport, KernelTransport, Transport } from "@tx3/transport"
import { Context, Effect, Exit, Layer, Queue, Scope } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert } from "vitest"
import { connect, payload } from "./utils/client.js"
import { arrived, heap, hungUp, listening, mebibyte, noLeak, pump, splice, stalled } from "./utils/fixtures.js"
import type { Line } from "./utils/kernel.js"
import { logInto, noDescriptorLeak } from "./utils/kernel.js"
import { binaryOf } from "./utils/proxyHeaders.js"
import { connectionSubjects } from "./utils/subjects.js"
import { eventually, kernelSocket, openSockets, socketsAt, turns } from "./utils/system.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("KernelTransport", KernelTransport.layer(), connectionSubjects)

describe("KernelTransport alone", () => {
  for (const threads of [1, 2]) {
    it.scopedLive(`closing the layer ends busy splices at once, ${threads} of its threads`, () =>
      Effect.gen(function*() {
        yield* noDescriptorLeak
        const log: Array<Line> = []
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          KernelTransport.layer({ threads }).pipe(Layer.provide(logInto(log))),
          scope
        )
        yield* Effect.gen(function*() {
          const listener = yield* listening()
          const [full, stuck] = [yield* arrived(listener), yield* arrived(listener, { reading: false })]
          const stalling = yield* splice(full, stuck)
          full.client.stream(payload(heap))
          yield* stalled(full.client)
          const [left, right] = [
            yield* arrived(listener, { reading: false }),
            yield* arrived(listener, { reading: false })
          ]
          const flowing = yield* splice(left, right)
          yield* pump(left.client, right.client)
          yield* pump(right.client, left.client)
          yield* eventually("a flow", () => Math.min(...counts(flowing.carried())) > mebibyte)
          const idle = yield* splice(yield* arrived(listener), yield* arrived(listener))
          const waiting = yield* arrived(listener)

          const began = Date.now()
          yield* Scope.close(scope, Exit.void)
          assert.isBelow(Date.now() - began, endsWithinMs)
          for (const { report } of [stalling, flowing, idle]) {
            assert.strictEqual((yield* report).outcome, "closed")
          }
          stuck.client.startReading()
          for (const { client } of [full, stuck, left, right, idle.left, idle.right]) {
            assert.strictEqual((yield* client.readAll).ending, "reset")
          }
          yield* waiting.client.readAll
          assert.deepStrictEqual(log, [])
        }).pipe(Effect.provide(context))
      }))
  }

  it.scopedLive("a flood that the main thread does not hear of waits in the backlog, and is served in the end", () =>
    Effect.gen(function*() {
      yield* noLeak
      const transport = yield* Transport.Transport
      const { port } = yield* transport.listen({
        host: "127.0.0.1",
        port: 0,
        ipv6Only: false,
        onConnection: sayOk,
        onAcceptError: (error) => {
          throw error
        }
      })
      // From now on it accepts.
      const first = yield* connect({ host: "127.0.0.1", port })
      first.socket.write(payload(32))
      yield* first.read(2)
      first.socket.destroy()
      yield* eventually("no connection", () => socketsAt(port) === 0)
      const before = openSockets()
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [floodFile, String(port), String(flood)], { stdio: ["ignore", "ignore", "inherit"] })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const ended = Effect.async<number | null>((resume) => {
        child.once("exit", (code) => resume(Effect.succeed(code)))
      }).pipe(Effect.timeout("60 seconds"))

      // None of these loops lets the event loop turn.
      const deadline = Date.now() + 60_000
      let waiting = 0
      while (waiting < flood && Date.now() < deadline) {
        // It may also leave some out.
        waiting = Math.max(waiting, socketsAt(port))
      }
      assert.strictEqual(waiting, flood)
      let accepted = 0
      while (accepted < unheardMax && Date.now() < deadline) {
        accepted = openSockets() - before
      }
      const until = Date.now() + 20 * pauseMs
      while (Date.now() < until) {
        accepted = Math.max(accepted, openSockets() - before)
      }
      assert.strictEqual(accepted, unheardMax)

      assert.strictEqual(yield* ended, 0)
    }).pipe(Effect.provide(KernelTransport.layer())))

  it.scopedLive("connections of proxies that send no header are not more than a flood, and the next waits for one", () =>
    Effect.gen(function*() {
      yield* noLeak
      yield* Effect.gen(function*() {
        const listener = yield* listening({ proxies: ["127.0.0.1"] })
        const before = openSockets()
        const silent = yield* Effect.forEach(Array.from({ length: unheardMax }), () => connect(listener))
        yield* eventually("all of them to be accepted", () => openSockets() - before === 2 * unheardMax)
        const next = yield* connect(listener)
        next.socket.write(Buffer.concat([binaryOf(ends), payload(32)]))
        yield* Effect.sleep(20 * pauseMs)
        assert.strictEqual(openSockets() - before, 2 * unheardMax + 1)
        silent[0]!.socket.destroy()
        const connection = yield* Queue.take(listener.connections)
        assert.strictEqual(connection.remoteAddress, ends.source)
        yield* connection.preamble
      }).pipe(Effect.provide(KernelTransport.layer()))
    }))

  for (const when of ["of a splice", "before its splice"] as const) {
    it.scopedLive(`a reset behind a FIN ${when} ends it, though the other side is silent`, () =>
      Effect.gen(function*() {
        yield* noLeak
        yield* Effect.gen(function*() {
          const listener = yield* listening()
          for (const resetFirst of [true, false]) {
            const [reset, silent] = [yield* arrived(listener), yield* arrived(listener)]
            const join = resetFirst ? splice(reset, silent) : splice(silent, reset)
            const { localPort } = reset.client.socket
            const fail = Effect.gen(function*() {
              reset.client.reset()
              yield* eventually("the reset", () => kernelSocket(listener.port, localPort!) === undefined)
              yield* turns()
            })
            reset.client.socket.end()
            if (when === "of a splice") {
              const { report } = yield* join
              assert.deepStrictEqual(yield* silent.client.readAll, { bytes: Buffer.alloc(0), ending: "end" })
              yield* fail
              assert.strictEqual((yield* report).outcome, "reset")
              yield* silent.client.wasReset
            } else {
              yield* hungUp(reset)
              yield* fail
              assert.strictEqual((yield* (yield* join).report).outcome, "reset")
              assert.strictEqual((yield* silent.client.readAll).ending, "reset")
            }
          }
        }).pipe(Effect.provide(KernelTransport.layer()))
      }))
  }

  it.scopedLive("is not for another platform, and says so", () =>
    Effect.gen(function*() {
      const platform = Object.getOwnPropertyDescriptor(process, "platform")!
      yield* Effect.acquireRelease(
        Effect.sync(() => Object.defineProperty(process, "platform", { ...platform, value: "darwin" })),
        () => Effect.sync(() => Object.defineProperty(process, "platform", platform))
      )
      const error = yield* Effect.flip(Layer.build(KernelTransport.layer()))
      assert.strictEqual(error._tag, "KernelUnavailable")
      assert.strictEqual(
        error.message,
        `the kernel transport is not available: it is for Linux on x64 and arm64, not darwin ${process.arch}`
      )
    }))

  it.scopedLive("is what AutoTransport takes, with one line in the log", () =>
    Effect.gen(function*() {
      const log: Array<Line> = []
      const context = yield* Layer.build(AutoTransport.layer().pipe(Layer.provide(logInto(log))))
      assert.strictEqual(Context.get(context, Transport.Transport).kind, "kernel")
      assert.deepStrictEqual(log, [{
        level: "INFO",
        message: "bytes are carried inside the kernel (transport kernel)"
      }])
    }))
})

const endsWithinMs = 30_000

const flood = 1_500

/** As in kernelArrivals.ts and kernelListeners.ts. */
const unheardMax = 1024
const pauseMs = 10

const ends = { source: "192.0.2.1", destination: "198.51.100.2", sourcePort: 4001, destinationPort: 38141 }

const floodFile = fileURLToPath(new URL("utils/flood.mjs", import.meta.url))

const sayOk = (connection: Transport.Connection) =>
  Effect.runFork(
    connection.preamble.pipe(
      Effect.zipRight(connection.toDuplex),
      Effect.flatMap((duplex) =>
        Effect.async<void>((resume) => {
          duplex.end("ok", () => resume(Effect.void))
        })
      ),
      Effect.ignore,
      Effect.ensuring(connection.close)
    )
  )

const counts = ({ fromLeft, fromRight }: Transport.Carried) => [fromLeft, fromRight]
