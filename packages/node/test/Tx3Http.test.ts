import type { HttpApp } from "@effect/platform"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiClient,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpBody,
  HttpClient,
  HttpClientRequest,
  HttpLayerRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse,
  Socket
} from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as RemoteDigest from "@tx3/node/RemoteDigest"
import * as Tx3HttpClient from "@tx3/node/Tx3HttpClient"
import * as Tx3HttpServer from "@tx3/node/Tx3HttpServer"
import * as Tx3Node from "@tx3/node/Tx3Node"
import { localServer, portOf } from "@tx3/testing/localServer"
import { Context, Effect, Exit, Fiber, Layer, Option, Queue, Schema, Scope, Stream } from "effect"
import { addressOf, alice, atRest, bob, eventually, live, payload, sha256 } from "./utils/nodes.js"
import { withRelay } from "./utils/relays.js"

const Notes = HttpApi.make("notes").add(
  HttpApiGroup.make("notes")
    .add(HttpApiEndpoint.get("who", "/who").addSuccess(Schema.Struct({ digest: Schema.NullOr(Schema.String) })))
    .add(
      HttpApiEndpoint.post("add", "/add").setPayload(Schema.Struct({ text: Schema.String }))
        .addSuccess(Schema.Struct({ length: Schema.Int }))
    )
)

const group = HttpApiBuilder.group(Notes, "notes", (handlers) =>
  handlers
    .handle("who", () => Effect.map(RemoteDigest.RemoteDigest, (digest) => ({ digest: Option.getOrNull(digest) })))
    .handle("add", ({ payload }) => Effect.succeed({ length: payload.text.length })))

/** Connections that have been made to the server, told apart by Node's socket. */
const sockets = new Set<unknown>()

const routes = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    yield* router.add("POST", "/echo", (request) => Effect.succeed(HttpServerResponse.stream(request.stream)))
    yield* router.add("GET", "/endless", endless)
    yield* router.add(
      "GET",
      "/events",
      HttpServerResponse.stream(Stream.encodeText(Stream.map(Stream.range(1, 3), (n) => `data: ${n}\n\n`)), {
        contentType: "text/event-stream"
      })
    )
    yield* router.add("GET", "/socket", upgraded)
  })
)

let sent = 0
const endless = HttpServerResponse.stream(
  Stream.repeatValue(Buffer.alloc(65_536, "x")).pipe(
    Stream.rechunk(1),
    Stream.tap(() => Effect.sync(() => void sent++)),
    // For the turns of the event loop in which the rest is done.
    Stream.mapEffect((bytes) => Effect.as(Effect.yieldNow(), bytes))
  )
)

const upgraded: HttpApp.Default<never, never> = Effect.gen(function*() {
  const digest = yield* RemoteDigest.RemoteDigest
  const socket = yield* Effect.orDie((yield* HttpServerRequest.HttpServerRequest).upgrade)
  const write = yield* socket.writer
  yield* Effect.orDie(socket.runRaw((message) => write(`${Option.getOrElse(digest, () => "")} ${String(message)}`)))
  return HttpServerResponse.empty()
}).pipe(Effect.scoped) as HttpApp.Default<never, never>

const countSockets = HttpLayerRouter.middleware(
  (handled) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      sockets.add((request.source as { readonly socket?: unknown }).socket)
      return handled
    }),
  { global: true }
)

const app = HttpLayerRouter.serve(
  Layer.mergeAll(HttpLayerRouter.addHttpApi(Notes).pipe(Layer.provide(group)), routes, countSockets),
  { disableListenLog: true, disableLogger: true }
)

/** Alice's server, behind a relay or direct, and bob's client of it. */
const served = (bind: string) =>
  Effect.gen(function*() {
    sockets.clear()
    const context = yield* Layer.build(
      Layer.provideMerge(app, Tx3HttpServer.layer({ bind: [bind], identity: alice, requireRegistration: true }))
    )
    const node = Context.get(context, Tx3Node.Tx3Node)
    const client = yield* Layer.build(Tx3HttpClient.layer(addressOf(node), { identity: bob }))
    return { client, node, server: Context.get(context, HttpServer.HttpServer) }
  })

const direct = "tx3-st://127.0.0.1:0"

