/**
 * The admin server over HTTP, in front of a real relay.
 */
import { assert, describe, it } from "@effect/vitest"
import { AdminClient, RelayStatus } from "@tx3/operate"
import { Listener, RelayTest } from "@tx3/relay"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Fiber, Logger, Option, Redacted, Schedule, Schema } from "effect"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { get } from "node:http"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Values } from "../../policy/test/utils/operated.js"
import { logTo } from "../../policy/test/utils/operated.js"
import { outgoingConnections } from "../../relay/test/utils/loopback.js"
import { until, withOperatedRelay } from "./utils/operatedRelay.js"

const withFolder = <A, E>(body: (folder: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-admin-"))),
    body,
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

const decodeStatus = Schema.decodeUnknownSync(RelayStatus.Status)

/** Asks as a browser or a stranger would, with headers of their choice. */
const statusOf = (url: string, headers: Record<string, string>) =>
  Effect.async<number | undefined>((resume) => {
    get(url, { headers, agent: false }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode))
    })
  })

describe("AdminServer", () => {
  it.live("/healthz, /readyz: ready until the relay drains, and healthy all the time", () =>
    withOperatedRelay({}, ({ actions, address, get, relay, status }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const { peer } = yield* RelayTest.splice(node)
        assert.strictEqual(yield* status("/readyz"), 200)
        assert.strictEqual(yield* actions.drain, 1)
        yield* RelayTest.eventually(Effect.map(relay.snapshot, ({ state }) => state === "draining"))
        assert.strictEqual(yield* status("/readyz"), 503)
        assert.deepStrictEqual(JSON.parse(yield* get("/readyz")), {
          _tag: "NotReady",
          message: "the relay is draining"
        })
        assert.deepStrictEqual(JSON.parse(yield* get("/healthz")), { state: "draining" })
        yield* Effect.flip(RelayTest.connect(address))
        const waiting = yield* Effect.fork(actions.drained)
        assert.isNull(waiting.unsafePoll())
        yield* peer.reset
        yield* Fiber.join(waiting)
      })))

  it.live("/status: what the relay is doing, by its schema, with limits and how much of each is used", () =>
    withOperatedRelay(
      { maxControlStreams: 5, maxRelaysPerControl: 4 },
      ({ address, get, relay }) =>
        Effect.gen(function*() {
          const node = yield* RelayTest.register(address)
          const { node: inside, peer } = yield* RelayTest.splice(node)
          yield* RelayTest.splice(node)
          yield* peer.send(Buffer.alloc(1000))
          yield* inside.receive(1000)
          // The bytes by node and source are of the last second's metering.
          const status = yield* Effect.map(get("/status"), (text) => decodeStatus(JSON.parse(text))).pipe(
            Effect.repeat({ until: ({ top }) => top.nodes.byBytes.length > 0 })
          )
          assert.strictEqual(status.state, "listening")
          assert.strictEqual(status.digest, relay.digest)
          assert.deepStrictEqual(status.addresses, relay.addresses.map(String))
          assert.strictEqual(status.splices, 2)
          assert.strictEqual(status.totals.bytesFromPeers, 1000)
          const used = Object.fromEntries(status.limits.map(({ limit, name, used }) => [name, `${used} of ${limit}`]))
          assert.strictEqual(used["maxControlStreams"], "1 of 5")
          assert.strictEqual(used["maxRelaysPerControl"], "2 of 4")
          assert.strictEqual(used["maxInboundConnections"], "5 of 20480")
          const short = node.identity.digest.slice(0, 8)
          assert.deepStrictEqual(status.top.nodes.bySplices, [{ name: short, splices: 2, bytes: 1000 }])
          assert.deepStrictEqual(status.top.sources.byBytes, [{ name: "127.0.0.1", splices: 2, bytes: 1000 }])
        })
    ))

  withPrograms(["promtool"], () => {
    it.live("/metrics: promtool finds nothing to complain about, and they tell of running splices", () =>
      withOperatedRelay({}, ({ address, get }) =>
        Effect.gen(function*() {
          const node = yield* RelayTest.register(address)
          const { node: inside, peer } = yield* RelayTest.splice(node)
          const value = (text: string, name: string) => {
            const line = text.split("\n").find((line) => line.startsWith(`${name} `))
            assert.isDefined(line, `${name} in\n${text}`)
            return Number(line!.split(" ")[1])
          }
          const carried = "tx3_relay_carried_bytes_total{from=\"peer\"}"
          // What running splices have carried is added every second.
          const whenMetered = Effect.repeat(get("/metrics"), { until: (text) => value(text, carried) === total })
          let total = value(yield* get("/metrics"), carried)
          for (const more of [5, 7]) {
            total += more
            yield* peer.send(Buffer.alloc(more))
            yield* inside.receive(more)
            yield* whenMetered
          }
          const after = yield* get("/metrics")
          assert.strictEqual(value(after, "tx3_relay_connections{stage=\"spliced\"}"), 2)
          assert.strictEqual(value(after, "tx3_relay_connections{stage=\"control\"}"), 1)
          assert.strictEqual(value(after, "tx3_relay_splices_running"), 1)
          assert.strictEqual(value(after, "tx3_relay_ready"), 1)
          assert.strictEqual(value(after, "tx3_relay_transport{kind=\"portable\"}"), 1)
          assert.isAbove(value(after, "tx3_relay_descriptors{state=\"open\"}"), 5)
          assert.isAtLeast(value(after, "tx3_relay_time_to_splice_seconds_count"), 1)
          const strangers = after.split("\n").filter((line) => line !== "" && !/^(#|tx3_relay_|target_info)/.test(line))
          assert.deepStrictEqual(strangers, [])
          assert.notInclude(after, "127.0.0.1")
          assert.notInclude(after, node.identity.digest.slice(0, 8))
          assert.strictEqual(execFileSync("promtool", ["check", "metrics"], { input: after, encoding: "utf8" }), "")
        })))
  })

  it.live("/events: the history first, then each second what has changed", () =>
    withOperatedRelay({}, ({ address, admin }) =>
      Effect.gen(function*() {
        yield* RelayTest.register(address)
        let text = ""
        const request = get(`${admin}/events`, (response) => {
          assert.strictEqual(response.headers["content-type"], "text/event-stream")
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk
          }).on("error", () => {})
        }).on("error", () => {})
        yield* until("there are two seconds", () => text.split("\n\n").filter((_) => /^event: now/.test(_)).length >= 2)
        request.destroy()
        const events = text.split("\n\n").map((_) => /^event: (\w+)\ndata: (.*)$/s.exec(_)).filter((_) => _ !== null)
        assert.strictEqual(events[0]![1], "history")
        const { sample, status } = JSON.parse(events[1]![2]!)
        assert.strictEqual(decodeStatus(status).connections.control, 1)
        assert.strictEqual(sample.controlStreams, 1)
        assert.include(text, "registered from 127.0.0.1")
      })))

  it.live("/openapi.json describes it, and the page is at /", () =>
    withOperatedRelay({}, ({ get }) =>
      Effect.gen(function*() {
        const { paths } = JSON.parse(yield* get("/openapi.json"))
        assert.includeMembers(Object.keys(paths), [
          "/status",
          "/kick/node",
          "/kick/splice",
          "/ban",
          "/drain",
          "/reload"
        ])
        assert.include(yield* get("/"), "<!doctype html>")
      })))

  it.live("kicks a node with its splices, a splice alone, and says when there is no such", () =>
    withOperatedRelay({}, ({ address, admin }) =>
      Effect.gen(function*() {
        const client = yield* AdminClient.make({ address: admin })
        const [one, other] = [yield* RelayTest.register(address), yield* RelayTest.register(address)]
        const ends = yield* RelayTest.splice(one)
        const alone = yield* RelayTest.splice(other)
        const { digest } = one.identity

        const short = yield* Effect.flip(client.kickNode({ payload: { node: digest.slice(0, 5) } }))
        assert.strictEqual(short._tag, "Refused")
        const nobody = yield* Effect.flip(client.kickNode({ payload: { node: "nobody-at-all" } }))
        assert.strictEqual(nobody._tag, "NotFound")

        assert.deepStrictEqual(yield* client.kickNode({ payload: { node: digest.slice(0, 8) } }), { kicked: 2 })
        yield* one.control.closed
        assert.strictEqual(yield* ends.peer.closed, "reset")
        assert.deepStrictEqual((yield* client.controlStreams()).map(({ node }) => node), [other.identity.digest])

        const [splice] = yield* client.splices()
        assert.strictEqual(splice!.node, other.identity.digest)
        assert.deepStrictEqual(yield* client.kickSplice({ payload: { connection: splice!.connection } }), { kicked: 1 })
        assert.strictEqual(yield* alone.peer.closed, "reset")
        const gone = yield* Effect.flip(client.kickSplice({ payload: { connection: splice!.connection } }))
        assert.strictEqual(gone._tag, "NotFound")
        yield* RelayTest.register(address, { identity: one.identity })
      })))

  it.live("/page/nodes, /page/splices: both ends, what each has of its limits, and a search", () =>
    withOperatedRelay({ maxRelaysPerControl: 4 }, ({ address, admin }) =>
      Effect.gen(function*() {
        const client = yield* AdminClient.make({ address: admin })
        const [one, other] = [yield* RelayTest.register(address), yield* RelayTest.register(address)]
        const { node: inside, peer } = yield* RelayTest.splice(one)
        yield* peer.send(Buffer.alloc(1000))
        yield* inside.receive(1000)
        const { rows, ...list } = yield* client.pageOfNodes({ urlParams: { sort: "splices" } })
        assert.deepStrictEqual(list, { found: 2, nodesOfSourceMax: 4, offset: 0, peersMax: 4, total: 2 })
        assert.deepStrictEqual(
          rows.map(({ node, nodesOfSource, peers, source, splices }) => [node, nodesOfSource, peers, source, splices]),
          [[one.identity.digest, 2, 1, "127.0.0.1", 1], [other.identity.digest, 2, 0, "127.0.0.1", 0]]
        )
        const splices = yield* client.pageOfSplices({ urlParams: {} })
        assert.deepStrictEqual(
          splices.rows.map(({ bytesFromPeer, node, nodeSource, source }) => [bytesFromPeer, node, nodeSource, source]),
          [[1000, one.identity.digest, "127.0.0.1", "127.0.0.1"]]
        )
        const search = other.identity.digest.slice(5, 20)
        const found = yield* client.pageOfNodes({ urlParams: { search, offset: 40 } })
        assert.deepStrictEqual(
          [found.found, found.total, found.offset, found.rows[0]!.node],
          [1, 2, 0, other.identity.digest]
        )
      })))

  it.live("bans a node and an address at once and until they are let in again, reloads or not", () =>
    withOperatedRelay({}, ({ address, admin }) =>
      Effect.gen(function*() {
        const client = yield* AdminClient.make({ address: admin })
        const node = yield* RelayTest.register(address)
        const { digest } = node.identity
        assert.deepStrictEqual(yield* client.ban({ payload: { who: digest } }), { kicked: 1 })
        yield* node.control.closed
        yield* client.reload()
        yield* Effect.flip(RelayTest.register(address, { identity: node.identity }))
        assert.deepStrictEqual((yield* client.bans()).map(({ who }) => who), [digest])
        yield* client.unban({ payload: { who: digest } })
        const again = yield* RelayTest.register(address, { identity: node.identity })

        yield* client.ban({ payload: { who: "127.0.0.2/32" } })
        const denied = yield* RelayTest.sendPreamble(address, Buffer.from(digest, "base64url"), {
          localAddress: "127.0.0.2"
        })
        yield* denied.closed
        yield* RelayTest.splice(again)
        const broken = yield* Effect.flip(client.ban({ payload: { who: "everybody" } }))
        assert.strictEqual(broken._tag, "Refused")
      })))

  it.live("a token is asked for where one is set, everywhere but for the page itself and for health", () =>
    withOperatedRelay({ adminToken: "sixteen characters" }, ({ admin, status }) =>
      Effect.gen(function*() {
        const right = { authorization: "Bearer sixteen characters" }
        for (const path of ["/status", "/metrics", "/events", "/openapi.json", "/nothing", "/healthz/", "//healthz"]) {
          assert.strictEqual(yield* status(path), 401, path)
          assert.strictEqual(yield* status(path, { authorization: "Bearer sixteen character" }), 401, path)
        }
        for (const path of ["/", "/healthz", "/readyz", "/healthz?verbose"]) {
          assert.strictEqual(yield* status(path), 200, path)
        }
        assert.strictEqual(yield* status("/status", right), 200)
        assert.strictEqual(yield* status("/nothing", right), 404)
        const client = yield* AdminClient.make({ address: admin, token: Redacted.make("sixteen characters") })
        assert.strictEqual((yield* client.status()).state, "listening")
      })))

  it.live("the scheme of the token is written in any case", () =>
    withOperatedRelay({ adminToken: "sixteen characters" }, ({ status }) =>
      Effect.gen(function*() {
        for (const scheme of ["bearer", "BEARER", "bEaReR "]) {
          assert.strictEqual(yield* status("/status", { authorization: `${scheme} sixteen characters` }), 200, scheme)
        }
        for (const wrong of ["Basic sixteen characters", "Bearersixteen characters", "sixteen characters"]) {
          assert.strictEqual(yield* status("/status", { authorization: wrong }), 401, wrong)
        }
      })))

  it.live("listens at several addresses: the socket needs no token, and signs browsers in", () =>
    withFolder((folder) => {
      const socket = `unix:${join(folder, "relay.sock")}`
      return withOperatedRelay({ admin: [socket, "http://127.0.0.1:0"] }, ({ server }) =>
        Effect.gen(function*() {
          const [first, http] = server.addresses
          assert.strictEqual(first, socket)
          const owner = yield* AdminClient.make({ address: socket })
          assert.strictEqual((yield* owner.status()).state, "listening")

          // nobody has a token here: over TCP there are sessions only
          assert.strictEqual(yield* statusOf(`${http}/status`, {}), 401)
          assert.strictEqual(yield* statusOf(`${http}/status`, { authorization: "Bearer " }), 401)
          assert.strictEqual(yield* statusOf(`${http}/status`, { authorization: "Bearer undefined" }), 401)

          const { addresses, code, expiresInSeconds } = yield* owner.page()
          assert.deepStrictEqual([addresses, expiresInSeconds], [[http], 60])
          const stranger = yield* AdminClient.make({ address: http! })
          const { session } = yield* stranger.session({ payload: { code } })
          const again = yield* Effect.flip(stranger.session({ payload: { code } }))
          assert.strictEqual(again._tag, "WrongCode")
          assert.strictEqual(yield* statusOf(`${http}/status`, { authorization: `bearer ${session}` }), 200)
          // a session looks and acts, and makes no other
          const page = yield* AdminClient.make({ address: http!, token: Redacted.make(session) })
          assert.strictEqual((yield* page.status()).state, "listening")
          assert.deepStrictEqual(yield* page.ban({ payload: { who: "192.0.2.7" } }), { kicked: 0 })
          assert.deepStrictEqual((yield* owner.bans()).map(({ who }) => who), ["192.0.2.7"])
          const refused = yield* Effect.flip(
            page.page() as Effect.Effect<unknown, { readonly response?: { readonly status: number } }>
          )
          assert.strictEqual(refused.response?.status, 403)
          assert.strictEqual(yield* statusOf(`${http}/page?`, { authorization: `bearer ${session}` }), 403)
        }))
    }))

  it.live("ten wrong codes are refused, more are too many, and a right one is taken all the same", () =>
    withFolder((folder) =>
      withOperatedRelay(
        { admin: [`unix:${join(folder, "relay.sock")}`, "http://127.0.0.1:0"] },
        ({ server }) =>
          Effect.gen(function*() {
            const [socket, http] = server.addresses
            const stranger = yield* AdminClient.make({ address: http! })
            const wrong = Effect.map(
              Effect.flip(stranger.session({ payload: { code: "a".repeat(43) } })),
              ({ _tag }) => _tag
            )
            const answers = yield* Effect.replicateEffect(wrong, 12)
            assert.deepStrictEqual(answers.slice(0, 10), Array(10).fill("WrongCode"))
            assert.strictEqual(answers.at(-1), "TooManyWrongCodes")
            const owner = yield* AdminClient.make({ address: socket! })
            yield* Effect.flatMap(owner.page(), ({ code }) => stranger.session({ payload: { code } }))
          })
      )
    ))

  it.live("metrics: an address of their own, without a token, and with nothing else", () =>
    withOperatedRelay(
      { adminToken: "sixteen characters", metrics: "http://127.0.0.1:0" },
      ({ server }) =>
        Effect.gen(function*() {
          const metrics = Option.getOrThrow(server.metrics)
          // Prometheus and Kubernetes call it by any name
          const named = { host: "relay.example.org:38143" }
          for (const path of ["/metrics", "/healthz", "/readyz"]) {
            assert.strictEqual(yield* statusOf(`${metrics}${path}`, named), 200, path)
          }
          for (
            const path of ["/", "/status", "/events", "/openapi.json", "/metrics/../status", "//status", "/page.js"]
          ) {
            assert.strictEqual(yield* statusOf(`${metrics}${path}`, {}), 404, path)
          }
        })
    ))

  it.live("keeps the operator's page, and answers commands, under 500 idle connections", () =>
    withOperatedRelay({ adminToken: "sixteen characters" }, ({ admin }) =>
      Effect.gen(function*() {
        const headers = { authorization: "Bearer sixteen characters" }
        let ended = false
        let heard = 0
        const page = get(`${admin}/events`, { headers, agent: false }, (response) => {
          response.on("data", () => {
            heard++
          }).on("close", () => {
            ended = true
          }).on("error", () => {})
        }).on("error", () => {})
        yield* until("it streams", () => heard > 0)
        const port = Number(new URL(admin).port)
        const idle = yield* Effect.acquireRelease(
          Effect.sync(() =>
            Array.from({ length: 500 }, () => connect(port, "127.0.0.1").on("error", () => {}).resume())
          ),
          (sockets) => Effect.sync(() => sockets.forEach((socket) => socket.destroy()))
        )
        assert.strictEqual(yield* statusOf(`${admin}/status`, headers), 200)
        yield* until("all are closed", () => idle.every(({ destroyed }) => destroyed))
        const before = heard
        yield* until("it still streams", () => heard > before)
        assert.isFalse(ended)
        page.destroy()
      })))

  it.live("eight pages can be open; the ninth is told so, and they stay", () =>
    withOperatedRelay({}, ({ admin, status }) =>
      Effect.gen(function*() {
        let streaming = 0
        let ended = 0
        const pages = Array.from({ length: 8 }, () =>
          get(`${admin}/events`, { agent: false }, (response) => {
            streaming++
            response.resume().on("close", () => {
              ended++
            }).on("error", () => {})
          }).on("error", () => {}))
        yield* until("all stream", () => streaming === 8)
        assert.strictEqual(yield* status("/events"), 503)
        assert.strictEqual(yield* status("/status"), 200)
        assert.strictEqual(ended, 0)
        pages[0]!.destroy()
        let next = false
        const again = Effect.sync(() => {
          const request = get(`${admin}/events`, { agent: false }, ({ statusCode }) => {
            next ||= statusCode === 200
            request.destroy()
          }).on("error", () => {})
        })
        yield* Effect.repeat(again, { until: () => next, schedule: Schedule.spaced(100), times: 100 })
        assert.isTrue(next)
        pages.forEach((page) => page.destroy())
      })))

  it.live("starts without a socket that its folder does not take, and says what to do", () =>
    withFolder((folder) =>
      Effect.gen(function*() {
        const lines: Array<string> = []
        const path = join(folder, "x".repeat(120))
        yield* withOperatedRelay(
          { admin: [`unix:${path}`, "http://127.0.0.1:0"], adminToken: "sixteen characters" },
          ({ server }) =>
            Effect.gen(function*() {
              const [http, ...others] = server.addresses
              assert.deepStrictEqual(others, [])
              const authorization = "Bearer sixteen characters"
              assert.strictEqual(yield* statusOf(`${http}/status`, { authorization }), 200)
              assert.strictEqual(yield* statusOf(`${http}/status`, {}), 401)
            })
        ).pipe(Effect.provide(logTo(lines)))
        const warning = lines.find((line) => line.includes("cannot listen on unix:"))
        assert.match(warning ?? "", /^WARN .*its path is longer than .*--admin http:.* set TX3_RELAY_ADMIN=unix:/)
      })
    ))

  it.live("says so where every user of the machine may use it, and what to do", () =>
    Effect.gen(function*() {
      const warningsOf = (values: Values) => {
        const lines: Array<string> = []
        return withOperatedRelay(values, () => Effect.void).pipe(
          Effect.provide(logTo(lines)),
          Effect.map(() => lines.filter((line) => line.includes("every user of this machine")))
        )
      }
      const [warning, ...others] = yield* warningsOf({})
      assert.deepStrictEqual(others, [])
      assert.match(
        warning!,
        /^WARN admin: .* can drain this relay at http:\/\/127\.0\.0\.1:0; add a unix socket, admin: \[unix:/
      )
      assert.deepStrictEqual(yield* warningsOf({ adminToken: "sixteen characters" }), [])
      assert.deepStrictEqual(yield* warningsOf({ admin: "off" }), [])
    }))

  it.live("answers no other site's page, and to no name that another site could have given it", () =>
    withOperatedRelay({}, ({ admin }) =>
      Effect.gen(function*() {
        const { host, port } = new URL(admin)
        assert.strictEqual(yield* statusOf(`${admin}/status`, { host: `evil.example:${port}` }), 403)
        assert.strictEqual(yield* statusOf(`${admin}/status`, { origin: "http://evil.example" }), 403)
        assert.strictEqual(yield* statusOf(`${admin}/status`, { origin: "null" }), 403)
        assert.strictEqual(yield* statusOf(`${admin}/status`, { origin: `http://${host}` }), 200)
        assert.strictEqual(yield* statusOf(`${admin}/status`, { host: `localhost:${port}` }), 200)
      })))

  it.scopedLive("listens on a unix socket that only its owner can use, also where a killed relay left one behind", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-admin-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const path = join(folder, "admin.sock")
      yield* Effect.async<void>((resume) => {
        execFileSync(process.execPath, [
          "-e",
          `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`
        ], { stdio: "ignore" })
        resume(Effect.void)
      }).pipe(Effect.catchAllDefect(() => Effect.void))
      assert.isTrue(statSync(path).isSocket())
      yield* withOperatedRelay({ admin: `unix:${path}` }, () =>
        Effect.gen(function*() {
          assert.strictEqual(statSync(path).mode & 0o777, 0o600)
          const client = yield* AdminClient.make({ address: `unix:${path}` })
          assert.strictEqual((yield* client.status()).state, "listening")
          const rebound = yield* Effect.async<number | undefined>((resume) => {
            get({ socketPath: path, path: "/status", headers: { host: "evil.example" } }, (response) => {
              response.resume()
              resume(Effect.succeed(response.statusCode))
            })
          })
          assert.strictEqual(rebound, 403)
        }))
      assert.isUndefined(statSync(path, { throwIfNoEntry: false }))
    }))

  it.scopedLive("leaves a file alone that is no socket", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-admin-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const path = join(folder, "identity.pem")
      writeFileSync(path, "precious")
      const error = yield* Effect.flip(withOperatedRelay({ admin: `unix:${path}` }, () => Effect.void))
      assert.include(error.message, `cannot listen on unix:${path}`)
      assert.strictEqual(readFileSync(path, "utf8"), "precious")
    }))

  it.live("a ban turns waiting peers away, and a kick reaches a node that has gone and left its splices", () =>
    withOperatedRelay({}, ({ address, admin, relay }) =>
      Effect.gen(function*() {
        const client = yield* AdminClient.make({ address: admin })
        const node = yield* RelayTest.register(address)
        const digest = Buffer.from(node.identity.digest, "base64url")
        const waiting = yield* RelayTest.sendPreamble(address, digest, { localAddress: "127.0.0.2" })
        const token = yield* node.token
        assert.deepStrictEqual(yield* client.ban({ payload: { who: "127.0.0.2" } }), { kicked: 1 })
        yield* waiting.closed
        yield* Effect.flatMap(RelayTest.dialBack(address, token), (late) => late.closed)
        assert.strictEqual((yield* relay.snapshot).totals.rejections.denied, 1)

        const { peer } = yield* RelayTest.splice(node)
        yield* until("it is spliced", () => Array.from(relay.splices()).length === 1)
        yield* node.control.hangUp
        yield* until("the node is gone", () => Array.from(relay.controlStreams()).length === 0)
        const start = node.identity.digest.slice(0, 8)
        assert.deepStrictEqual(yield* client.kickNode({ payload: { node: start } }), { kicked: 1 })
        assert.strictEqual(yield* peer.closed, "reset")
      })))

  it.live("a limit that a reload takes away is not used any more, in metrics either", () =>
    withOperatedRelay({ bandwidthTotal: 1_000_000 }, ({ actions, address, change, get }) =>
      Effect.gen(function*() {
        const { node, peer } = yield* RelayTest.splice(yield* RelayTest.register(address))
        yield* peer.send(Buffer.alloc(10_000))
        yield* node.receive(10_000)
        const used = Effect.map(get("/metrics"), (text) =>
          /^tx3_relay_limit_used\{limit="bandwidthTotal"\} (.*)$/m.exec(text)?.[1])
        yield* RelayTest.eventually(Effect.map(used, (used) =>
          Number(used) > 0))
        change({})
        yield* actions.reload
        assert.strictEqual(yield* used, "0")
      })))

  it.live("answers the second who asks for something, though the first went away while it was loaded", () =>
    withOperatedRelay({}, ({ admin, status }) =>
      Effect.gen(function*() {
        const { hostname, port } = new URL(admin)
        const paths = ["/metrics", "/", "/page.js", "/page.css", "/uplot.js", "/openapi.json", "/status"]
        for (const path of paths) {
          yield* Effect.async<void>((resume) => {
            const socket = connect(Number(port), hostname, () => {
              socket.end(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`)
              socket.resume()
            })
            socket.once("close", () => resume(Effect.void))
          })
          assert.strictEqual(yield* status(path), 200, path)
        }
      })))

  it.scopedLive("says whose address it is when it cannot listen, and leaves another program's socket alone", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.async<ReturnType<typeof createServer>>((resume) => {
          const server = createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = server.address() as { port: number }
      const error = yield* Effect.flip(withOperatedRelay({ admin: `http://127.0.0.1:${port}` }, () => Effect.void))
        .pipe(
          Effect.provideService(Listener.PortPatience, 0)
        )
      assert.include(error.message, `http://127.0.0.1:${port}`)
      assert.include(error.message, "another program listens there already")
    }))

  it.scopedLive("waits at its start for ports that outgoing connections have", () =>
    Effect.gen(function*() {
      const outgoing = yield* outgoingConnections(2)
      const [admin, metrics] = outgoing.map(({ at }) => `http://${at}`) as [string, string]
      const waits: Array<string> = []
      // Each port is given back once the relay has said that it is taken.
      const logger = Logger.make<unknown, void>(({ message }) => {
        const taken = outgoing.find(({ at }) => String(message).includes(`${at}: another`))
        if (taken !== undefined) {
          waits.push(`http://${taken.at}`)
          taken.socket.resetAndDestroy()
        }
      })
      yield* withOperatedRelay({ admin, metrics }, ({ server }) =>
        Effect.sync(() => {
          assert.deepStrictEqual(server.addresses, [admin])
          assert.deepStrictEqual(server.metrics, Option.some(metrics))
        })).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      assert.deepStrictEqual(waits, [admin, metrics])
    }))

  it.live("ends streams that are open when the relay ends", () =>
    Effect.gen(function*() {
      let ended = false
      yield* withOperatedRelay({}, ({ admin }) => {
        let streaming = false
        get(`${admin}/events`, (response) => {
          streaming = true
          response.resume().on("close", () => {
            ended = true
          }).on("error", () => {})
        }).on("error", () => {})
        return until("it streams", () => streaming)
      })
      yield* until("it has ended", () => ended)
    }))
})
