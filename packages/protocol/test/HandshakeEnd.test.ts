/** How a TLS socket's end, and what only looks like one, is told to its reader. */
import { assert, describe, it } from "@effect/vitest"
import { Handshake, Identity, Tls } from "@tx3/protocol"
import { Effect } from "effect"
import type { AddressInfo } from "node:net"
import * as net from "node:net"
import { Duplex } from "node:stream"
import type { TLSSocket } from "node:tls"
import * as tls from "node:tls"

/** Two ends of a TCP connection over loopback, destroyed with the scope. */
const socketPair = Effect.acquireRelease(
  Effect.async<readonly [net.Socket, net.Socket]>((resume) => {
    const listener = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1", () => {
      const { port } = listener.address() as AddressInfo
      const near = net.connect({ allowHalfOpen: true, host: "127.0.0.1", port })
      listener.once("connection", (far) => {
        listener.close()
        resume(Effect.succeed([near.on("error", () => {}), far.on("error", () => {})]))
      })
    })
  }),
  (sockets) => Effect.sync(() => sockets.forEach((socket) => socket.destroy()))
)

/** A peer that keeps back what its TLS sends, once it is told to, for the test to send in pieces of its own. */
class Peer extends Duplex {
  readonly tls: TLSSocket
  private kept: Array<Buffer> | undefined

  constructor(readonly raw: net.Socket, context: tls.SecureContext) {
    super()
    raw.on("data", (chunk) => this.push(chunk))
    this.tls = tls.connect({ socket: this, ...Tls.clientOptions(context) }).on("error", () => {})
  }

  override _read() {}

  override _write(chunk: Buffer, _: BufferEncoding, callback: () => void) {
    if (this.kept === undefined) {
      this.raw.write(chunk)
    } else {
      this.kept.push(chunk)
    }
    callback()
  }

  /** What TLS makes of these bytes, and of its own end if asked. */
  encrypted(bytes: Buffer, options: { readonly end: boolean }): Effect.Effect<Buffer> {
    return Effect.async((resume) => {
      this.kept = []
      const done = () => setImmediate(() => setImmediate(() => resume(Effect.succeed(Buffer.concat(this.kept!)))))
      this.tls.write(bytes, () => options.end ? this.tls.end(done) : done())
    })
  }
}

const [ours, theirs] = await Effect.runPromise(
  Effect.all([Identity.generate, Identity.generate]).pipe(
    Effect.map(([ours, theirs]) => [Tls.secureContext(ours), Tls.secureContext(theirs)] as const)
  )
)

const secured = (options?: Handshake.Options) =>
  Effect.gen(function*() {
    const [raw, below] = yield* socketPair
    const peer = new Peer(raw, theirs)
    const { socket } = yield* Handshake.accept(below, ours, options)
    return { below, peer, socket }
  })

/** Reads all, from the next turn but `turns` on, and says how that ends. */
const outcome = (socket: TLSSocket) =>
  Effect.async<{ readonly bytes: number; readonly end: string }>((resume) => {
    let bytes = 0
    const done = (end: string) => resume(Effect.succeed({ bytes, end }))
    socket.on("data", (chunk: Buffer) => (bytes += chunk.length))
    socket.once("end", () => done("end"))
    socket.once("error", (error: NodeJS.ErrnoException & { readonly _tag?: string }) => done(error._tag ?? error.code!))
    socket.once("close", () => done("close"))
  })

const turns = (count: number) =>
  Effect.async<void>((resume) => {
    const turn = (left: number) => void (left === 0 ? resume(Effect.void) : setImmediate(() => turn(left - 1)))
    turn(count)
  })

/** One read of the socket below, two, and many with the reader's buffers full. */
const sizes = [1, 60_000, 1_500_000]

