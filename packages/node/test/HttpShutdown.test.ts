import { HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe } from "@effect/vitest"
import * as Tx3HttpServer from "@tx3/node/Tx3HttpServer"
import * as Tx3Node from "@tx3/node/Tx3Node"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import * as http from "node:http"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import { WebSocket } from "ws"
import { addressOf, alice, eventually, live } from "./utils/nodes.js"
import { withRelay } from "./utils/relays.js"

/** Opens a connection to the server that is under test, whose end is the caller's. */
type Open = Effect.Effect<Duplex, unknown, Scope.Scope>

/** What a server's layer gives, and how it is connected to. */
type Served = Effect.Effect<readonly [Context.Context<HttpServer.HttpServer>, Open], unknown, Scope.Scope>

const onTcp: Served = Effect.gen(function*() {
  const context = yield* Layer.build(NodeHttpServer.layer(() => http.createServer(), { host: "127.0.0.1", port: 0 }))
  const { address } = Context.get(context, HttpServer.HttpServer)
  assert(address._tag === "TcpAddress")
  const { port } = address
  return [
    context,
    Effect.acquireRelease(
      Effect.sync(() => net.connect({ host: "127.0.0.1", port }).on("error", () => {})),
      (socket) => Effect.sync(() => socket.destroy())
    )
  ]
})

const onNode = (bind: string): Served =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      Tx3HttpServer.layer({ bind: [bind], identity: alice, requireRegistration: true })
    )
    const address = addressOf(Context.get(context, Tx3Node.Tx3Node))
    const open = Effect.flatMap(Tx3Node.make({}), (node) => node.connect(address))
    return [context, Effect.map(open, ({ duplex }) => duplex.on("error", () => {}))]
  })

const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`

/** What has come on a connection, and whether it has ended. */
const watch = (duplex: Duplex) => {
  const seen = { text: "", isOver: false }
  const onOver = () => {
    seen.isOver = true
  }
  duplex.on("data", (bytes) => seen.text += String(bytes)).once("end", onOver).once("close", onOver)
  return seen
}

const suite = (
  name: string,
  withServer: (
    test: (served: Served) => Effect.Effect<void, unknown, Scope.Scope>
  ) => Effect.Effect<unknown, unknown, Scope.Scope>
) =>
  describe(name, () => {
    live("finishes a request in progress, closes what is idle and refuses new connections", () =>
      withServer((served) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const [context, open] = yield* Scope.extend(served, scope)
          const began = yield* Deferred.make<void>()
          const goOn = yield* Deferred.make<void>()
          const app = Effect.gen(function*() {
            if ((yield* HttpServerRequest.HttpServerRequest).url === "/slow") {
              yield* Deferred.succeed(began, undefined)
              yield* Deferred.await(goOn)
            }
            return HttpServerResponse.text("whole")
          })
          yield* Scope.extend(Context.get(context, HttpServer.HttpServer).serve(app), scope)

          const [idle, slow] = [yield* open, yield* open]
          const [ofIdle, ofSlow] = [watch(idle), watch(slow)]
          idle.write(request("/"))
          yield* eventually(() =>
            ofIdle.text.endsWith("whole")
          )
          slow.write(request("/slow"))
          yield* Deferred.await(began)

          const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
          yield* eventually(() => ofIdle.isOver)
          const late = yield* Effect.either(open)
          if (late._tag === "Right") {
            const ofLate = watch(late.right)
            late.right.write(request("/"))
            yield* eventually(() => ofLate.isOver)
            assert.strictEqual(ofLate.text, "")
          }
          assert.isFalse(ofSlow.isOver)
          assert.isNull(closing.unsafePoll())
          yield* Deferred.succeed(goOn, undefined)
          yield* eventually(() => ofSlow.isOver)
          assert.match(ofSlow.text, /^HTTP\/1\.1 200 [^]*whole$/)
          yield* Fiber.join(closing)
        })
      ))

    live("closes a WebSocket with a code", () =>
      withServer((served) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const [context, open] = yield* Scope.extend(served, scope)
          const app = Effect.gen(function*() {
            const socket = yield* (yield* HttpServerRequest.HttpServerRequest).upgrade
            yield* socket.runRaw(() => {})
            return HttpServerResponse.empty()
          }).pipe(Effect.orDie)
          yield* Scope.extend(Context.get(context, HttpServer.HttpServer).serve(app), scope)

          const duplex = yield* open
          const client = new WebSocket("ws://test/", { createConnection: () => duplex as net.Socket })
          let code: number | undefined
          client.on("error", () => {}).on("close", (closed) => code = closed)
          yield* eventually(() => client.readyState === WebSocket.OPEN)
          yield* Scope.close(scope, Exit.void)
          yield* eventually(() => code !== undefined)
          // That of a close frame without a code; a connection that is lost would give 1006.
          assert.strictEqual(code, 1005)
        })
      ))
  })

suite("NodeHttpServer", (test) => test(onTcp))
suite("Tx3HttpServer", (test) => test(onNode("tx3-st://127.0.0.1:0")))
suite("Tx3HttpServer through a relay", (test) => withRelay((relay) => test(onNode(String(relay)))))
