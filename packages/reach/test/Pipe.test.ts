import { assert, describe, it } from "@effect/vitest"
import { Tx3Node } from "@tx3/node"
import { Pipe } from "@tx3/reach"
import { localServer } from "@tx3/testing/localServer"
import { Deferred, Effect, Option, Stream } from "effect"
import * as net from "node:net"
import { PassThrough, Readable } from "node:stream"
import { text } from "node:stream/consumers"

/**
 * A way to a port on which all that the client sends after its first message arrives in one piece, when it has ended: as
 * it may happen where the server is busy.
 */
const slowWay = (port: number) =>
  localServer((client) => {
    const onward = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    onward.on("error", () => {})
    client.once("close", () => onward.destroy())
    onward.pipe(client)
    client.once("data", (hello) => {
      onward.write(hello)
      const rest: Array<Buffer> = []
      client.on("data", (chunk) => rest.push(chunk))
      client.once("end", () => onward.end(Buffer.concat(rest)))
    })
  }, { allowHalfOpen: true })

describe("Pipe.run", () => {
  it.scopedLive("loses nothing when both ends end as soon as they are connected", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"] })
      const { port } = (yield* slowWay(node.addresses[0]!.port)).address() as net.AddressInfo
      const ended = Readable.from([])
      ended.resume()
      yield* Effect.promise(() => text(ended))
      const stdout = new PassThrough()
      const received = text(stdout)
      const listening = yield* Effect.fork(
        Effect.flatMap(Stream.runHead(node.connections), (head) =>
          Pipe.run(Option.getOrThrow(head), { stdin: ended, stdout }))
      )
      const peer = yield* Tx3Node.make({})
      const connection = yield* peer.connect(String(node.addresses[0]).replace(/:\d+\//, `:${port}/`))
      yield* connection.write(Buffer.from("hello"))
      yield* connection.end
      yield* listening
      stdout.end()
      assert.strictEqual(
        yield* Effect.promise(() =>
          received
        ),
        "hello"
      )
    }))

  it.scopedLive("writes what came first before it tells that something came", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"] })
      yield* Effect.forkScoped(node.serve((connection) => Effect.ignore(connection.write(Buffer.from("all there is")))))
      const peer = yield* Tx3Node.make({})
      const connection = yield* peer.connect(node.addresses[0]!)
      const [stdin, stdout] = [new PassThrough(), new PassThrough()]
      const came = yield* Deferred.make<Buffer>()
      stdout.once("data", (bytes: Buffer) => Deferred.unsafeDone(came, Effect.succeed(bytes)))
      const onAnswer = Effect.asVoid(Deferred.await(came))
      yield* Effect.forkScoped(Pipe.run(connection, { stdin, stdout }, { onAnswer, ownDigest: peer.digest }))
      assert.strictEqual((yield* Deferred.await(came)).toString(), "all there is")
    }))

  for (const sent of ["\0", "\0\0", "\0more"]) {
    it.scopedLive(`a byte of 0 that comes first gets through: ${JSON.stringify(sent)}`, () =>
      Effect.gen(function*() {
        const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"] })
        yield* Effect.forkScoped(node.serve((connection) =>
          Effect.gen(function*() {
            for (const byte of Buffer.from(sent)) {
              yield* connection.write(Buffer.of(byte))
            }
            // The end comes only when all has been taken.
            yield* Stream.runDrain(connection.readable)
            yield* connection.end
          }).pipe(Effect.ignore)
        ))
        const peer = yield* Tx3Node.make({})
        const connection = yield* peer.connect(node.addresses[0]!)
        const [stdin, stdout] = [new PassThrough(), new PassThrough()]
        let received = ""
        stdout.on("data", (chunk: Buffer) => {
          received += chunk.toString()
          if (received.length === sent.length) {
            stdin.end()
          }
        })
        yield* Pipe.run(connection, { stdin, stdout }, { ownDigest: peer.digest })
        assert.strictEqual(received, sent)
      }))
  }
})
