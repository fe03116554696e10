import { describe, it } from "@effect/vitest"
import { DescriptorLimit, PortableTransport } from "@tx3/transport"
import { Effect } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { assert } from "vitest"
import type { Client } from "./utils/client.js"
import { connect, payload } from "./utils/client.js"
import { insideFromLeft, noLeak, spliced, stalled } from "./utils/fixtures.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("PortableTransport", PortableTransport.layer)

describe("PortableTransport alone", () => {
  it.scopedLive("keeps a read and the streams' buffers of a stalled direction, not more", () =>
    Effect.gen(function*() {
      yield* noLeak
      const pair = yield* spliced({ rightReads: false })
      pair.left.client.stream(payload(32 * 1024 * 1024))
      yield* stalled(pair.left.client)
      assert.isBelow(insideFromLeft(pair), 256 * 1024)
    }).pipe(Effect.provide(PortableTransport.layer)))

  it.scopedLive("survives want of descriptors and serves again when there are some", () =>
    Effect.gen(function*() {
      const { limit, port } = yield* starvedServer
      assert.strictEqual(limit, descriptors)
      const served: Array<Client> = []
      let refused = 0
      for (let asked = 0; asked < 2 * freeDescriptors; asked++) {
        const { answered, client } = yield* ask(port)
        if (answered) {
          served.push(client)
        } else {
          refused++
        }
      }
      assert.strictEqual(served.length, freeDescriptors)
      assert.strictEqual(refused, freeDescriptors)

      for (const client of served) {
        client.socket.end()
      }
      for (const client of served) {
        yield* client.isClosed
      }
      for (let client = 0; client < served.length; client++) {
        assert.isTrue((yield* ask(port)).answered)
      }
    }), 20_000)
})

describe("DescriptorLimit", () => {
  it.effect("is what ulimit -n shows", () =>
    Effect.gen(function*() {
      const limit = yield* Effect.flatten(DescriptorLimit.descriptorLimit)
      // Node raises its own soft limit, which a child inherits.
      assert.strictEqual(limit, Number(execFileSync("bash", ["-c", "ulimit -n"]).toString()))
    }))
})

const descriptors = 1024
const freeDescriptors = 20

const starvedServer = Effect.acquireRelease(
  Effect.sync(() =>
    spawn(
      "bash",
      ["-c", `ulimit -n ${descriptors}; exec "$0" "$@"`, process.execPath, starvedServerFile, String(freeDescriptors)],
      { stdio: ["ignore", "pipe", "inherit"] }
    )
  ),
  (child) => Effect.sync(() => child.kill())
).pipe(Effect.flatMap((child) =>
  Effect.async<{ readonly limit: number; readonly port: number }>((resume) => {
    child.once("exit", (code) => resume(Effect.dieMessage(`the server ended with ${code}`)))
    createInterface(child.stdout).once("line", (line) => resume(Effect.succeed(JSON.parse(line))))
  })
))

const starvedServerFile = fileURLToPath(new URL("utils/starvedServer.mjs", import.meta.url))

/** A new connection that is served, or closed for want of descriptors. */
const ask = (port: number) =>
  Effect.gen(function*() {
    const client = yield* connect({ host: "127.0.0.1", port })
    client.socket.write(payload(32))
    yield* client.until("an answer or the end", () => client.socket.bytesRead > 0 || client.ending !== undefined)
    return { answered: client.socket.bytesRead === 2, client }
  })
