import { FetchHttpClient, HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { AccessCallout } from "@tx3/policy"
import { RelayTest } from "@tx3/relay"
import type { Layer } from "effect"
import { Deferred, Effect, Fiber, TestClock } from "effect"
import type * as Http from "node:http"
import { calloutServer } from "./utils/calloutServer.js"
import { digestOf, logTo } from "./utils/operated.js"

const node = digestOf(1)
const address = "192.0.2.7"

const clients: ReadonlyArray<readonly [string, Layer.Layer<HttpClient.HttpClient>]> = [
  ["node:http", NodeHttpClient.layer],
  ["undici", NodeHttpClient.layerUndici],
  ["fetch", FetchHttpClient.layer]
]

const callout = (url: string, options: Partial<AccessCallout.Callout> = {}): AccessCallout.Callout => ({
  url,
  timeoutMs: 30_000,
  cacheMs: 60_000,
  ...options
})

/** What became of a question. */
const outcome = (question: ReturnType<AccessCallout.Ask>) =>
  Effect.match(question, { onFailure: ({ reason }) => reason, onSuccess: () => "in" as const })

const eventually = (holds: () => boolean) => RelayTest.eventually(Effect.sync(holds))

const status = (code: number) => (response: Http.ServerResponse) => response.writeHead(code).end()

const countOf = (answer: AccessCallout.Answer) => AccessCallout.callouts[answer].unsafeValue([]).count

describe.each(clients)("AccessCallout, %s", (_name, client) => {
  it.scopedLive("a 2xx lets in and a 403 keeps out, and both are remembered", () =>
    Effect.gen(function*() {
      const make = yield* AccessCallout.make
      for (const [code, expected] of [[200, "in"], [204, "in"], [403, "denied"]] as const) {
        const server = yield* calloutServer(status(code))
        const ask = make(callout(server.url))
        assert.strictEqual(yield* outcome(ask(node, address)), expected)
        assert.strictEqual(yield* outcome(ask(node, address)), expected)
        assert.deepEqual(server.requests, [`POST /may-register {"node":"${node}","address":"192.0.2.7"}`])
        yield* ask(node, "192.0.2.8").pipe(outcome)
        yield* ask(digestOf(2), address).pipe(outcome)
        assert.strictEqual(server.requests.length, 3)
      }
    }).pipe(Effect.provide(client)))

  it.scopedLive("whatever is no answer keeps out, and is asked again", () => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const make = yield* AccessCallout.make
      const failed = countOf("failed")
      const nothings: ReadonlyArray<(response: Http.ServerResponse) => void> = [
        status(500),
        status(404),
        (response) => response.writeHead(302, { location: "/allowed" }).end(),
        (response) => response.writeHead(307, { location: "/allowed" }).end(),
        (response) => response.destroy()
      ]
      for (const nothing of nothings) {
        const server = yield* calloutServer((response, number) =>
          number === 1 ? nothing(response) : status(200)(response)
        )
        const ask = make(callout(server.url))
        assert.strictEqual(yield* outcome(ask(node, address)), "denied")
        assert.strictEqual(server.requests.length, 1)
        assert.strictEqual(yield* outcome(ask(node, address)), "in")
      }
      const gone = yield* Effect.scoped(calloutServer(status(200)))
      assert.strictEqual(yield* outcome(make(callout(gone.url))(node, address)), "denied")
      assert.strictEqual(countOf("failed") - failed, 6)
      // All within the same seconds.
      assert.deepEqual(lines, ["WARN access callout failed, the node was not let in"])
    }).pipe(Effect.provide([client, logTo(lines)]))
  })

  it.scopedLive("a server that does not answer in time keeps out, and the request is given up", () =>
    Effect.gen(function*() {
      const make = yield* AccessCallout.make
      const server = yield* calloutServer((response, number) => number === 1 ? undefined : status(200)(response))
      const ask = make(callout(server.url, { timeoutMs: 200 }))
      assert.strictEqual(yield* outcome(ask(node, address)), "denied")
      yield* eventually(() => server.open() === 0)
      assert.strictEqual(yield* outcome(ask(node, address)), "in")
    }).pipe(Effect.provide([client, logTo([])])))

  it.scopedLive("reads no further than the status", () =>
    Effect.gen(function*() {
      const make = yield* AccessCallout.make
      const server = yield* calloutServer((response) => {
        const more = () => {
          while (response.write(Buffer.alloc(65_536))) {
            // as much as it takes
          }
        }
        more()
        response.on("drain", more)
      })
      assert.strictEqual(yield* outcome(make(callout(server.url))(node, address)), "in")
      yield* eventually(() => server.requests.length === 1 && server.open() === 0)
    }).pipe(Effect.provide(client)))

  it.scopedLive("registrations of one node and address share a request, and one that leaves does not end it", () =>
    Effect.gen(function*() {
      const make = yield* AccessCallout.make
      let answer = () => {}
      const server = yield* calloutServer((response) => {
        answer = () => status(200)(response)
      })
      const ask = make(callout(server.url))
      const asking = yield* Effect.forEach([1, 2, 3, 4], () => Effect.fork(outcome(ask(node, address))))
      yield* eventually(() => server.requests.length === 1)
      yield* Fiber.interrupt(asking[0]!)
      yield* Fiber.interrupt(asking[1]!)
      assert.strictEqual(server.open(), 1)
      answer()
      assert.deepEqual(yield* Fiber.join(Fiber.all(asking.slice(2))), ["in", "in"])
      assert.strictEqual(server.requests.length, 1)
    }).pipe(Effect.provide(client)))

  it.scopedLive("a request ends with the last registration that waits for it, and the next asks anew", () =>
    Effect.gen(function*() {
      const make = yield* AccessCallout.make
      const server = yield* calloutServer((response, number) => number === 1 ? undefined : status(200)(response))
      const ask = make(callout(server.url))
      const asking = yield* Effect.forEach([1, 2], () => Effect.fork(outcome(ask(node, address))))
      yield* eventually(() => server.requests.length === 1)
      yield* Effect.forEach(asking, Fiber.interrupt)
      yield* eventually(() => server.open() === 0)
      assert.strictEqual(yield* outcome(ask(node, address)), "in")
      assert.strictEqual(server.requests.length, 2)
    }).pipe(Effect.provide(client)))
})

