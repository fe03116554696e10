/**
 * What strangers can hold of a server for this machine's own programs, with real sockets.
 */
import type { HttpApp } from "@effect/platform"
import { HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { LocalHttp } from "@tx3/local-http"
import { Context, Effect, Fiber, Layer } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { request } from "node:http"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { until } from "../../operate/test/utils/operatedRelay.js"

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-http-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** A server that answers with the length of a request's body, and never at `/never`. */
const serve = (address: string) =>
  Effect.gen(function*() {
    const connections = LocalHttp.makeConnections()
    let requests = 0
    const app: HttpApp.Default = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      if (request.url === "/never") {
        LocalHttp.trust(request)
        return yield* Effect.never
      }
      return HttpServerResponse.text(`${(yield* Effect.orDie(request.text)).length}`)
    })
    const counted = Effect.acquireUseRelease(
      Effect.sync(() => requests++),
      () => LocalHttp.withBoundedBody(app),
      () => Effect.sync(() => requests--)
    )
    const context = yield* Layer.build(
      Layer.provideMerge(HttpServer.serve(counted), LocalHttp.server(address, connections))
    )
    const { address: bound } = Context.get(context, HttpServer.HttpServer)
    return {
      connections,
      requests: () => requests,
      to: bound._tag === "TcpAddress" ? { host: "127.0.0.1", port: bound.port } : { path: bound.path }
    }
  })

type To = Effect.Effect.Success<ReturnType<typeof serve>>["to"]

interface Open {
  readonly socket: Net.Socket
  text: string
  closed: boolean
}

