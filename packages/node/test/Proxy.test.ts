import { assert, describe, it } from "@effect/vitest"
import * as Tx3Node from "@tx3/node/Tx3Node"
import * as Address from "@tx3/protocol/Address"
import * as Proxy from "@tx3/sockets/Proxy"
import { localServer, portOf } from "@tx3/testing/localServer"
import { Effect, Either, type Scope, Stream } from "effect"
import type * as net from "node:net"
import { httpProxy, joined } from "./utils/httpProxy.js"
import { addressOf, alice, bob, live, received, taken } from "./utils/nodes.js"
import { withRelay } from "./utils/relays.js"

interface Seen {
  readonly targets: Array<string>
  readonly port: number
}

const exactly = (socket: net.Socket, size: number) =>
  new Promise<Buffer>((resolve) => {
    const attempt = () => {
      const bytes: Buffer | null = socket.read(size)
      if (bytes === null) {
        socket.once("readable", attempt)
      } else {
        resolve(bytes)
      }
    }
    attempt()
  })

/** A SOCKS5 proxy that wants me:pass%word, and refuses hosts whose name begins with "no". */
const socksProxy = Effect.gen(function*() {
  const targets: Array<string> = []
  const talk = async (socket: net.Socket) => {
    const [, methods] = await exactly(socket, 2)
    if (!(await exactly(socket, methods!)).includes(2)) {
      return void socket.end(Buffer.from([5, 0xff]))
    }
    socket.write(Buffer.from([5, 2]))
    const user = await exactly(socket, (await exactly(socket, 2))[1]!)
    const password = await exactly(socket, (await exactly(socket, 1))[0]!)
    if (`${user}:${password}` !== "me:pass%word") {
      return void socket.end(Buffer.from([1, 1]))
    }
    socket.write(Buffer.from([1, 0]))
    const host = (await exactly(socket, (await exactly(socket, 5))[4]!)).toString()
    const port = (await exactly(socket, 2)).readUInt16BE()
    if (host.startsWith("no")) {
      return void socket.end(Buffer.from([5, 2, 0, 1, 0, 0, 0, 0, 0, 0]))
    }
    targets.push(`${host}:${port}`)
    joined(socket, port, () => socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])))
  }
  const server = yield* localServer((socket) => void talk(socket), { allowHalfOpen: true })
  return { targets, port: portOf(server) }
})

const using = (proxy: string, noProxy?: string) =>
  Effect.provideService(Proxy.Proxy, Proxy.through(Either.getOrThrow(Proxy.parse(proxy)), noProxy))

describe("nodes and peers behind a proxy", () => {
  const kinds: ReadonlyArray<
    readonly [scheme: string, proxy: Effect.Effect<Seen, never, Scope.Scope>]
  > = [
    ["http", httpProxy],
    ["socks5h", socksProxy]
  ]
  for (const [scheme, start] of kinds) {
    live(
      `register, dial back and connect through it alone: ${scheme}`,
      () =>
        withRelay((relay) =>
          Effect.gen(function*() {
            const { port, targets } = yield* start
            // No name server knows it, but the proxy.
            const far = new Address.Address({ ...relay, host: "relay.test" })
            yield* Effect.gen(function*() {
              const node = yield* Tx3Node.make({ bind: [far], identity: alice, requireRegistration: true })
              const near = yield* (yield* Tx3Node.make({ identity: bob })).connect(addressOf(node))
              const accepted = yield* taken(node)
              yield* near.write(Buffer.from("through"))
              yield* near.end
              assert.strictEqual((yield* received(accepted)).toString(), "through")
              yield* accepted.end
              yield* Stream.runDrain(near.readable)
              assert.deepStrictEqual(near.remoteAddress, { host: "relay.test", port: relay.port })
            }).pipe(using(`${scheme}://me:pass%25word@127.0.0.1:${port}`))
            const target = `relay.test:${relay.port}`
            assert.deepStrictEqual(targets, [target, target, target])
          })
        )
    )
  }

  live("go directly to this machine itself", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const node = yield* Tx3Node.make({ bind: [relay], identity: alice, requireRegistration: true })
        assert.strictEqual(addressOf(node).host, "127.0.0.1")
      }).pipe(using("http://127.0.0.1:1"))
    ))
})