describe("AccessCallout", () => {
  /** Answers at once and counts the requests. */
  const fake = (statusOf: () => number) => {
    const asked = { times: 0 }
    const client = HttpClient.make((request) =>
      Effect.sync(() => {
        asked.times++
        return HttpClientResponse.fromWeb(request, new Response(null, { status: statusOf() }))
      })
    )
    return { asked, make: Effect.provideService(AccessCallout.make, HttpClient.HttpClient, client) }
  }

  it.effect("a request that is being given up is nobody else's, and takes nobody else's place", () =>
    Effect.gen(function*() {
      const givenUp = yield* Deferred.make<void>()
      const answered = yield* Deferred.make<void>()
      let times = 0
      const client = HttpClient.make((request) =>
        ++times === 1
          ? Effect.onInterrupt(Effect.never, () => Deferred.await(givenUp))
          : Effect.as(Deferred.await(answered), HttpClientResponse.fromWeb(request, new Response()))
      )
      const make = yield* Effect.provideService(AccessCallout.make, HttpClient.HttpClient, client)
      const ask = make(callout("http://127.0.0.1/"))
      const begin = Effect.zipLeft(Effect.fork(outcome(ask(node, address))), Effect.repeatN(Effect.yieldNow(), 20))

      const leaving = yield* Effect.fork(Fiber.interrupt(yield* begin))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      const second = yield* begin
      assert.strictEqual(times, 2)
      yield* Deferred.succeed(givenUp, undefined)
      yield* Fiber.join(leaving)
      const third = yield* begin
      assert.strictEqual(times, 2)
      yield* Deferred.succeed(answered, undefined)
      assert.deepEqual(yield* Fiber.join(Fiber.all([second, third])), ["in", "in"])
    }))

  it.effect("an answer holds for cacheMs", () =>
    Effect.gen(function*() {
      let code = 200
      const { asked, make } = fake(() => code)
      const ask = (yield* make)(callout("http://127.0.0.1/", { cacheMs: 1_000 }))
      assert.strictEqual(yield* outcome(ask(node, address)), "in")
      code = 403
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* outcome(ask(node, address)), "in")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* outcome(ask(node, address)), "denied")
      code = 200
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* outcome(ask(node, address)), "denied")
      assert.strictEqual(asked.times, 2)
    }))

  it.effect("with a cacheMs of 0 each registration is asked for", () =>
    Effect.gen(function*() {
      const { asked, make } = fake(() => 200)
      const ask = (yield* make)(callout("http://127.0.0.1/", { cacheMs: 0 }))
      yield* ask(node, address)
      yield* ask(node, address)
      assert.strictEqual(asked.times, 2)
    }))

  it.effect("remembers 10,000 answers, the latest", () =>
    Effect.gen(function*() {
      const { asked, make } = fake(() => 200)
      const ask = (yield* make)(callout("http://127.0.0.1/"))
      const addresses = Array.from({ length: 10_001 }, (_, n) => `10.0.${n >> 8}.${n & 255}`)
      yield* Effect.forEach(addresses, (address) => ask(node, address), { discard: true })
      yield* ask(node, addresses[1]!)
      yield* ask(node, addresses[10_000]!)
      assert.strictEqual(asked.times, 10_001)
      yield* ask(node, addresses[0]!)
      assert.strictEqual(asked.times, 10_002)
    }))

  it.effect("another setting remembers nothing of the one before", () =>
    Effect.gen(function*() {
      const { asked, make } = fake(() => 200)
      const made = yield* make
      yield* made(callout("http://127.0.0.1/"))(node, address)
      yield* made(callout("http://127.0.0.1/"))(node, address)
      assert.strictEqual(asked.times, 2)
    }))

  it.effect("counts requests by what they came to", () =>
    Effect.gen(function*() {
      let code = 200
      const counts = () => AccessCallout.answers.map(countOf)
      const before = counts()
      const { make } = fake(() => code)
      const ask = (yield* make)(callout("http://127.0.0.1/", { cacheMs: 0 }))
      for (code of [200, 403, 403, 503, 500, 302]) {
        yield* outcome(ask(node, address))
      }
      assert.deepEqual(counts().map((count, n) => count - before[n]!), [1, 2, 3])
    }).pipe(Effect.provide(logTo([]))))

  it.effect("warns once in 10 s", () => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const { make } = fake(() => 500)
      const ask = (yield* make)(callout("http://127.0.0.1/"))
      const fail = (times: number) => Effect.repeatN(outcome(ask(node, address)), times - 1)
      yield* fail(20)
      yield* TestClock.adjust("9999 millis")
      yield* fail(1)
      assert.strictEqual(lines.length, 1)
      yield* TestClock.adjust("1 millis")
      yield* fail(20)
      assert.strictEqual(lines.length, 2)
    }).pipe(Effect.provide(logTo(lines)))
  })
})
