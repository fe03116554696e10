/** A connection as a Duplex. */
import { Effect } from "effect"
import type { Duplex } from "node:stream"
import { assert } from "vitest"
import { payload } from "../client.js"
import { arrived, hungUp, listening, mebibyte } from "../fixtures.js"
import { bufferBytes, eventually, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const duplexTests: Subject = (test) => {
  test(
    "begins with the bytes behind the preamble, in order, and goes on both ways",
    Effect.gen(function*() {
      const bytes = payload(100_000)
      const { client, connection } = yield* arrived(yield* listening(), { behind: bytes.subarray(0, 10) })
      for (const [from, to] of [[10, 11], [11, 500], [500, 20_000]] as const) {
        client.socket.write(bytes.subarray(from, to))
        yield* turns()
      }
      const duplex = yield* connection.toDuplex
      client.socket.write(bytes.subarray(20_000))
      assert.isTrue((yield* readDuplex(duplex, bytes.length)).equals(bytes))
      duplex.write(bytes)
      assert.isTrue((yield* client.read(bytes.length)).equals(bytes))
    })
  )

  test(
    "gives everything that was sent before, even more than is kept",
    Effect.gen(function*() {
      const bytes = payload(16 * mebibyte)
      const { client, connection } = yield* arrived(yield* listening())
      client.socket.end(bytes)
      yield* turns(20)
      const duplex = yield* connection.toDuplex
      assert.isTrue((yield* readDuplex(duplex, bytes.length)).equals(bytes))
      yield* eventually("the Duplex's end", () => duplex.read() === null && duplex.readableEnded)
    })
  )

  test(
    "half-closes each way on its own",
    Effect.gen(function*() {
      const listener = yield* listening()
      const theirs = yield* arrived(listener)
      const first = yield* theirs.connection.toDuplex
      theirs.client.socket.end("request")
      assert.strictEqual((yield* readDuplex(first, 7)).toString(), "request")
      yield* eventually("the Duplex's end", () => first.read() === null && first.readableEnded)
      first.write("ans")
      yield* turns()
      first.end("wer")
      const answer = yield* theirs.client.readAll
      assert.deepStrictEqual([answer.bytes.toString(), answer.ending], ["answer", "end"])

      const ours = yield* arrived(listener)
      const second = yield* ours.connection.toDuplex
      second.end("request")
      const request = yield* ours.client.readAll
      assert.deepStrictEqual([request.bytes.toString(), request.ending], ["request", "end"])
      ours.client.socket.write("ans")
      yield* turns()
      ours.client.socket.end("wer")
      assert.strictEqual((yield* readDuplex(second, 6)).toString(), "answer")
    })
  )

  test(
    "fails if the remote end has hung up",
    Effect.gen(function*() {
      const listener = yield* listening()
      const ended = yield* arrived(listener, { behind: payload(10) })
      ended.client.socket.end()
      yield* hungUp(ended)
      assert.strictEqual((yield* Effect.flip(ended.connection.toDuplex))._tag, "HungUp")

      const reset = yield* arrived(listener)
      reset.client.reset()
      yield* hungUp(reset)
      assert.strictEqual((yield* Effect.flip(reset.connection.toDuplex))._tag, "HungUp")
    })
  )

  test(
    "keeps nothing of what went through it",
    Effect.gen(function*() {
      const { client, connection } = yield* arrived(yield* listening())
      const duplex = yield* connection.toDuplex
      const bytes = payload(4 * mebibyte)
      const before = bufferBytes()
      for (let time = 0; time < 8; time++) {
        client.socket.write(bytes)
        yield* readDuplex(duplex, bytes.length)
      }
      yield* eventually("freed buffers", () => bufferBytes() - before < 2 * bytes.length)
    })
  )

  test(
    "close destroys it",
    Effect.gen(function*() {
      const { client, connection } = yield* arrived(yield* listening())
      const duplex = yield* connection.toDuplex
      yield* connection.close
      yield* eventually("a destroyed Duplex", () => duplex.destroyed)
      yield* client.readAll
    })
  )
}

const readDuplex = (duplex: Duplex, count: number) =>
  Effect.gen(function*() {
    const chunks: Array<Buffer> = []
    let bytes = 0
    yield* eventually(`${count} bytes`, () => {
      for (let chunk: Buffer | null; (chunk = duplex.read()) !== null;) {
        chunks.push(chunk)
        bytes += chunk.length
      }
      return bytes >= count
    })
    assert.strictEqual(bytes, count)
    return Buffer.concat(chunks)
  })
