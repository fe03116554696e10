import { assert, describe, it } from "@effect/vitest"
import { TextFile } from "@tx3/files"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"

describe("TextFile", () => {
  it.scoped("keeps the mode, the owner and a link", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      mkdirSync(join(folder, "real"))
      const real = join(folder, "real", "tx3.yml")
      const link = join(folder, "tx3.yml")
      writeFileSync(real, "old")
      symlinkSync(real, link)
      if (process.getuid!() === 0) {
        chownSync(real, 12, 34)
      }
      chmodSync(real, 0o640)
      const { gid, ino, uid } = statSync(real)
      yield* TextFile.replace(link, "new")
      assert.isTrue(lstatSync(link).isSymbolicLink())
      assert.strictEqual(readFileSync(real, "utf8"), "new")
      const now = statSync(real)
      assert.deepStrictEqual([now.mode & 0o7777, now.uid, now.gid], [0o640, uid, gid])
      assert.notStrictEqual(now.ino, ino)
      assert.deepStrictEqual([readdirSync(folder), readdirSync(join(folder, "real"))], [["real", "tx3.yml"], [
        "tx3.yml"
      ]])
    }))

  it.scoped("leaves nothing behind where it fails", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const missing = yield* Effect.flip(TextFile.replace(join(folder, "none"), "new"))
      assert.strictEqual(missing.message, `cannot write ${join(folder, "none")}: no such file or directory`)
      // A folder has a mode and an owner, and no file takes its place.
      mkdirSync(join(folder, "folder"))
      const { message } = yield* Effect.flip(TextFile.replace(join(folder, "folder"), "new"))
      assert.include(message, `cannot write ${join(folder, "folder")}: `)
      assert.deepStrictEqual(readdirSync(folder), ["folder"])
    }))
})
