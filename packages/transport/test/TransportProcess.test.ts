/** What becomes of a process with a transport, and of a transport in a process that is short of something. */
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { assert } from "vitest"
import type { Client } from "./utils/client.js"
import { payload } from "./utils/client.js"
import { heap, stalled } from "./utils/fixtures.js"
import { eventually, openDescriptors } from "./utils/system.js"
import type { TransportProcess } from "./utils/transportProcess.js"
import { ask, pairOf, transportProcess } from "./utils/transportProcess.js"

const freeDescriptors = 20

for (const transport of ["portable", "kernel"] as const) {
  describe(`want of descriptors, ${transport}`, () => {
    it.scopedLive("turns away, survives, and serves again when there are some", () =>
      Effect.gen(function*() {
        const server = yield* transportProcess({ descriptors: 1024, freeDescriptors, transport })
        const { kind, limit, port } = yield* server.ready
        assert.deepStrictEqual([kind, limit], [transport, 1024])
        const served: Array<Client> = []
        let turnedAway = 0
        for (let asked = 0; asked < 2 * freeDescriptors; asked++) {
          const { answered, client } = yield* ask(port)
          if (answered) {
            served.push(client)
          } else {
            turnedAway++
          }
        }
        assert.strictEqual(served.length, freeDescriptors)
        assert.strictEqual(turnedAway, freeDescriptors)
        // libuv turns away without a word.
        const reported = transport === "kernel" ? turnedAway : 0
        yield* eventually("the reports", () => server.all("acceptError").length >= reported)
        assert.deepStrictEqual(server.all("acceptError"), Array.from({ length: reported }, () => "EMFILE"))

        for (const client of served) {
          client.socket.end()
        }
        for (const client of served) {
          yield* client.isClosed
        }
        for (let client = 0; client < served.length; client++) {
          assert.isTrue((yield* ask(port)).answered)
        }
        assert.strictEqual(server.all("acceptError").length, reported)
        assert.strictEqual(server.errors(), "")
      }))
  })
}

describe("a process with a kernel transport that carries bytes ends at once", () => {
  for (
    const [how, end, expected] of [
      ["by process.exit", (server: TransportProcess) => server.tell("exit"), { code: 0, signal: null }],
      ["by an exception that nobody catches", (server: TransportProcess) => server.tell("throw"), {
        code: 1,
        signal: null
      }],
      ["by SIGTERM", ({ child }: TransportProcess) => Effect.sync(() => child.kill("SIGTERM")), {
        code: null,
        signal: "SIGTERM"
      }]
    ] as const
  ) {
    it.scopedLive(how, () =>
      Effect.gen(function*() {
        const server = yield* transportProcess({ threads: 2, transport: "kernel" })
        const { port } = yield* server.ready
        const echoing = yield* pairOf(port)
        echoing.left.socket.write("there!")
        assert.strictEqual((yield* echoing.right.read(6)).toString(), "there!")
        const stuck = yield* pairOf(port, { rightReads: false })
        stuck.left.stream(payload(heap))
        yield* stalled(stuck.left)

        const began = Date.now()
        yield* end(server)
        assert.deepStrictEqual(yield* server.exit, expected)
        assert.isBelow(Date.now() - began, endsWithinMs)
        assert.strictEqual(server.errors().includes("thrown on purpose"), expected.code === 1)
        yield* echoing.left.readAll
        yield* stuck.left.readAll
      }))
  }

  it.scopedLive("while the transport is being built", () =>
    Effect.gen(function*() {
      const server = yield* transportProcess({ threads: 2, transport: "kernel" })
      const began = Date.now()
      yield* server.tell("exit")
      assert.deepStrictEqual(yield* server.exit, { code: 0, signal: null })
      assert.isBelow(Date.now() - began, endsWithinMs)
      assert.deepStrictEqual(server.all("ready"), [])
      assert.strictEqual(server.errors(), "")
    }))
})

