import { assert, describe } from "@effect/vitest"
import { makeFile } from "@tx3/testing/files"
import { Effect, Stream } from "effect"
import { randomBytes } from "node:crypto"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Duplex } from "node:stream"
import * as zlib from "node:zlib"
import { live, pair, received, sha256 } from "../../node/test/utils/nodes.js"
import * as FileTransfer from "../src/FileTransfer.js"
import { readExactly } from "../src/internal/bytes.js"
import * as Compression from "../src/internal/compression.js"

const folders = Effect.acquireRelease(
  Effect.sync(() => {
    const root = mkdtempSync(join(tmpdir(), "tx3-compression-"))
    const [from, to] = [join(root, "from"), join(root, "to")]
    mkdirSync(from)
    mkdirSync(to)
    return { from, root, to }
  }),
  ({ root }) => Effect.sync(() => rmSync(root, { recursive: true }))
)

const silently: FileTransfer.Progress = () => Effect.succeed(() => {})

/** Sends a path, compressed, and returns how many bytes went over. */
const sent = (path: string, to: string, options: FileTransfer.ReceiveOptions = {}, progress = silently) =>
  Effect.gen(function*() {
    const { far, near } = yield* pair
    const source = yield* FileTransfer.open(path)
    const [, files] = yield* Effect.all([
      Effect.zipLeft(FileTransfer.send(near, source, progress, { compress: true }), near.close),
      FileTransfer.receive(far, to, silently, options)
    ], { concurrency: "unbounded" })
    return { files, went: (near.duplex as Duplex & { readonly bytesWritten: number }).bytesWritten }
  }).pipe(Effect.scoped)

const text = Buffer.from(Array.from({ length: 60_000 }, (_, line) => `${line} the quick brown fox jumps\n`).join(""))

const frame = (value: unknown) => {
  const json = Buffer.from(JSON.stringify(value))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(json.length)
  return Buffer.concat([length, json])
}

const readFrame = (duplex: Duplex) =>
  Effect.gen(function*() {
    const length = (yield* readExactly(duplex, 4)).readUInt32BE()
    return JSON.parse((yield* readExactly(duplex, length)).toString()) as Record<string, unknown>
  })

