import { describe, it } from "@effect/vitest"
import { PortableTransport } from "@tx3/transport"
import { Effect, Queue } from "effect"
import { assert } from "vitest"
import { HeaderTimeoutMs } from "../src/internal/proxies.js"
import { connect, payload } from "./utils/client.js"
import { insideFromLeft, listening, noLeak, spliced, stalled } from "./utils/fixtures.js"
import { connectionSubjects } from "./utils/subjects.js"
import { eventually, socketsAt } from "./utils/system.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("PortableTransport", PortableTransport.layer, connectionSubjects)

describe("PortableTransport alone", () => {
  it.scopedLive("keeps a read and the streams' buffers of a stalled direction, not more", () =>
    Effect.gen(function*() {
      yield* noLeak
      const pair = yield* spliced({ rightReads: false })
      pair.left.client.stream(payload(32 * 1024 * 1024))
      yield* stalled(pair.left.client)
      assert.isBelow(insideFromLeft(pair), 256 * 1024)
    }).pipe(Effect.provide(PortableTransport.layer)))

  it.scopedLive("connections of proxies that send no header are not more than a backlog; the next is turned away", () =>
    Effect.gen(function*() {
      yield* noLeak
      const errors: Array<string> = []
      const listener = yield* listening({
        proxies: ["127.0.0.1"],
        onAcceptError: ({ message }) => errors.push(message)
      }).pipe(Effect.provideService(HeaderTimeoutMs, 60_000))
      const silent = yield* Effect.forEach(Array.from({ length: headersAwaitedMax }), () => connect(listener))
      const next = yield* connect(listener)
      yield* next.readAll
      assert.deepStrictEqual(errors, [
        "accept failed: the proxy 127.0.0.1 was turned away: 4096 connections have sent no PROXY header yet"
      ])
      silent[0]!.socket.destroy()
      yield* eventually("a place", () => socketsAt(listener.port) < headersAwaitedMax)
      const other = yield* connect(listener)
      other.socket.write("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
      assert.strictEqual((yield* Queue.take(listener.connections)).remoteAddress, "192.0.2.1")
    }).pipe(Effect.provide(PortableTransport.layer)))
})

/** As in PortableTransport.ts. */
const headersAwaitedMax = 4096
