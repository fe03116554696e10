/**
 * Files that appear whole and in place of nothing, on file systems with hard links and without.
 */
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/files"
import * as programs from "@tx3/testing/builtPrograms"
import { withoutLinks } from "@tx3/testing/files"
import { Effect, Exit } from "effect"
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { publish } from "../src/Publish.js"

const finished = Effect.map(programs.temporaryFolder, (folder) => {
  const unfinished = join(folder, "unfinished")
  writeFileSync(unfinished, "whole", { mode: 0o400 })
  return { folder, target: join(folder, "target"), unfinished }
})

describe("publish", () => {
  for (const [where, before] of [["hard links", Effect.void], ["no hard links", withoutLinks()]] as const) {
    it.scopedLive(`moves a file to its name, with ${where}`, () =>
      Effect.gen(function*() {
        yield* before
        const { folder, target, unfinished } = yield* finished
        yield* Effect.promise(() => publish(unfinished, target))
        assert.deepStrictEqual(readdirSync(folder), ["target"])
        assert.strictEqual(readFileSync(target, "utf8"), "whole")
        assert.strictEqual(statSync(target).mode & 0o777, 0o400)
      }))

    it.scopedLive(`leaves what has the name, with ${where}`, () =>
      Effect.gen(function*() {
        yield* before
        for (const make of [(path: string) => writeFileSync(path, "mine"), (path: string) => mkdirSync(path)]) {
          const { folder, target, unfinished } = yield* finished
          make(target)
          const isFile = statSync(target).isFile()
          const exit = yield* Effect.exit(Effect.tryPromise(() => publish(unfinished, target)))
          assert.isTrue(Exit.isFailure(exit))
          assert.deepStrictEqual(readdirSync(folder).sort(), ["target", "unfinished"])
          assert.strictEqual(isFile ? readFileSync(target, "utf8") : "", isFile ? "mine" : "")
        }
      }))
  }

  it.scopedLive("leaves the file where it is when it can have no name", () =>
    Effect.gen(function*() {
      yield* withoutLinks("EIO")
      const { folder, target, unfinished } = yield* finished
      yield* Effect.flip(Effect.tryPromise(() => publish(unfinished, target)))
      assert.deepStrictEqual(readdirSync(folder), ["unfinished"])
    }))

  it.scopedLive("makes an identity where there are no hard links, for its owner alone", () =>
    Effect.gen(function*() {
      yield* withoutLinks()
      const folder = yield* programs.temporaryFolder
      const file = join(folder, "id.pem")
      const { digest } = yield* IdentityFile.create(file)
      assert.strictEqual((yield* IdentityFile.read(file)).digest, digest)
      assert.deepStrictEqual(readdirSync(folder), ["id.pem"])
      const { message } = yield* Effect.flip(IdentityFile.create(file))
      assert.include(message, "exists already and is left as it is")
    }).pipe(Effect.provide(NodeContext.layer)))
})
