import * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "@effect/rpc"
import { assert, describe } from "@effect/vitest"
import * as RemoteDigest from "@tx3/node/RemoteDigest"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Tx3Socket from "@tx3/node/Tx3Socket"
import * as Tx3SocketServer from "@tx3/node/Tx3SocketServer"
import { Chunk, Context, Effect, Exit, Layer, Option, Schedule, Schema, Scope, Stream } from "effect"
import { alice, bob, eventually, live } from "./utils/nodes.js"
import { withRelay } from "./utils/relays.js"

class Notes extends RpcGroup.make(
  Rpc.make("Echo", { payload: { text: Schema.String }, success: Schema.String }),
  Rpc.make("Who", { success: Schema.OptionFromNullOr(Schema.String) }),
  Rpc.make("Count", { payload: { to: Schema.Int }, success: Schema.Int, stream: true }),
  Rpc.make("Fail", { error: Schema.String })
) {}

let counted = 0

const handlers = Notes.toLayer({
  Echo: ({ text }) => Effect.succeed(text),
  Who: () => RemoteDigest.RemoteDigest,
  Count: ({ to }) => Stream.rechunk(Stream.tap(Stream.range(1, to), () => Effect.sync(() => void counted++)), 1),
  Fail: () => Effect.fail("no")
})

/** The server and the client of an application. They know nothing of where they run. */
const server: Layer.Layer<never, never, SocketServer.SocketServer> = RpcServer.layer(Notes).pipe(
  Layer.provide(handlers),
  Layer.provide(RpcServer.layerProtocolSocketServer),
  Layer.provide(RpcSerialization.layerNdjson)
)

const client: Layer.Layer<RpcClient.Protocol, never, Socket.Socket> = RpcClient.layerProtocolSocket().pipe(
  Layer.provide(RpcSerialization.layerNdjson)
)

const places = {
  "TCP": () =>
    Effect.gen(function*() {
      const served = yield* Layer.build(
        Layer.provideMerge(server, NodeSocketServer.layer({ host: "127.0.0.1", port: 0 }))
      )
      const { address } = Context.get(served, SocketServer.SocketServer)
      assert(address._tag === "TcpAddress")
      return Layer.provide(client, Layer.orDie(NodeSocket.layerNet({ host: "127.0.0.1", port: address.port })))
    }),
  "a relay": (relay: string, onReceive: (data: Uint8Array | string) => void = () => {}) =>
    Effect.gen(function*() {
      const served = yield* Layer.build(
        Layer.provideMerge(
          server,
          Tx3SocketServer.layer({ bind: [relay], identity: alice, requireRegistration: true })
        )
      )
      const { addresses } = Context.get(served, Tx3Node.Tx3Node)
      const observed = Layer.effect(
        Socket.Socket,
        Effect.map(Socket.Socket, (socket) => ({
          ...socket,
          runRaw: (handler, options) =>
            socket.runRaw((data) => {
              onReceive(data)
              return handler(data)
            }, options)
        }))
      )
      return client.pipe(
        Layer.provide(observed),
        Layer.provide(Tx3Socket.layer(addresses[0]!, { identity: bob }))
      )
    })
}

describe("@effect/rpc over", () => {
  for (const [name, place] of Object.entries(places)) {
    live(`${name}: calls, errors, 50 at a time, and streams`, () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const notes = yield* Effect.provide(RpcClient.make(Notes), yield* Layer.build(yield* place(String(relay))))
          const text = "x".repeat(1_000_000)
          assert.strictEqual(yield* notes.Echo({ text }), text)
          assert.strictEqual(yield* Effect.flip(notes.Fail()), "no")
          const answers = yield* Effect.forEach(
            Array.from({ length: 50 }, (_, index) => String(index)),
            (text) => notes.Echo({ text }),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(answers, Array.from({ length: 50 }, (_, index) => String(index)))
          assert.strictEqual(Chunk.size(yield* Stream.runCollect(notes.Count({ to: 1_000 }))), 1_000)
          assert.strictEqual(Option.getOrNull(yield* notes.Who()), name === "TCP" ? null : bob.digest)
        })
      ))
  }

  live(
    "a relay: a stream whose reader stops holds its server back, and no other call",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          let received = ""
          const protocol = yield* Layer.build(
            yield* places["a relay"](String(relay), (data) => {
              received += Buffer.from(data).toString()
            })
          )
          const notes = yield* Effect.provide(RpcClient.make(Notes), protocol)
          counted = 0
          const streamBufferSize = 16
          const read = yield* yield* Stream.toPull(notes.Count({ to: 1_000_000 }, { streamBufferSize }))
          // The client acknowledges what it has room for. One more element waits for the reader, and the server for its client. Its
          // client handles the messages of one piece in turn, so an answer behind that element in its piece would wait as well.
          const most = Chunk.size(read) + streamBufferSize + 1
          yield* eventually(() => received.split("\"_tag\":\"Chunk\"").length - 1 === most)
          for (let round = 0; round < 100; round++) {
            assert.strictEqual(yield* notes.Echo({ text: "still" }), "still")
          }
          assert.strictEqual(counted, most)
        })
      )
  )

  live(
    "a relay: a client comes back by itself when the server has been away",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const serving = Layer.provideMerge(
            server,
            Tx3SocketServer.layer({ bind: [relay], identity: alice, requireRegistration: true })
          )
          const first = yield* Scope.make()
          yield* Scope.extend(Layer.build(serving), first)
          const socket = Tx3Socket.layer(relay.withDigest(alice.digest))
          const protocol = RpcClient.layerProtocolSocket({ retrySchedule: Schedule.spaced(20) }).pipe(
            Layer.provide(RpcSerialization.layerNdjson),
            Layer.provide(socket)
          )
          const notes = yield* Effect.provide(RpcClient.make(Notes), yield* Layer.build(protocol))
          assert.strictEqual(yield* notes.Echo({ text: "one" }), "one")
          yield* Scope.close(first, Exit.void)
          assert.strictEqual((yield* Effect.flip(notes.Echo({ text: "two" })))._tag, "RpcClientError")
          yield* Layer.build(serving)
          const answer = yield* Effect.retry(notes.Echo({ text: "three" }), Schedule.spaced(20))
          assert.strictEqual(answer, "three")
        })
      )
  )
})