describe("a proxy that does not connect", () => {
  const fails = (proxy: string, host = "yes.test") =>
    Proxy.connect({ host, port: 7, attemptTimeoutMs: 5_000 }).pipe(Effect.scoped, Effect.flip, using(proxy))

  live("says that it wants credentials, or others, and no password is said", () =>
    Effect.gen(function*() {
      const [http, socks] = [yield* httpProxy, yield* socksProxy]
      const proxies = [
        `http://127.0.0.1:${http.port}`,
        `http://me:secret@127.0.0.1:${http.port}`,
        `socks5://me:secret@127.0.0.1:${socks.port}`
      ]
      for (const proxy of proxies) {
        const error = yield* fails(proxy)
        assert(error._tag === "ProxyError")
        assert.strictEqual(error.reason, "credentials")
        assert.notInclude(JSON.stringify(error) + error.message + error.stack, "secret")
      }
      const { message } = yield* fails(`http://127.0.0.1:${http.port}`)
      assert.strictEqual(
        message,
        `the proxy http://127.0.0.1:${http.port} does not accept the user name and password (status 407 Proxy Authentication ` +
          "Required); write USER:PASSWORD@ before its host in HTTPS_PROXY or ALL_PROXY"
      )
    }))

  const answers: ReadonlyArray<readonly [title: string, proxy: string, answer: string | undefined, message: RegExp]> = [
    [
      "refuses",
      "http://",
      "HTTP/1.1 403 Evil\u001b[31m words\r\n\r\n",
      /does not connect to yes.test:7: status 403 Forbidden; ask/
    ],
    [
      "has no way",
      "http://",
      "HTTP/1.1 502 Bad Gateway\r\n\r\n",
      /does not connect to yes.test:7: status 502 Bad Gateway/
    ],
    ["speaks no HTTP", "http://", "SSH-2.0-OpenSSH\r\n\r\n", /did not answer as one \(no HTTP\); is its scheme right/],
    ["hangs up", "http://", undefined, /does not connect to yes.test:7: it closed the connection/],
    [
      "speaks no SOCKS5",
      "socks5://",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      /did not answer as one \(no SOCKS5\); is its scheme/
    ],
    ["hangs up on SOCKS5", "socks5://", undefined, /does not connect to yes.test:7: it closed the connection/]
  ]
  for (const [title, scheme, answer, expected] of answers) {
    live(`and ${title}`, () =>
      Effect.gen(function*() {
        const server = yield* localServer((socket) =>
          socket.once("data", () => answer === undefined ? socket.end() : socket.end(answer))
        )
        const error = yield* fails(`${scheme}127.0.0.1:${portOf(server)}`)
        assert.match(error.message, expected)
        assert.notMatch(error.message, /Evil/)
      }))
  }

  live("and refuses by SOCKS5", () =>
    Effect.gen(function*() {
      const { port } = yield* socksProxy
      const { message } = yield* fails(`socks5://me:pass%25word@127.0.0.1:${port}`, "no.test")
      assert.match(message, /does not connect to no.test:7: not allowed; ask its owner/)
    }))

  for (const scheme of ["http", "socks5"]) {
    live(`and is silent: ${scheme}`, () =>
      Effect.gen(function*() {
        const server = yield* localServer((socket) => void socket.resume())
        const error = yield* Proxy.connect({ host: "yes.test", port: 7, attemptTimeoutMs: 5_000, timeoutMs: 30 }).pipe(
          Effect.scoped,
          Effect.flip,
          using(`${scheme}://127.0.0.1:${portOf(server)}`)
        )
        assert.match(error.message, /did not connect to yes.test:7 within 30 ms|cannot connect to the proxy/)
      }))
  }
})

describe("the URL of a proxy", () => {
  const urls: ReadonlyArray<readonly [text: string, kind: Proxy.ProxyServer["kind"], host: string, port: number]> = [
    ["http://proxy:3128", "http", "proxy", 3128],
    ["http://proxy", "http", "proxy", 80],
    ["proxy:3128", "http", "proxy", 3128],
    ["SOCKS5://[::1]:1081/", "socks5", "::1", 1081],
    ["socks5h://proxy", "socks5", "proxy", 1080],
    ["socks5://proxy:80", "socks5", "proxy", 80]
  ]
  for (const [text, kind, host, port] of urls) {
    it(`is read: ${text}`, () => {
      assert.deepInclude(Either.getOrThrow(Proxy.parse(text)), { kind, host, port, credentials: undefined })
    })
  }
  for (
    const text of [
      "",
      "https://proxy:1",
      "socks4://proxy:1",
      "http://:1",
      "http://proxy:0",
      "http://proxy/x",
      "http://%zz@p"
    ]
  ) {
    it(`is refused: ${text}`, () => {
      assert.isTrue(Either.isLeft(Proxy.parse(text)))
    })
  }
})

describe("NO_PROXY", () => {
  const list = "example.org, .internal *.corp, 10.0.0.0/8 fd00::/8 192.0.2.7,odd.test:38141 2001:db8::1"
  const cases: ReadonlyArray<readonly [host: string, port: number, isDirect: boolean]> = [
    ["example.org", 1, true],
    ["Relay.Example.org.", 1, true],
    ["notexample.org", 1, false],
    ["a.internal", 1, true],
    ["a.corp", 1, true],
    ["10.200.0.1", 1, true],
    ["11.0.0.1", 1, false],
    ["fd12::3", 1, true],
    ["192.0.2.7", 1, true],
    ["192.0.2.8", 1, false],
    ["odd.test", 38_141, true],
    ["odd.test", 1, false],
    ["2001:db8::1", 1, true],
    ["localhost", 1, true],
    ["127.9.9.9", 1, true],
    ["::1", 1, true],
    ["other.test", 1, false]
  ]
  const proxyOf = Proxy.through(Either.getOrThrow(Proxy.parse("http://proxy:1")), list)
  for (const [host, port, isDirect] of cases) {
    it(`${isDirect ? "has" : "has not"} ${host}:${port}`, () => {
      assert.strictEqual(proxyOf({ host, port }) === undefined, isDirect)
    })
  }
  it("of * is everything", () => {
    assert.isUndefined(
      Proxy.through(Either.getOrThrow(Proxy.parse("http://proxy:1")), "*")({ host: "a.test", port: 1 })
    )
  })
})