/** A connection that says this, closed with the scope. */
const open = (to: To, text = "") =>
  Effect.acquireRelease(
    Effect.async<Open>((resume) => {
      const socket = Net.connect(to as Net.NetConnectOpts)
      const open: Open = { socket, text: "", closed: false }
      socket.on("error", () => {})
        .on("close", () => {
          open.closed = true
        })
        .on("data", (chunk) => {
          open.text += chunk.toString()
        })
        .once("connect", () => {
          socket.write(text)
          resume(Effect.succeed(open))
        })
        .once("error", () => resume(Effect.succeed(open)))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const many = (count: number, to: To, text = "") =>
  Effect.forEach(Array.from({ length: count }), () => open(to, text), { concurrency: 50 })

/** A whole request on a connection of its own: the answer's status and text. */
const ask = (to: To, body: string | Buffer = "") =>
  Effect.async<string>((resume) => {
    const where = "path" in to ? { socketPath: to.path } : to
    const asked = request({ ...where, path: "/", method: "POST", agent: false }, (response) => {
      let text = ""
      response.on("data", (chunk) => {
        text += chunk
      }).on("end", () => resume(Effect.succeed(`${response.statusCode} ${text}`)))
    })
    asked.on("error", (error) => resume(Effect.succeed(String(error)))).end(body)
  })

describe("LocalHttp", () => {
  for (const kind of ["tcp", "unix"] as const) {
    const address = Effect.map(
      temporaryFolder,
      (folder) => kind === "tcp" ? "http://127.0.0.1:0" : `unix:${join(folder, "http.sock")}`
    )

    it.scopedLive(`${kind}: answers while 500 connections are idle, and closes those that are silent`, () =>
      Effect.gen(function*() {
        const { connections, to } = yield* serve(yield* address)
        const idle = yield* many(500, to)
        assert.strictEqual(yield* ask(to, "12345"), "200 5")
        assert.isAtMost(connections.size, 48)
        yield* until("all are closed", () => idle.every(({ closed }) => closed))
        yield* until("no place is taken", () => connections.size === 0)
      }))
  }

  it.scopedLive("answers a request that comes between listening and serving", () =>
    Effect.gen(function*() {
      const listening = yield* Layer.build(LocalHttp.server("http://127.0.0.1:0"))
      const { address } = Context.get(listening, HttpServer.HttpServer)
      const to = { host: "127.0.0.1", port: address._tag === "TcpAddress" ? address.port : 0 }
      const began = Effect.async<void>((resume) => {
        const channel = "http.server.request.start"
        const onStart = () => {
          unsubscribe(channel, onStart)
          setImmediate(() => resume(Effect.void))
        }
        subscribe(channel, onStart)
      })
      const [answers] = yield* Effect.all([Effect.fork(Effect.all([ask(to), ask(to)], { concurrency: 2 })), began])
      yield* Effect.provide(Layer.build(HttpServer.serve(Effect.succeed(HttpServerResponse.text("served")))), listening)
      assert.deepStrictEqual(yield* Fiber.join(answers), ["200 served", "200 served"])
      assert.strictEqual(yield* ask(to), "200 served")
    }))

  it.scopedLive("answers while others are slow with their heads and their bodies, and ends them", () =>
    Effect.gen(function*() {
      const { connections, to } = yield* serve("http://127.0.0.1:0")
      const heads = yield* many(60, to, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
      const bodies = yield* many(60, to, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx")
      assert.strictEqual(yield* ask(to, "1"), "200 1")
      const dripping = setInterval(() => [...heads, ...bodies].forEach(({ socket }) => socket.write("x")), 500)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(dripping)))
      yield* until("all are closed", () => [...heads, ...bodies].every(({ closed }) => closed))
      yield* until("no place is taken", () => connections.size === 0)
    }))

  it.scopedLive("ends a request whose client goes away, within its body and while it is answered", () =>
    Effect.gen(function*() {
      const { requests, to } = yield* serve("http://127.0.0.1:0")
      const head = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx"
      for (const text of [head, "GET /never HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]) {
        const { socket } = yield* open(to, text)
        yield* until("it has begun", () => requests() === 1)
        socket.destroy()
        yield* until("it has ended", () => requests() === 0)
      }
    }))

  it.scopedLive("keeps who is being answered and may stay, whoever comes", () =>
    Effect.gen(function*() {
      const { to } = yield* serve("http://127.0.0.1:0")
      const staying = yield* open(to, "GET /never HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
      yield* many(200, to)
      assert.strictEqual(yield* ask(to, ""), "200 0")
      assert.isFalse(staying.closed)
    }))

  it.scopedLive("takes 64 KiB of a body, and answers 413 to more, said or not", () =>
    Effect.gen(function*() {
      const { to } = yield* serve("http://127.0.0.1:0")
      assert.strictEqual(yield* ask(to, Buffer.alloc(65_536)), "200 65536")
      const head = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
      const said = yield* open(to, `${head}Content-Length: 300000000\r\n\r\n`)
      yield* until("it is answered", () => said.closed)
      assert.match(said.text, /^HTTP\/1\.1 413 /)
      const chunked = yield* open(to, `${head}Transfer-Encoding: chunked\r\n\r\n`)
      const before = process.memoryUsage.rss()
      const chunk = Buffer.concat([Buffer.from("100000\r\n"), Buffer.alloc(0x100000), Buffer.from("\r\n")])
      for (let sent = 0; sent < 300 && !chunked.socket.destroyed; sent++) {
        const taken = chunked.socket.write(chunk)
        yield* taken ? Effect.yieldNow() : Effect.raceFirst(
          Effect.async<void>((resume) => {
            chunked.socket.once("drain", () => resume(Effect.void)).once("close", () => resume(Effect.void))
          }),
          Effect.sleep("5 seconds")
        )
      }
      yield* until("it is answered", () => chunked.closed)
      assert.match(chunked.text, /^HTTP\/1\.1 413 /)
      assert.isBelow(process.memoryUsage.rss() - before, 100_000_000)
    }))

  it.scopedLive("a unix socket is its owner's alone from the moment it exists", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const path = join(folder, "http.sock")
      const modes: Array<number> = []
      const { listen } = Net.Server.prototype
      const umask = process.umask(0)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          Net.Server.prototype.listen = listen
          process.umask(umask)
        })
      )
      Net.Server.prototype.listen = function(this: Net.Server, ...args: ReadonlyArray<unknown>) {
        const server = Reflect.apply(listen, this, args)
        modes.push(statSync(path).mode & 0o777)
        return server
      } as Net.Server["listen"]
      yield* serve(`unix:${path}`)
      assert.deepStrictEqual(modes, [0o600])
      assert.strictEqual(process.umask(), 0)
    }))
})
