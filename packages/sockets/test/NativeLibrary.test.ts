import { assert, describe, it } from "@effect/vitest"
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach } from "vitest"
import { load } from "../src/internal/nativeLibrary.js"

const library = Buffer.from("a library")
const otherUser = 12345
const isRoot = process.geteuid?.() === 0

let root: string
beforeEach(() => root = mkdtempSync(join(tmpdir(), "tx3-native-")))
afterEach(() => rmSync(root, { recursive: true, force: true }))

const openDescriptors = () => readdirSync("/proc/self/fd").length

/** Loads, and returns the file that was loaded. Fails if what was loaded is not the library. */
const loadFrom = (
  folders: ReadonlyArray<string>,
  { installed = "/nowhere/koffi.node", refuse = () => false }: {
    readonly installed?: string
    readonly refuse?: (file: string) => boolean
  } = {}
) => {
  const before = openDescriptors()
  try {
    return load(library, {
      installed,
      folders: folders.map((folder) => join(root, folder)),
      dlopen: (path) => {
        assert.match(path, /^\/proc\/self\/fd\/\d+$/)
        const file = readlinkSync(path)
        if (refuse(file)) {
          throw new Error("Operation not permitted")
        }
        assert.isTrue(readFileSync(path).equals(library))
        return file
      }
    })
  } finally {
    assert.strictEqual(openDescriptors(), before)
  }
}

const cached = (folder: string) => join(root, folder, "koffi.node")

describe.skipIf(process.platform !== "linux")("a native library that an executable carries", () => {
  it("is written once, for this user alone", () => {
    assert.strictEqual(loadFrom(["cache/tx3"]), cached("cache/tx3"))
    assert.strictEqual(statSync(join(root, "cache/tx3")).mode & 0o777, 0o700)
    const { ino, mode } = statSync(cached("cache/tx3"))
    assert.strictEqual(mode & 0o777, 0o500)
    assert.strictEqual(loadFrom(["cache/tx3"]), cached("cache/tx3"))
    assert.strictEqual(statSync(cached("cache/tx3")).ino, ino)
    assert.deepStrictEqual(readdirSync(join(root, "cache/tx3")), ["koffi.node"])
  })

  it("is not written where it is installed", () => {
    const installed = join(root, "installed.node")
    writeFileSync(installed, library, { mode: 0o644 })
    assert.strictEqual(loadFrom(["cache"], { installed }), installed)
    assert.isFalse(existsSync(join(root, "cache")))
  })

  it("is another than the one of another version that is installed, or left over", () => {
    const installed = join(root, "installed.node")
    writeFileSync(installed, "older")
    mkdirSync(join(root, "cache"), { mode: 0o700 })
    writeFileSync(cached("cache"), "a libYary")
    assert.strictEqual(loadFrom(["cache"], { installed }), cached("cache"))
    assert.strictEqual(readFileSync(installed, "utf8"), "older")
  })

  it("is written again if others could have written it", () => {
    mkdirSync(join(root, "cache"), { mode: 0o700 })
    writeFileSync(cached("cache"), library)
    chmodSync(cached("cache"), 0o666)
    const { ino } = statSync(cached("cache"))
    loadFrom(["cache"])
    assert.notStrictEqual(statSync(cached("cache")).ino, ino)
  })

  it("replaces a link, and what the link leads to stays", () => {
    mkdirSync(join(root, "cache"), { mode: 0o700 })
    writeFileSync(join(root, "precious"), "precious")
    symlinkSync(join(root, "precious"), cached("cache"))
    assert.strictEqual(loadFrom(["cache"]), cached("cache"))
    assert.isTrue(lstatSync(cached("cache")).isFile())
    assert.strictEqual(readFileSync(join(root, "precious"), "utf8"), "precious")
  })

  it("does not go into a folder that others can use, nor through a link", () => {
    mkdirSync(join(root, "open"))
    chmodSync(join(root, "open"), 0o777)
    mkdirSync(join(root, "elsewhere"), { mode: 0o700 })
    symlinkSync(join(root, "elsewhere"), join(root, "link"))
    assert.strictEqual(loadFrom(["open", "link", "cache"]), cached("cache"))
    assert.deepStrictEqual(readdirSync(join(root, "open")), [])
    assert.deepStrictEqual(readdirSync(join(root, "elsewhere")), [])
  })

  it.skipIf(!isRoot)("does not go into another user's folder, and does not take another user's file", () => {
    mkdirSync(join(root, "theirs"), { mode: 0o700 })
    chownSync(join(root, "theirs"), otherUser, otherUser)
    const installed = join(root, "installed.node")
    writeFileSync(installed, library)
    chownSync(installed, otherUser, otherUser)
    mkdirSync(join(root, "ours"), { mode: 0o700 })
    writeFileSync(cached("ours"), library)
    chownSync(cached("ours"), otherUser, otherUser)
    assert.strictEqual(loadFrom(["theirs", "ours"], { installed }), cached("ours"))
    assert.strictEqual(statSync(cached("ours")).uid, 0)
    assert.deepStrictEqual(readdirSync(join(root, "theirs")), [])
  })

  it("is taken from the next folder where the system does not load from one", () => {
    const refuse = (file: string) => file.includes("/noexec/")
    assert.strictEqual(loadFrom(["noexec", "cache"], { refuse }), cached("cache"))
  })

  it("is nowhere if every folder fails, and each says why", () => {
    mkdirSync(join(root, "open"))
    chmodSync(join(root, "open"), 0o777)
    writeFileSync(join(root, "file"), "")
    assert.throws(
      () => loadFrom(["open", "file/cache", "noexec"], { refuse: () => true }),
      /open: is not a folder of this user alone; .*file\/cache: ENOTDIR.*; .*noexec: Operation not permitted$/
    )
  })
})