describe("Tx3HttpServer and Tx3HttpClient", () => {
  live(
    "an HttpApi and its typed client, through a relay, know each other by digest",
    () =>
      withRelay((relay) =>
        Effect.gen(function*() {
          const { client } = yield* served(String(relay))
          const notes = yield* Effect.provide(HttpApiClient.make(Notes, { baseUrl: "http://notes" }), client)
          assert.deepStrictEqual(yield* notes.notes.who(), { digest: bob.digest })
          assert.deepStrictEqual(yield* notes.notes.add({ payload: { text: "note" } }), { length: 4 })
        })
      )
  )

  live("middleware around the whole server knows whom it serves", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(Tx3HttpServer.layer({ bind: [direct] }))
      let seen: Option.Option<string> = Option.none()
      yield* Context.get(context, HttpServer.HttpServer).serve(
        HttpServerResponse.text("ok"),
        (app) =>
          Effect.flatMap(RemoteDigest.RemoteDigest, (digest) => {
            seen = digest
            return app
          })
      )
      const address = addressOf(Context.get(context, Tx3Node.Tx3Node))
      const client = yield* Layer.build(Tx3HttpClient.layer(address, { identity: bob }))
      yield* Effect.provide(HttpClient.get("http://notes/"), client)
      assert.strictEqual(Option.getOrNull(seen), bob.digest)
    }))

  live("a connection is kept for the next request", () =>
    Effect.gen(function*() {
      const { client } = yield* served(direct)
      const notes = yield* Effect.provide(HttpApiClient.make(Notes, { baseUrl: "http://notes" }), client)
      for (let round = 0; round < 10; round++) {
        yield* notes.notes.who()
      }
      // A request that follows at once may find the connection not free yet.
      assert.isAtMost(sockets.size, 2)
      yield* Effect.all(Array.from({ length: 100 }, () => notes.notes.who()), { concurrency: "unbounded" })
      assert.isAtMost(sockets.size, 32)
    }))

  live("8 MiB go there and back at once, as streams", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { client } = yield* served(String(relay))
        const body = Stream.fromIterable(
          Array.from({ length: 128 }, (_, index) => payload.subarray(index * 65_536, (index + 1) * 65_536))
        )
        const answer = yield* HttpClientRequest.post("http://notes/echo").pipe(
          HttpClientRequest.setBody(HttpBody.stream(body)),
          HttpClient.execute,
          Effect.flatMap((response) => Stream.runCollect(response.stream)),
          Effect.provide(client)
        )
        assert.strictEqual(sha256(Buffer.concat(Array.from(answer))), sha256(payload))
      })
    ))

  live("a client that does not read holds the server back", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { client } = yield* served(String(relay))
        sent = 0
        const response = yield* Effect.provide(HttpClient.get("http://notes/endless"), client)
        yield* eventually(() => sent > 0)
        // 64 MiB would be 1024.
        assert.isBelow(yield* atRest(() => sent), 1_024)
        const taken = yield* Stream.runCollect(Stream.take(response.stream, 2_000))
        assert.strictEqual(taken.length, 2_000)
      }).pipe(Effect.scoped)
    ))

  live("server-sent events come as they are sent", () =>
    Effect.gen(function*() {
      const { client } = yield* served(direct)
      const response = yield* Effect.provide(HttpClient.get("http://notes/events"), client)
      const text = yield* Stream.mkString(Stream.decodeText(response.stream))
      assert.strictEqual(text, "data: 1\n\ndata: 2\n\ndata: 3\n\n")
    }))

  live("a WebSocket, whose handler knows whom it serves", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { client } = yield* served(String(relay))
        const socket = yield* Effect.provide(Socket.makeWebSocket("ws://notes/socket"), client)
        const answers = yield* Queue.unbounded<string>()
        const running = yield* Effect.fork(socket.runRaw((message) => void answers.unsafeOffer(String(message))))
        const write = yield* socket.writer
        for (const text of ["one", "two"]) {
          yield* write(text)
          assert.strictEqual(yield* answers.take, `${bob.digest} ${text}`)
        }
        yield* write(new Socket.CloseEvent(1000))
        yield* Fiber.join(running)
      })
    ))

  live("a server that is not there is a request error with the reason; https is refused", () =>
    Effect.gen(function*() {
      const client = yield* Layer.build(Tx3HttpClient.layer(`tx3-st://127.0.0.1:1/${alice.digest}`))
      const error = yield* Effect.flip(Effect.provide(HttpClient.get("http://notes/who"), client))
      assert.strictEqual(error._tag, "RequestError")
      assert.deepInclude(error.cause, { _tag: "DialError" })
      const secure = yield* Effect.flip(Effect.provide(HttpClient.get("https://notes/who"), client))
      assert.include(String(secure.cause), "write http://")
    }))

  live(
    "the layer says why it could not be made, and its server closes connections when it ends",
    () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Tx3HttpServer.layer({ bind: ["nowhere"] }))))
        assert.deepInclude(error.cause, { _tag: "AddressError" })

        const scope = yield* Scope.make()
        const { node, server } = yield* served(direct).pipe(
          Effect.provide(NodeConfig.layer({ httpDrainTimeoutMs: 50 })),
          Scope.extend(scope)
        )
        assert.deepStrictEqual(server.address, {
          _tag: "TcpAddress",
          hostname: "127.0.0.1",
          port: addressOf(node).port
        })
        const client = yield* Layer.build(Tx3HttpClient.layer(addressOf(node)))
        const response = yield* Effect.provide(HttpClient.get("http://notes/endless"), client)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(response.stream)))._tag, "ResponseError")
      })
  )

  live("a client that ends fails what it is connecting for", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* silentServer
      const scope = yield* Scope.make()
      const client = yield* Scope.extend(
        Layer.build(Tx3HttpClient.layer(`tx3-st://${endpoint}/${alice.digest}`)),
        scope
      )
      const socket = yield* Effect.provide(Socket.makeWebSocket("ws://notes/socket"), client)
      const opening = yield* Effect.fork(Effect.flip(socket.runRaw(() => {})))
      const getting = yield* Effect.fork(Effect.flip(Effect.provide(HttpClient.get("http://notes/who"), client)))
      yield* eventually(() => accepted === 2)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(opening)).reason, "Open")
      assert.strictEqual((yield* Fiber.join(getting))._tag, "RequestError")
    }))
})

let accepted = 0

/** One that takes connections and says nothing. */
const silentServer = Effect.suspend(() => {
  accepted = 0
  return Effect.map(localServer(() => accepted++), (server) => ({ endpoint: `127.0.0.1:${portOf(server)}` }))
})
