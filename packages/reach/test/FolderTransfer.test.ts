import { assert, describe, it } from "@effect/vitest"
import type { Tx3Connection } from "@tx3/node"
import { Tx3Node } from "@tx3/node"
import { FileTransfer } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { makeFile, sha256 } from "@tx3/testing/files"
import { Deferred, Effect, Option, Stream } from "effect"
import {
  chmodSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { readExactly } from "../src/internal/bytes.js"
import { staysWithin } from "../src/internal/folder.js"

const quiet: FileTransfer.Progress = () => Effect.succeed(() => {})

/** Both ends of a connection: the sender's and the receiver's. */
const connected = Effect.gen(function*() {
  const node = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"] })
  const peer = yield* Tx3Node.make({})
  const sender = yield* peer.connect(node.addresses[0]!)
  return { sender, receiver: Option.getOrThrow(yield* Stream.runHead(node.connections)) }
})

/** Sends a path into a folder: how that ends on both sides. */
const transfer = (path: string, into: string, progress = quiet) =>
  Effect.scoped(Effect.flatMap(FileTransfer.open(path), (source) => transferOf(source, into, progress)))

const transferOf = (source: FileTransfer.Source, into: string, progress = quiet) =>
  Effect.gen(function*() {
    const { receiver, sender } = yield* connected
    const [sent, received] = yield* Effect.all([
      Effect.either(FileTransfer.send(sender, source, progress)),
      Effect.either(FileTransfer.receive(receiver, into, quiet))
    ], { concurrency: 2 })
    return { sent, received }
  }).pipe(Effect.scoped)

/** A progress that cuts the connection after so many bytes. Cut at the sender, what has been sent would still arrive. */
const cutAfter = (bytes: number, cut: Effect.Effect<void>): FileTransfer.Progress => () => {
  let sent = 0
  return Effect.succeed((count) => {
    sent += count
    if (sent >= bytes) {
      Effect.runFork(cut)
    }
  })
}

const frame = (value: unknown) => {
  const json = Buffer.from(JSON.stringify(value))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(json.length)
  return Buffer.concat([length, json])
}

const answer = ({ duplex }: Tx3Connection.Tx3Connection) =>
  Effect.gen(function*() {
    const length = (yield* readExactly(duplex, 4, 5_000)).readUInt32BE()
    return JSON.parse((yield* readExactly(duplex, length, 5_000)).toString()) as Record<string, unknown>
  })

const makeTree = (folder: string) => {
  const tree = join(folder, "tree")
  mkdirSync(join(tree, "deep", "er"), { recursive: true })
  mkdirSync(join(tree, "empty"))
  writeFileSync(join(tree, "deep", "er", ".hidden"), "dot")
  writeFileSync(join(tree, "program"), "#!/bin/sh\n", { mode: 0o755 })
  writeFileSync(join(tree, "nothing"), "")
  const big = makeFile(tree, "zbig", 3_000_000)
  symlinkSync("deep/er/.hidden", join(tree, "link"))
  for (let count = 0; count < 150; count++) {
    writeFileSync(join(tree, "deep", `file ${count}`), `${count}`)
  }
  return { tree, big }
}

describe("a folder", { timeout: 60_000 }, () => {
  it.scopedLive.skipIf(process.platform === "win32")(
    "keeps permissions, and what is private stays private",
    () =>
      Effect.gen(function*() {
        const [from, into] = [yield* programs.temporaryFolder, yield* programs.temporaryFolder]
        const tree = join(from, "tree")
        const modes: ReadonlyArray<readonly [name: string, mode: number, received?: number]> = [
          ["", 0o750],
          ["private", 0o700],
          ["private/key", 0o600],
          ["closed", 0o500, 0o700],
          ["program", 0o755],
          ["read-only", 0o444, 0o644],
          ["group", 0o660]
        ]
        for (const [name, mode] of modes) {
          const at = join(tree, name)
          if (["", "private", "closed"].includes(name)) {
            mkdirSync(at)
          } else {
            writeFileSync(at, name)
          }
          chmodSync(at, mode)
        }
        const { received } = yield* transfer(tree, into)
        assert.strictEqual(received._tag, "Right")
        for (const [name, mode, expected = mode] of modes) {
          assert.strictEqual(statSync(join(into, "tree", name)).mode & 0o777, expected & ~process.umask(), name)
        }
        yield* transfer(join(tree, "private", "key"), into)
        assert.strictEqual(statSync(join(into, "key")).mode & 0o777, 0o600)
      })
  )

  it.scopedLive("arrives whole, with its names, programs and links; what leads out of it stays behind", () =>
    Effect.gen(function*() {
      const [from, into] = [yield* programs.temporaryFolder, yield* programs.temporaryFolder]
      const { big, tree } = makeTree(from)
      symlinkSync("/etc/passwd", join(tree, "passwd"))
      symlinkSync("../../up", join(tree, "deep", "up"))
      const source = yield* Effect.scoped(FileTransfer.open(tree))
      assert.strictEqual(source.kind, "folder")
      assert.deepStrictEqual(source.kind === "folder" ? source.skipped : [], [
        `${tree}/deep/up: is a link out of the folder, to ../../up`,
        `${tree}/passwd: is a link out of the folder, to /etc/passwd`
      ])
      const { received, sent } = yield* transfer(tree, into)
      assert.isTrue(received._tag === "Right" && sent._tag === "Right")
      assert.deepStrictEqual(received, sent)
      const files = received._tag === "Right" ? received.right : []
      assert.lengthOf(files, 154)
      for (const { name, sha256: hash } of files) {
        assert.strictEqual(sha256(readFileSync(join(into, name))), hash)
      }
      assert.strictEqual(sha256(readFileSync(join(into, "tree", "zbig"))), big.sha256)
      assert.strictEqual(statSync(join(into, "tree", "program")).mode & 0o111, 0o111 & ~process.umask())
      assert.strictEqual(statSync(join(into, "tree", "nothing")).mode & 0o111, 0)
      assert.strictEqual(readlinkSync(join(into, "tree", "link")), "deep/er/.hidden")
      assert.deepStrictEqual(readdirSync(join(into, "tree")).sort(), [
        "deep",
        "empty",
        "link",
        "nothing",
        "program",
        "zbig"
      ])
      const again = yield* transfer(tree, into)
      assert.include(JSON.stringify(again.sent), "exists already and is left as it is")
      assert.deepStrictEqual(readdirSync(into), ["tree"])
    }))

  for (const what of ["folder", "file"] as const) {
    it.scopedLive(`a ${what} that was interrupted goes on, and what came is not sent again`, () =>
      Effect.gen(function*() {
        const [from, into] = [yield* programs.temporaryFolder, yield* programs.temporaryFolder]
        const { big, tree } = makeTree(from)
        // The same that is open, as when both ends go on by themselves.
        const source = yield* FileTransfer.open(what === "folder" ? tree : big.path)
        yield* Effect.gen(function*() {
          const { receiver, sender } = yield* connected
          const [sent, received] = yield* Effect.all([
            Effect.either(FileTransfer.send(sender, source, quiet)),
            Effect.either(FileTransfer.receive(receiver, into, cutAfter(1_000_000, receiver.reset)))
          ], { concurrency: 2 })
          assert.isTrue(sent._tag === "Left" && FileTransfer.isInterruption(sent.left))
          assert.isTrue(received._tag === "Left" && FileTransfer.isInterruption(received.left))
        }).pipe(Effect.scoped)
        const [kept, ...more] = readdirSync(into)
        assert.match(kept!, /^\.tx3-[\w-]{22}\.part$/)
        assert.deepStrictEqual(more, [])
        // The first that is counted is what was there.
        const counted: Array<number> = []
        const { received, sent } = yield* transferOf(source, into, () =>
          Effect.succeed((count) => {
            counted.push(count)
          }))
        assert.deepStrictEqual(received, sent)
        assert.strictEqual(received._tag, "Right")
        assert.isAbove(what === "file" ? counted[0]! : counted.reduce((sum, count) => Math.max(sum, count), 0), 262_144)
        const arrived = join(into, what === "folder" ? "tree/zbig" : "zbig")
        assert.strictEqual(sha256(readFileSync(arrived)), big.sha256)
        assert.lengthOf(readdirSync(into), 1)
      }))
  }

  it.scopedLive("a part that nobody has gone on with for a week is removed, and nothing else", () =>
    Effect.gen(function*() {
      const into = yield* programs.temporaryFolder
      const part = (letter: string) => `.tx3-${letter.repeat(22)}.part`
      const others = [part("c"), ".tx3-0b1e0a5c-8f0e-4f0e-9a3e-3f0d3f0d3f0d", `${part("d")}.bak`, "report.part"]
      for (const name of [part("a"), ...others]) {
        writeFileSync(join(into, name), "")
      }
      mkdirSync(join(into, part("b"), "inner"), { recursive: true })
      symlinkSync(join(into, "report.part"), join(into, part("e")))
      const longAgo = new Date(Date.now() - 8 * 24 * 3_600_000)
      for (const name of [part("a"), part("b"), ...others.slice(1)]) {
        utimesSync(join(into, name), longAgo, longAgo)
      }
      lutimesSync(join(into, part("e")), longAgo, longAgo)
      assert.deepStrictEqual(
        Array.from(yield* FileTransfer.removeOldParts(into)).sort(),
        [part("a"), part("b"), part("e")]
      )
      assert.deepStrictEqual(readdirSync(into).sort(), others.sort())
      assert.deepStrictEqual(yield* FileTransfer.removeOldParts(join(into, "none")), [])
    }))

  it.scopedLive("a part of another file is not gone on with", () =>
    Effect.gen(function*() {
      const [from, into] = [yield* programs.temporaryFolder, yield* programs.temporaryFolder]
      const first = makeFile(from, "file", 2_000_000)
      yield* Effect.gen(function*() {
        const { receiver, sender } = yield* connected
        const source = yield* FileTransfer.open(first.path)
        yield* Effect.all([
          Effect.either(FileTransfer.send(sender, source, quiet)),
          Effect.either(FileTransfer.receive(receiver, into, cutAfter(1_000_000, receiver.reset)))
        ], { concurrency: 2 })
      }).pipe(Effect.scoped)
      assert.lengthOf(readdirSync(into), 1)
      const second = makeFile(from, "file", 2_000_000)
      const { received } = yield* transfer(second.path, into)
      assert.deepStrictEqual(received._tag === "Right" ? received.right[0]!.sha256 : received, second.sha256)
      assert.deepStrictEqual(readdirSync(into), ["file"])
    }))

  const outside: ReadonlyArray<readonly [what: string, entries: ReadonlyArray<unknown>]> = [
    ["a path that goes up", [{ path: "../out", size: 1 }]],
    ["a path from the root", [{ path: "/out", size: 1 }]],
    ["a path with a drive or a stream of Windows in it", [{ path: "a\\..\\..\\out", size: 1 }]],
    ["an empty name", [{ path: "a//b", size: 1 }]],
    ["a name that a terminal would obey", [{ path: "a\u001b[2J", size: 1 }]],
    ["a link from the root", [{ path: "link", link: "/etc" }]],
    ["a link that goes up", [{ path: "a/link", link: "../../x" }]],
    ["a link of Windows", [{ path: "link", link: "c:\\x" }]],
    ["more files than were offered", [{ path: "a", size: 1 }, { path: "b", size: 0 }]],
    ["more bytes than were offered", [{ path: "a", size: 2 }]],
    ["a file below a file", [{ path: "a", size: 1 }, { path: "a/b/c" }]],
    ["more depth than there may be", [{ path: Array.from({ length: 65 }, () => "a").join("/") }]]
  ]
  for (const [what, entries] of outside) {
    it.scopedLive(`does not take ${what}`, () =>
      Effect.gen(function*() {
        const parent = yield* programs.temporaryFolder
        const into = join(parent, "in")
        mkdirSync(into)
        const { receiver, sender } = yield* connected
        const ended = yield* Deferred.make<unknown>()
        yield* Effect.forkScoped(
          Effect.intoDeferred(Effect.either(FileTransfer.receive(receiver, into, quiet)), ended)
        )
        yield* sender.write(frame({ "tx3-folder": 1, name: "tree", files: 1, size: 1 }))
        assert.deepStrictEqual(yield* answer(sender), { ok: true })
        yield* sender.write(frame({ entries, isLast: false }))
        let said = yield* answer(sender)
        if (said["ok"] === true) {
          yield* sender.write(Buffer.concat([Buffer.from("x"), Buffer.from(sha256(Buffer.from("x")), "hex")]))
          yield* sender.write(frame({ entries: [{ path: "a/b/c" }], isLast: true }))
          said = yield* answer(sender)
        }
        assert.strictEqual(said["ok"], false, JSON.stringify(said))
        yield* sender.end
        assert.include(JSON.stringify(yield* Deferred.await(ended)), "Left")
        assert.deepStrictEqual(readdirSync(parent), ["in"])
        assert.deepStrictEqual(readdirSync(into), [])
      }))
  }

  it("knows which links stay within", () => {
    for (const [link, target] of [["a", "b"], ["a/b", "../c"], ["a/b/c", "../../d/./e"], ["a", "./b/../c"]] as const) {
      assert.isTrue(staysWithin(link, target), `${link} -> ${target}`)
    }
    for (
      const [link, target] of [["a", ".."], ["a", "../b"], ["a/b", "../../c"], ["a", "/b"], ["a", "b/../../c"]] as const
    ) {
      assert.isFalse(staysWithin(link, target), `${link} -> ${target}`)
    }
  })
})
