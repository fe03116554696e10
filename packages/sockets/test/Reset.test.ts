/** What is behind the end that a socket of Node reports. */
import { assert, describe, it } from "@effect/vitest"
import { Reset } from "@tx3/sockets"
import { sendUrgentAndEnd } from "@tx3/testing/libc"
import { Effect } from "effect"
import * as Net from "node:net"

/** The two ends of one connection. */
const connected = Effect.gen(function*() {
  const server = yield* Effect.acquireRelease(
    Effect.async<Net.Server>((resume) => {
      const server = Net.createServer({ allowHalfOpen: true })
      server.listen({ host: "127.0.0.1", port: 0 }, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
  const owned = (socket: Net.Socket) =>
    Effect.acquireRelease(Effect.succeed(socket), () => Effect.sync(() => socket.destroy()))
  const accepted = Effect.async<Net.Socket>((resume) => {
    server.once("connection", (socket) => resume(Effect.succeed(socket.on("error", () => {}))))
  })
  const { port } = server.address() as Net.AddressInfo
  const near = yield* owned(Net.connect({ allowHalfOpen: true, host: "127.0.0.1", port }).on("error", () => {}))
  const far = yield* Effect.flatMap(accepted, owned)
  return { far, near }
})

const event = (socket: Net.Socket, name: string) =>
  Effect.async<void>((resume) => {
    socket.once(name, () => resume(Effect.void))
  })

/** What a socket gives from now on, and what is behind its end. */
const readToEnd = (socket: Net.Socket) =>
  Effect.async<Reset.BehindEnd & { readonly read: Buffer }>((resume) => {
    const chunks: Array<Buffer> = []
    socket.on("data", (chunk: Buffer) => chunks.push(chunk))
      .once("end", () => resume(Effect.succeed({ ...Reset.behindEnd(socket), read: Buffer.concat(chunks) })))
  })

describe("Reset.behindEnd", () => {
  it.scopedLive("an end in order has nothing behind it", () =>
    Effect.gen(function*() {
      const { far, near } = yield* connected
      near.end(Buffer.alloc(1_000))
      const { bytes, isReset, read } = yield* readToEnd(far)
      assert.deepEqual([read.length, bytes.length, isReset], [1_000, 0, false])
    }))

  it.scopedLive("bytes that urgent data keep from libuv", () =>
    Effect.gen(function*() {
      const { far, near } = yield* connected
      far.end()
      near.resume()
      yield* event(near, "end")
      sendUrgentAndEnd(near, Buffer.alloc(1_000, 1), Buffer.alloc(100_000, 2))
      const { bytes, isReset, read } = yield* readToEnd(far)
      assert.isFalse(isReset)
      // From Node 24, libuv reads on by itself.
      assert.include([1_000, 101_000], read.length)
      const sent = Buffer.concat([Buffer.alloc(1_000, 1), Buffer.alloc(100_000, 2)])
      assert.isTrue(Buffer.concat([read, bytes]).equals(sent), `${read.length} and ${bytes.length} bytes`)
    }))

  it.scopedLive("a socket that is closed has nothing behind it", () =>
    Effect.gen(function*() {
      const { far } = yield* connected
      far.destroy()
      assert.deepEqual(Reset.behindEnd(far), { bytes: Buffer.alloc(0), isReset: false })
    }))
})