describe("Handshake", () => {
  const readers = [
    ["reads at once", 0],
    ["reads later", 50]
  ] as const

  for (const [reader, wait] of readers) {
    for (const size of sizes) {
      const bytes = Buffer.alloc(size, "x")

      it.scopedLive(`ends after close_notify: ${size} bytes, close_notify and FIN in one write, ${reader}`, () =>
        Effect.gen(function*() {
          const { peer, socket } = yield* secured()
          peer.raw.end(yield* peer.encrypted(bytes, { end: true }))
          yield* turns(wait)
          assert.deepStrictEqual(yield* outcome(socket), { bytes: size, end: "end" })
        }))

      it.scopedLive(`ends after close_notify without a FIN: ${size} bytes, ${reader}`, () =>
        Effect.gen(function*() {
          const { peer, socket } = yield* secured()
          peer.raw.write(yield* peer.encrypted(bytes, { end: true }))
          yield* turns(wait)
          assert.deepStrictEqual(yield* outcome(socket), { bytes: size, end: "end" })
        }))

      it.scopedLive(`fails after ${size} bytes and a FIN, ${reader}`, () =>
        Effect.gen(function*() {
          const { peer, socket } = yield* secured()
          peer.raw.end(yield* peer.encrypted(bytes, { end: false }))
          yield* turns(wait)
          assert.deepStrictEqual(yield* outcome(socket), { bytes: size, end: "Truncated" })
          assert.isTrue(socket.destroyed)
        }))

      it.scopedLive(`fails after ${size} bytes, close_notify cut short and a FIN, ${reader}`, () =>
        Effect.gen(function*() {
          const { peer, socket } = yield* secured()
          peer.raw.end((yield* peer.encrypted(bytes, { end: true })).subarray(0, -1))
          yield* turns(wait)
          assert.deepStrictEqual(yield* outcome(socket), { bytes: size, end: "Truncated" })
        }))

      it.scopedLive(`fails after ${size} bytes and a reset, ${reader}`, () =>
        Effect.gen(function*() {
          const { peer, socket } = yield* secured()
          peer.raw.write(yield* peer.encrypted(bytes, { end: false }), () => peer.raw.resetAndDestroy())
          yield* turns(wait)
          const { end } = yield* outcome(socket)
          assert.include(["Truncated", "ECONNRESET"], end)
        }))

      it.scopedLive(`ends where it may be truncated: ${size} bytes and a FIN, ${reader}`, () =>
        Effect.gen(function*() {
          const { peer, socket } = yield* secured({ allowTruncated: true })
          peer.raw.end(yield* peer.encrypted(bytes, { end: false }))
          yield* turns(wait)
          assert.deepStrictEqual(yield* outcome(socket), { bytes: size, end: "end" })
        }))
    }
  }

  it.scopedLive("says whether nothing came, or no more than a relay's all-clear", () =>
    Effect.gen(function*() {
      for (
        const [sent, came] of [
          [Buffer.of(0), "all-clear"],
          [Buffer.of(1), "data"],
          [Buffer.of(0, 0), "data"],
          [Buffer.of(), "nothing"]
        ] as const
      ) {
        const { peer, socket } = yield* secured()
        peer.raw.end(yield* peer.encrypted(sent, { end: false }))
        const error = yield* Effect.async<Error>((resume) =>
          void socket.resume().once("error", (error) => resume(Effect.succeed(error)))
        )
        assert.instanceOf(error, Handshake.Truncated)
        assert.strictEqual((error as Handshake.Truncated).came, came, sent.toString("hex"))
      }
    }))

  it.scopedLive("fails after a reset that nobody writes into, also when this end has ended", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* secured()
      socket.end()
      yield* Effect.async<void>((resume) => void peer.tls.once("end", () => resume(Effect.void)).resume())
      peer.raw.resetAndDestroy()
      assert.include(["Truncated", "ECONNRESET"], (yield* outcome(socket)).end)
    }))

  it.scopedLive("sends close_notify when its socket is ended, and none when it is destroyed", () =>
    Effect.gen(function*() {
      const [ending, destroying] = yield* Effect.all([secured(), secured()])
      ending.socket.end("all")
      assert.deepStrictEqual(yield* outcome(ending.peer.tls), { bytes: 3, end: "end" })

      const closed = yield* Effect.async<number>((resume) => {
        let bytes = 0
        destroying.peer.raw.on("data", ({ length }) => (bytes += length))
        destroying.peer.raw.once("end", () => resume(Effect.succeed(bytes)))
        destroying.socket.destroy()
      })
      assert.strictEqual(closed, 0)
    }))

  it.scopedLive("holds the other end back while nobody reads, and itself while the other end does not read", () =>
    Effect.gen(function*() {
      const { below, peer, socket } = yield* secured()
      peer.raw.pause()
      let taken = 0
      for (let piece = 0; piece < 1_000; piece++) {
        socket.write(Buffer.alloc(64 * 1024), () => taken++)
      }
      peer.raw.write(yield* peer.encrypted(Buffer.alloc(32 * 1024 * 1024), { end: true }))
      let [still, read, before] = [0, 0, 0]
      while (still < 200) {
        yield* turns(1)
        still = read === below.bytesRead && before === taken ? still + 1 : 0
        read = below.bytesRead
        before = taken
      }
      assert.isBelow(read, 1024 * 1024)
      assert.isBelow(taken, 500)
      peer.raw.resume()
      assert.deepStrictEqual(yield* outcome(socket), { bytes: 32 * 1024 * 1024, end: "end" })
    }))
})