describe("pipes", () => {
  it.scopedLive("stalled splices beyond their number go through a buffer, and deliver everything", () =>
    Effect.gen(function*() {
      const server = yield* transportProcess({ descriptors: 256, transport: "kernel" })
      const { limit, port } = yield* server.ready
      const pipesMax = limit / 32
      assert.strictEqual(pipesMax, 8)
      const pipesBefore = pipes(server)

      const bytes = payload(heap)
      const stuckPair = Effect.gen(function*() {
        const pair = yield* pairOf(port, { rightReads: false })
        pair.left.stream(bytes)
        yield* stalled(pair.left)
        assert.isBelow(pair.left.accepted, bytes.length)
        return pair
      })
      const withPipe = yield* Effect.replicateEffect(stuckPair, pipesMax)
      const pipesThen = pipes(server)
      // One was left over from the self-test, at most.
      assert.include([pipesMax - 1, pipesMax], pipesThen - pipesBefore)
      const withoutPipe = yield* Effect.replicateEffect(stuckPair, 4)
      assert.strictEqual(pipes(server), pipesThen)

      for (const { left, right } of [...withoutPipe, ...withPipe]) {
        right.startReading()
        assert.strictEqual(sha256(yield* right.read(bytes.length)), sha256(bytes))
        left.socket.end()
        right.socket.end()
        assert.deepStrictEqual(yield* right.readAll, { bytes: Buffer.alloc(0), ending: "end" })
      }
      yield* eventually("all reports", () => server.all("ended").length === pipesMax + 4)
      assert.deepStrictEqual(new Set(server.all("ended")), new Set(["completed"]))
      assert.isAtMost(pipes(server), pipesThen)
    }))
})

describe("AutoTransport in a process of its own", () => {
  it.scopedLive("without koffi is portable, works, and says why and what is missing", () =>
    Effect.gen(function*() {
      const server = yield* transportProcess({ first: withoutKoffi, transport: "auto" })
      const { kind, port } = yield* server.ready
      assert.strictEqual(kind, "portable")
      assert.isTrue((yield* ask(port)).answered)
      assert.deepStrictEqual(server.all("log"), [{
        level: "INFO",
        message: "a connection whose other end dies with data in flight is noticed only after up to 16 minutes: " +
          "the optional package koffi cannot be loaded; npm install koffi"
      }, {
        level: "INFO",
        message: "bytes are carried by this process (transport portable): " +
          "the optional package koffi is not installed, or cannot be loaded; npm install koffi"
      }])
      assert.strictEqual(server.errors(), "")
    }))

  it.scopedLive("whose self-test fails is portable, works, and says so in one line", () =>
    Effect.gen(function*() {
      const server = yield* transportProcess({ starvedWhenBuilt: true, transport: "auto" })
      const { kind, port } = yield* server.ready
      assert.strictEqual(kind, "portable")
      assert.isTrue((yield* ask(port)).answered)
      const [, ...lines] = server.all("log").filter(({ level }) => level === "INFO").map(({ message }) => message)
      assert.lengthOf(lines, 1)
      assert.match(lines[0]!, /transport portable\): it fails its self-test: .*EMFILE/)
      assert.strictEqual(server.errors(), "")
    }))
})

describe("KernelTransport in a process of its own", () => {
  it.scopedLive("fails without koffi, and says so", () =>
    Effect.gen(function*() {
      const server = yield* transportProcess({ first: withoutKoffi, transport: "kernel" })
      assert.deepStrictEqual(yield* server.failed, {
        message: "the kernel transport is not available: " +
          "the optional package koffi is not installed, or cannot be loaded; npm install koffi",
        tag: "KernelUnavailable"
      })
    }))
})

const withoutKoffi = new URL("utils/withoutKoffi.mjs", import.meta.url).href

const endsWithinMs = 30_000

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")

/** Pipes of which the process has both ends. */
const pipes = ({ child }: TransportProcess) => {
  const ends = openDescriptors(child.pid).filter(({ link }) => link.startsWith("pipe:")).map(({ link }) => link)
  return ends.length - new Set(ends).size
}
