/** A program that a signal ends in the middle of a stream, or whose connection is cut off: the other end never finds an end. */
import { assert, describe, it } from "@effect/vitest"
import { Handshake, Identity, Tls } from "@tx3/protocol"
import * as Reset from "@tx3/sockets/Reset"
import * as programs from "@tx3/testing/builtPrograms"
import { localServer, portOf } from "@tx3/testing/localServer"
import { Effect, Runtime } from "effect"
import * as net from "node:net"

const piece = Buffer.alloc(64 * 1024, "x")

/** Writes for ever, as fast as it is taken. */
const writeForEver = (socket: net.Socket) => {
  const write = () => {
    while (!socket.destroyed && socket.write(piece)) { /* until it is full */ }
  }
  socket.on("drain", write).on("error", () => {})
  write()
}

const serving = (onConnection: (socket: net.Socket) => void) =>
  Effect.map(localServer(onConnection, { allowHalfOpen: true }), portOf)

/** A connection from which 3 MB have come, and how it ends. */
const reader = (port: number, options: { readonly halfClosed: boolean }) =>
  Effect.acquireRelease(
    Effect.sync(() => net.connect({ host: "127.0.0.1", port, allowHalfOpen: true }).on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(Effect.flatMap((socket) => {
    let bytes = 0
    const outcome = new Promise<string>((resolve) => {
      // Node takes a reset right behind unread data for an end.
      socket.once("end", () => resolve(Reset.behindEnd(socket).isReset ? "reset" : "end"))
        .once("close", () => resolve(socket.errored === null ? "close" : "reset"))
    })
    if (options.halfClosed) {
      socket.end("request")
    }
    return Effect.async<{ readonly outcome: Promise<string> }>((resume) => {
      socket.on("data", ({ length }) => {
        bytes += length
        if (bytes > 3_000_000) {
          resume(Effect.succeed({ outcome }))
        }
      })
    })
  }))

describe("SIGTERM in the middle of a stream", { timeout: 120_000 }, () => {
  for (const ended of ["expose", "forward"] as const) {
    for (const halfClosed of [true, false]) {
      it.scopedLive(`to ${ended} resets a client that ${halfClosed ? "has ended its side" : "has not ended"}`, () =>
        Effect.gen(function*() {
          const service = yield* serving(writeForEver)
          const relay = yield* programs.startRelay()
          const expose = yield* programs.start("tx3", ["expose", `127.0.0.1:${service}`, "--via", relay.address])
          const [address] = yield* expose.untilStdout(/tx3-\S+/)
          const forward = yield* programs.start("tx3", ["forward", address, "--listen", "127.0.0.1:0"])
          const [, port] = yield* forward.untilStdout(/:(\d+)$/m)
          const { outcome } = yield* reader(Number(port), { halfClosed })
          const program = { expose, forward }[ended]
          program.kill("SIGTERM")
          assert.strictEqual((yield* program.ended).code, 143)
          assert.strictEqual(yield* Effect.promise(() => outcome), "reset")
        }))
    }
  }

  for (const ended of ["listen", "connect"] as const) {
    it.scopedLive(`to ${ended} fails the other end`, () =>
      Effect.gen(function*() {
        const relay = yield* programs.startRelay()
        const listen = yield* programs.start("tx3", ["listen", relay.address], { stdin: "pipe" })
        const [, address] = yield* listen.untilStderr(/listening at (\S+)/)
        const connect = yield* programs.start("tx3", ["connect", address!], { stdin: "pipe" })
        const [program, other] = ended === "listen" ? [listen, connect] : [connect, listen]
        program.stdin.on("error", () => {})
        program.stdin.write(Buffer.alloc(1_000_000, "x"))
        // The other end has ended its own side and hears on.
        other.stdin.end()
        yield* other.untilStdout(/x{1000}/)
        program.kill("SIGTERM")
        assert.strictEqual((yield* program.ended).code, 143)
        const { code, stderr } = yield* other.ended
        assert.strictEqual(code, 1, stderr)
        assert.match(stderr, /the connection (was cut off|is lost)/)
      }))
  }
})

describe("a peer that never sends close_notify", { timeout: 180_000 }, () => {
  it.scopedLive("fails tx3 connect behind its last byte, and not with --allow-truncated", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.generate
      const runFork = Runtime.runFork(yield* Effect.runtime())
      const port = yield* serving((socket) => {
        runFork(Effect.scoped(Effect.gen(function*() {
          const secured = yield* Handshake.accept(socket, Tls.secureContext(identity))
          yield* Effect.async<void>((resume) => {
            secured.socket.write("all there is", () => socket.end())
            socket.once("close", () => resume(Effect.void))
          })
        })))
      })
      const address = `tx3-st://127.0.0.1:${port}/${identity.digest}`
      for (const [flags, code] of [[[], 1], [["--allow-truncated"], 0]] as const) {
        const connect = yield* programs.start("tx3", ["connect", ...flags, address], { stdin: "" })
        const ended = yield* connect.ended
        assert.strictEqual(ended.stdout.toString(), "all there is")
        assert.strictEqual(ended.code, code, ended.stderr)
      }
    }))
})