describe("a compressed transfer", () => {
  live("of text is smaller, of random bytes as large, and each arrives as it was", () =>
    Effect.gen(function*() {
      const { from, to } = yield* folders
      const contents = {
        text,
        random: randomBytes(3_000_000),
        mixed: Buffer.concat([text, randomBytes(1_000_000), Buffer.alloc(2_000_000), text]),
        empty: Buffer.alloc(0)
      }
      const went: Record<string, number> = {}
      for (const [name, bytes] of Object.entries(contents)) {
        writeFileSync(join(from, name), bytes)
        const result = yield* sent(join(from, name), to)
        went[name] = result.went
        assert.deepStrictEqual(result.files, [{ name, size: bytes.length, sha256: sha256(bytes) }])
        assert.isTrue(readFileSync(join(to, name)).equals(bytes))
      }
      assert.isBelow(went["text"]!, text.length / 4)
      assert.isBelow(went["mixed"]!, contents.mixed.length / 3)
      assert.isBelow(went["random"]!, contents.random.length + 1_000)
    }))

  live("of a folder arrives", () =>
    Effect.gen(function*() {
      const { from, to } = yield* folders
      mkdirSync(join(from, "in"))
      writeFileSync(join(from, "a"), text)
      writeFileSync(join(from, "in", "b"), "b")
      const { went } = yield* sent(from, to)
      assert.isTrue(readFileSync(join(to, "from", "a")).equals(text))
      assert.strictEqual(readFileSync(join(to, "from", "in", "b"), "utf8"), "b")
      assert.isBelow(went, text.length / 4)
    }))

  live("that is interrupted goes on from the plain bytes that came", () =>
    Effect.gen(function*() {
      const { from, to } = yield* folders
      const { path, sha256 } = makeFile(from, "big", 6_000_000)
      yield* Effect.gen(function*() {
        const { far, near } = yield* pair
        let came = 0
        const cutOff: FileTransfer.Progress = () =>
          Effect.succeed((bytes) => {
            came += bytes
            if (came > 2_000_000) {
              near.duplex.destroy()
            }
          })
        const failed = yield* Effect.flip(Effect.raceFirst(
          FileTransfer.receive(far, to, cutOff),
          Effect.zipRight(
            Effect.ignore(FileTransfer.send(near, yield* FileTransfer.open(path), silently, { compress: true })),
            Effect.never
          )
        ))
        assert.isTrue(FileTransfer.isInterruption(failed))
      }).pipe(Effect.scoped)
      assert.match(readdirSync(to).join(), /^\.tx3-.*\.part$/)
      let first: number | undefined
      const { files, went } = yield* sent(path, to, {}, () =>
        Effect.succeed((bytes) => {
          first ??= bytes
        }))
      assert.strictEqual(files[0]!.sha256, sha256)
      assert.isAbove(first!, 1_000_000)
      assert.isBelow(went, 6_000_000 - first! + 10_000)
    }))

  live("is none where the receiver is older", () =>
    Effect.gen(function*() {
      const { from } = yield* folders
      writeFileSync(join(from, "text"), text)
      const { far, near } = yield* pair
      const source = yield* FileTransfer.open(join(from, "text"))
      const receiver = Effect.gen(function*() {
        assert.deepInclude(yield* readFrame(far.duplex), { "tx3-file": 1, compress: Compression.methods })
        yield* far.write(frame({ ok: true }))
        const bytes = yield* received(far)
        yield* far.write(frame({ ok: true }))
        yield* far.end
        return bytes
      })
      const [, bytes] = yield* Effect.all([
        FileTransfer.send(near, source, silently, { compress: true }),
        receiver
      ], { concurrency: "unbounded" })
      assert.isTrue(bytes.subarray(0, text.length).equals(text))
      assert.strictEqual(bytes.length, text.length + 32)
    }))

  live("fails where the receiver answers with what was not offered", () =>
    Effect.gen(function*() {
      const { from } = yield* folders
      writeFileSync(join(from, "text"), text)
      const { far, near } = yield* pair
      const source = yield* FileTransfer.open(join(from, "text"))
      yield* far.write(frame({ ok: true, compress: "lzma" }))
      const error = yield* Effect.flip(FileTransfer.send(near, source, silently, { compress: true }))
      assert.match(error.message, /no answer of this version of tx3/)
    }))

  const block = (bytes: Uint8Array, length = bytes.length + 0x8000_0000) => {
    const header = Buffer.alloc(4)
    header.writeUInt32BE(length)
    return Buffer.concat([header, bytes])
  }
  const bad: ReadonlyArray<readonly [title: string, bytes: Buffer]> = [
    ["becomes more than was offered", block(zlib.gzipSync(Buffer.alloc(100_000_000)))],
    ["becomes nothing", block(zlib.gzipSync(Buffer.alloc(0)))],
    ["is no compressed one", block(randomBytes(100))],
    ["is too long", block(Buffer.alloc(0), 0xffff_ffff)],
    ["is longer than the rest", block(Buffer.alloc(1_001), 1_001)],
    ["is empty", block(Buffer.alloc(0), 0)]
  ]
  for (const [title, bytes] of bad) {
    live(`fails, and leaves nothing, where a block ${title}`, () =>
      Effect.gen(function*() {
        const { to } = yield* folders
        const { far, near } = yield* pair
        const sender = Effect.gen(function*() {
          yield* near.write(frame({ "tx3-file": 1, name: "bomb", size: 1_000, resume: true, compress: ["gzip"] }))
          assert.deepStrictEqual(yield* readFrame(near.duplex), { ok: true, compress: "gzip" })
          yield* near.write(bytes)
          const answer = yield* readFrame(near.duplex)
          yield* near.end
          yield* Stream.runDrain(near.readable)
          return answer
        })
        const [error, answer] = yield* Effect.all([
          Effect.flip(FileTransfer.receive(far, to, silently, { maxSize: 1_000 })),
          sender
        ], { concurrency: "unbounded" })
        assert.strictEqual(error.message, `${join(to, "bomb")}: arrived damaged: a compressed block cannot be read`)
        assert.deepStrictEqual(answer, { ok: false, reason: "arrived damaged: a compressed block cannot be read" })
        assert.deepStrictEqual(readdirSync(to), [])
      }))
  }
})
