import { assert, describe, it } from "@effect/vitest"
import type { Tx3Connection } from "@tx3/node"
import { Tx3Node } from "@tx3/node"
import { FileTransfer } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { makeFile, sha256, untilNames, withoutLinks } from "@tx3/testing/files"
import { mountable } from "@tx3/testing/mountNamespaces"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Chunk, Effect, Either, Option, Schema, Stream } from "effect"
import { execFileSync } from "node:child_process"
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"

const direct = "tx3-st://127.0.0.1:0"

/** `tx3 receive` into a folder, and its address. */
const receive = (args: ReadonlyArray<string>, options?: programs.Options) =>
  Effect.gen(function*() {
    const program = yield* programs.start("tx3", ["receive", ...args], options)
    const [address] = yield* program.untilStdout(/tx3-\S+/)
    return { address, program }
  })

const connect = (address: string) => Effect.flatMap(Tx3Node.make({}), (node) => node.connect(address))

const frame = (text: string) => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(text))
  return Buffer.concat([length, Buffer.from(text)])
}

const offer = (name: string, size: number) => frame(JSON.stringify({ "tx3-file": 1, name, size }))

/** All frames that come until the other end ends. */
const frames = (connection: Tx3Connection.Tx3Connection) =>
  Effect.map(Stream.runCollect(connection.readable), (chunks) => {
    let rest = Buffer.concat(Chunk.toReadonlyArray(chunks))
    const all: Array<unknown> = []
    while (rest.length > 0) {
      const end = 4 + rest.readUInt32BE()
      all.push(JSON.parse(rest.subarray(4, end).toString()))
      rest = rest.subarray(end)
    }
    return all
  })

describe("tx3 send and tx3 receive", { timeout: 180_000 }, () => {
  it.scopedLive("copy 64 MiB through a relay", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const folder = yield* programs.temporaryFolder
      const file = makeFile(yield* programs.temporaryFolder, "some file.bin", 64 * 1024 * 1024)
      const { address, program } = yield* receive([relay.address, folder])
      const sent = yield* programs.run("tx3", ["send", file.path, address])
      const received = yield* program.ended
      assert.strictEqual(sent.code, 0, sent.stderr)
      assert.strictEqual(received.code, 0, received.stderr)
      assert.deepStrictEqual(readdirSync(folder), ["some file.bin"])
      assert.strictEqual(sha256(readFileSync(join(folder, "some file.bin"))), file.sha256)
      const line = `${file.sha256}  some file.bin\n`
      assert.strictEqual(sent.stdout.toString(), line)
      assert.strictEqual(received.stdout.toString(), `${address}\n${line}`)
      // No progress bar where there is no terminal.
      assert.strictEqual(sent.stderr + received.stderr, "")
    }))

  it.scopedLive("find each other by a code, which one wrong word ends", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const env = { TX3_RELAY: relay.address }
      const [folder, source] = [yield* programs.temporaryFolder, yield* programs.temporaryFolder]
      const [one, two] = [makeFile(source, "one", 100_000), makeFile(source, "two", 10)]
      const offer = Effect.gen(function*() {
        const program = yield* programs.start("tx3", ["send", one.path, two.path], { env })
        const [code] = yield* program.untilStdout(/^\d{6}-[a-z]+-[a-z]+(?=\n)/)
        return { code, program }
      })

      const first = yield* offer
      const wrong = first.code.replace(/[a-z]+$/, (word) => word === "zoo" ? "zone" : "zoo")
      const refused = yield* programs.run("tx3", ["receive", wrong, folder], { env })
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /^tx3: the sender did not confirm the code: one of the words is wrong, /)
      const ended = yield* first.program.ended
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, `tx3: at the other end: tx3 receive ${first.code}\n`)
      assert.match(
        ended.stderr,
        /tx3: somebody came with the number of this code and wrong words, so the code is void, /
      )
      const late = yield* programs.run("tx3", ["receive", first.code, folder], { env })
      assert.match(late.stderr, /^tx3: nobody waits under the number \d{6}: /)
      assert.deepStrictEqual(readdirSync(folder), [])

      const second = yield* offer
      const spoken = second.code.replaceAll("-", " ").toUpperCase()
      const received = yield* programs.run("tx3", ["receive", "-", folder], { env, stdin: `${spoken}\n` })
      assert.strictEqual(received.code, 0, received.stderr)
      const lines = `${one.sha256}  one\n${two.sha256}  two\n`
      assert.strictEqual(received.stdout.toString(), lines)
      const sent = yield* second.program.ended
      assert.strictEqual(sent.code, 0, sent.stderr)
      assert.strictEqual(sent.stdout.toString(), `${second.code}\n${lines}`)
      assert.strictEqual(sha256(readFileSync(join(folder, "one"))), one.sha256)
    }))

  it.scopedLive("copy an empty file", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const file = makeFile(yield* programs.temporaryFolder, "empty", 0)
      const { address, program } = yield* receive([direct, folder])
      const sent = yield* programs.run("tx3", ["send", file.path, address])
      assert.strictEqual(sent.code, 0, sent.stderr)
      assert.strictEqual((yield* program.ended).code, 0)
      assert.strictEqual(statSync(join(folder, "empty")).size, 0)
    }))

  it.scopedLive("--keep goes on after files that arrived and files that did not", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const source = yield* programs.temporaryFolder
      const { address, program } = yield* receive(["--keep", direct, folder])
      const send = (path: string) => programs.run("tx3", ["send", path, address])
      const one = makeFile(source, "one", 100_000)
      const two = makeFile(source, "two", 100_000)
      assert.strictEqual((yield* send(one.path)).code, 0)
      // The same file is there; another one of that name is left out.
      assert.strictEqual((yield* send(one.path)).code, 0)
      writeFileSync(one.path, Buffer.alloc(100_000))
      const again = yield* send(one.path)
      assert.strictEqual(again.code, 1)
      assert.strictEqual(again.stderr, `tx3: ${one.path}: the receiver says: exists already and is left as it is\n`)
      assert.strictEqual((yield* send(two.path)).code, 0)
      program.kill("SIGTERM")
      const { code, stderr, stdout } = yield* program.ended
      assert.strictEqual(code, 143)
      assert.strictEqual(stdout.toString(), `${address}\n${one.sha256}  one\n${one.sha256}  one\n${two.sha256}  two\n`)
      assert.strictEqual(stderr, `tx3: ${join(folder, "one")}: exists already and is left as it is\n`)
      assert.deepStrictEqual(readdirSync(folder).sort(), ["one", "two"])
    }))

  it.scopedLive("leave a file, a link or a folder of that name as it is", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const file = makeFile(yield* programs.temporaryFolder, "here", 10)
      const target = join(folder, "here")
      const ways: ReadonlyArray<() => void> = [
        () => writeFileSync(target, "mine"),
        () => symlinkSync(join(folder, "nowhere"), target),
        () => mkdirSync(target)
      ]
      for (const make of ways) {
        make()
        const { address, program } = yield* receive([direct, folder])
        const sent = yield* programs.run("tx3", ["send", file.path, address])
        assert.strictEqual(sent.code, 1)
        assert.strictEqual((yield* program.ended).code, 1)
        assert.deepStrictEqual(readdirSync(folder), ["here"])
        rmSync(target, { recursive: true })
      }
    }), 120_000)

  it.scopedLive("leave a file that appears meanwhile as it is", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { address, program } = yield* receive([direct, folder])
      const connection = yield* connect(address)
      yield* connection.write(offer("late", 1))
      yield* untilNames(folder, ({ length }) => length === 1)
      writeFileSync(join(folder, "late"), "mine")
      yield* connection.write(Buffer.concat([Buffer.from("x"), Buffer.from(sha256(Buffer.from("x")), "hex")]))
      yield* connection.end
      assert.deepStrictEqual(yield* frames(connection), [
        { ok: true },
        { ok: false, reason: "exists already and is left as it is" }
      ])
      assert.strictEqual((yield* program.ended).code, 1)
      assert.deepStrictEqual(readdirSync(folder), ["late"])
      assert.strictEqual(readFileSync(join(folder, "late"), "utf8"), "mine")
    }))

  const changes = {
    grows: (path: string) => appendFileSync(path, "more"),
    shrinks: (path: string) => truncateSync(path, 10)
  }
  for (const [how, change] of Object.entries(changes)) {
    it.scopedLive(`give up a file that ${how} while it is sent`, () =>
      Effect.gen(function*() {
        const file = makeFile(yield* programs.temporaryFolder, "file", 1_000_000)
        const node = yield* Tx3Node.make({ bind: [direct] })
        const sending = yield* programs.start("tx3", ["send", file.path, String(node.addresses[0])])
        const connection = (yield* Stream.runHead(node.connections)).pipe((head) =>
          head._tag === "Some" ? head.value : assert.fail()
        )
        yield* connection.readable.pipe(Stream.take(1), Stream.runDrain)
        change(file.path)
        yield* connection.write(frame("{\"ok\":true}"))
        yield* Effect.exit(Stream.runDrain(connection.readable))
        const { code, stderr } = yield* sending.ended
        assert.strictEqual(code, 1)
        assert.strictEqual(stderr, `tx3: ${file.path}: changed its size while it was being sent; send it again\n`)
      }))
  }

  it.scopedLive("a full disk is told on both ends, and nothing is left", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const file = makeFile(yield* programs.temporaryFolder, "big", 32 * 1024 * 1024)
      const { address, program } = yield* receive([direct, folder], { before: "ulimit -f 2000" })
      const sent = yield* programs.run("tx3", ["send", file.path, address])
      const received = yield* program.ended
      assert.strictEqual(sent.code, 1)
      assert.strictEqual(sent.stderr, `tx3: ${file.path}: the receiver says: file too large\n`)
      assert.strictEqual(received.code, 1)
      assert.strictEqual(received.stderr, `tx3: cannot write ${join(folder, "big")}: file too large\n`)
      assert.deepStrictEqual(readdirSync(folder), [])
    }))

  it.scopedLive.skipIf(!mountable)(
    "a file system without space is told on both ends, and nothing is left",
    () =>
      Effect.gen(function*() {
        const folder = yield* Effect.acquireRelease(
          programs.temporaryFolder,
          (folder) => Effect.sync(() => execFileSync("umount", [folder]))
        )
        execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder])
        const file = makeFile(yield* programs.temporaryFolder, "big", 32 * 1024 * 1024)
        const { address, program } = yield* receive([direct, folder])
        const sent = yield* programs.run("tx3", ["send", file.path, address])
        const received = yield* program.ended
        assert.strictEqual(sent.code, 1)
        assert.strictEqual(sent.stderr, `tx3: ${file.path}: the receiver says: no space left on device\n`)
        assert.strictEqual(received.code, 1)
        assert.strictEqual(received.stderr, `tx3: cannot write ${join(folder, "big")}: no space left on device\n`)
        assert.deepStrictEqual(readdirSync(folder), [])
      }),
    180_000
  )

  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    it.scopedLive(`${signal} to the sender leaves what came, and the receiver waits for the rest`, () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const file = makeFile(yield* programs.temporaryFolder, "big", 0)
        // A hole: large, and costs nothing.
        truncateSync(file.path, 64 * 1024 ** 3)
        const { address, program } = yield* receive([direct, folder])
        const sending = yield* programs.start("tx3", ["send", file.path, address])
        yield* untilNames(folder, ([name]) => name !== undefined && statSync(join(folder, name)).size > 0)
        sending.kill(signal)
        const sent = yield* sending.ended
        assert.strictEqual(sent.code, code)
        assert.strictEqual(sent.stderr, "")
        yield* untilNames(folder, ([name]) => /^\.tx3-[\w-]{22}\.part$/.test(name ?? ""))
        program.kill("SIGTERM")
        const received = yield* program.ended
        assert.strictEqual(
          received.stderr,
          "tx3: a transfer was interrupted; what came is kept, and the sender may go on\n"
        )
        assert.lengthOf(readdirSync(folder), 1)
      }))

    it.scopedLive(`${signal} to the receiver leaves nothing behind`, () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const { address, program } = yield* receive([direct, folder])
        const connection = yield* connect(address)
        yield* connection.write(offer("file", 1_000_000))
        yield* connection.write(Buffer.alloc(500_000))
        yield* untilNames(folder, ({ length }) => length === 1)
        program.kill(signal)
        const { stderr, ...ended } = yield* program.ended
        assert.strictEqual(ended.code, code)
        assert.strictEqual(stderr, "")
        assert.deepStrictEqual(readdirSync(folder), [])
      }))
  }

  withPrograms(["script"], () => {
    it.scopedLive("show a progress bar on a terminal", () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const file = makeFile(yield* programs.temporaryFolder, "file", 1024 * 1024)
        const { address } = yield* receive([direct, folder])
        const { stdout } = yield* programs.runShell(
          "script -qec \"'$NODE' '$TX3' send '$FILE' '$ADDRESS'\" /dev/null",
          { env: { FILE: file.path, ADDRESS: address } }
        )
        assert.match(stdout.toString(), /file \[=+\] 100% 1\.05 MB\/1\.05 MB/)
      }))
  })
})

describe("tx3 receive and a stranger", { timeout: 180_000 }, () => {
  const refusedNames = [
    "",
    ".",
    "..",
    "../up",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\u001b[2Jb",
    "a\u009b2Jb",
    ".bashrc",
    "-rf",
    "ü".repeat(128)
  ]

  it.scopedLive("refuses every name that is not one of a file in its folder", () =>
    Effect.gen(function*() {
      const parent = yield* programs.temporaryFolder
      const folder = join(parent, "in")
      mkdirSync(folder)
      const { address, program } = yield* receive(["--keep", direct, folder])
      for (const name of refusedNames) {
        const connection = yield* connect(address)
        yield* connection.write(offer(name, 1))
        const answers = yield* frames(connection)
        assert.strictEqual(answers.length, 1, JSON.stringify(name))
        assert.isFalse(Schema.is(FileTransfer.Name)(name))
        assert.include(JSON.stringify(answers), "cannot have this name")
        yield* connection.close
      }
      program.kill("SIGTERM")
      const { stderr } = yield* program.ended
      // Nothing of a name that was not allowed reaches the terminal.
      const lines = stderr.replaceAll(/; and \d+ more like it$/gm, "").trim().split("\n")
      assert.strictEqual(new Set(lines).size, 1, stderr)
      assert.deepStrictEqual(readdirSync(parent), ["in"])
      assert.deepStrictEqual(readdirSync(folder), [])
    }))

  it.scopedLive("takes a name of odd characters, and prints it escaped", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const name = "gpj.\u202eexe\u200b"
      const file = makeFile(yield* programs.temporaryFolder, name, 10)
      const { address, program } = yield* receive([direct, folder])
      const sent = yield* programs.run("tx3", ["send", file.path, address])
      const line = `${file.sha256}  gpj.\\u{202e}exe\\u{200b}\n`
      assert.strictEqual(sent.stdout.toString(), line)
      assert.strictEqual((yield* program.ended).stdout.toString(), `${address}\n${line}`)
      assert.deepStrictEqual(readdirSync(folder), [name])
    }))

  it.scopedLive("who is silent, slow or no sender keeps no other from sending, and ends nothing", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { address, program } = yield* receive([direct, folder])
      // More than there are places; each is somebody else.
      yield* Effect.replicateEffect(connect(address), 20)
      const nonsense = yield* connect(address)
      yield* nonsense.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"))
      yield* frames(nonsense)
      const slow = yield* connect(address)
      yield* slow.write(offer("slow", 1_000))
      yield* untilNames(folder, ({ length }) => length === 1)
      const file = makeFile(yield* programs.temporaryFolder, "file", 100_000)
      const sent = yield* programs.run("tx3", ["send", file.path, address])
      assert.strictEqual(sent.code, 0, sent.stderr)
      // It ends when the other transfer has.
      yield* slow.reset
      const { code, stderr } = yield* program.ended
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(readdirSync(folder), ["file"])
    }))

  it.scopedLive("one sender has four places, and is told", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { address } = yield* receive(["--keep", direct, folder])
      const node = yield* Tx3Node.make({})
      for (let count = 0; count < 4; count++) {
        yield* Effect.flatMap(node.connect(address), (connection) => connection.write(offer(`file ${count}`, 1_000)))
      }
      yield* untilNames(folder, ({ length }) => length === 4)
      assert.deepStrictEqual(yield* frames(yield* node.connect(address)), [
        { ok: false, reason: "busy with other files; try again later" }
      ])
      const file = makeFile(yield* programs.temporaryFolder, "file", 100_000)
      assert.strictEqual((yield* programs.run("tx3", ["send", file.path, address])).code, 0)
    }))

  it.scopedLive("--allow and --max-size refuse others and larger files, and tell both ends", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const me = join(folder, "me.pem")
      const digest = (yield* programs.run("tx3", ["keygen", me])).stdout.toString().trim()
      const into = yield* programs.temporaryFolder
      const { address, program } = yield* receive([`--allow=${digest}`, "--max-size", "1000", direct, into])
      const small = makeFile(folder, "small", 1_000)
      const large = makeFile(folder, "large", 1_001)
      const stranger = yield* programs.run("tx3", ["send", small.path, address])
      assert.match(stranger.stderr, /the receiver says: \S{43} is not allowed to send here\n$/)
      const sent = yield* programs.run("tx3", ["send", "--identity", me, small.path, address])
      assert.strictEqual(sent.code, 0, sent.stderr)
      const { code, stderr } = yield* program.ended
      assert.strictEqual(code, 0)
      assert.match(stderr, /^tx3: refused \S{43}, who is not allowed to send\n$/)

      const second = yield* receive(["--max-size=1000", direct, into])
      const tooLarge = yield* programs.run("tx3", ["send", large.path, second.address])
      assert.match(tooLarge.stderr, /the receiver says: has 1001 bytes, and at most 1000 are taken\n$/)
      assert.strictEqual((yield* second.program.ended).code, 1)
      assert.deepStrictEqual(readdirSync(into), ["small"])
    }))

  it.scopedLive("gives up a sender that brings a byte now and then", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const node = yield* Tx3Node.make({ bind: [direct] })
      const peer = yield* connect(String(node.addresses[0]))
      const connection = Option.getOrThrow(yield* Stream.runHead(node.connections))
      yield* peer.write(offer("slow", 1_000_000))
      yield* Effect.forkScoped(Effect.forever(Effect.delay(peer.write(Buffer.from("x")), "20 millis")))
      const error = yield* Effect.flip(
        FileTransfer.receive(connection, folder, () => Effect.succeed(() => {}), {
          slowest: { bytes: 1_000, inMs: 400 }
        })
      )
      assert.match(error.message, /^the sender is slower than 1000 bytes in 400 ms, after \d+ of 1000000$/)
      assert.deepStrictEqual(readdirSync(folder), [])
    }))

  for (const renameFails of [undefined, "EIO"]) {
    const outcome = renameFails === undefined ? "has its name all the same" : "is kept where it is, and told of"
    it.scopedLive(`without hard links a whole file ${outcome}`, () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const node = yield* Tx3Node.make({ bind: [direct] })
        const peer = yield* connect(String(node.addresses[0]))
        const connection = Option.getOrThrow(yield* Stream.runHead(node.connections))
        yield* withoutLinks(renameFails)
        yield* peer.write(
          Buffer.concat([offer("file", 1), Buffer.from("x"), Buffer.from(sha256(Buffer.from("x")), "hex")])
        )
        yield* peer.end
        const received = yield* Effect.either(
          FileTransfer.receive(connection, folder, () => Effect.succeed(() => {})).pipe(
            Effect.zipLeft(Effect.void),
            Effect.zip(frames(peer), { concurrent: true })
          )
        )
        const [name] = readdirSync(folder)
        assert.strictEqual(readFileSync(join(folder, name!), "utf8"), "x")
        if (renameFails === undefined) {
          assert.isTrue(Either.isRight(received))
          assert.strictEqual(name, "file")
        } else {
          const { message } = Option.getOrThrow(Either.getLeft(received))
          assert.include(message, "is whole, but cannot have its name")
          assert.include(message, `it is kept as ${join(folder, name!)}`)
        }
      }))
  }

  it.scopedLive("refuses what is no offer", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { address } = yield* receive(["--keep", direct, folder])
      const offers: ReadonlyArray<Uint8Array> = [
        Buffer.from("GET / HTTP/1.1\r\n\r\n"),
        Buffer.from([0, 0, 0x10, 1]),
        frame(""),
        frame("{"),
        frame("null"),
        frame(JSON.stringify({ "tx3-file": 2, name: "a", size: 1 })),
        frame(JSON.stringify({ name: "a", size: 1 })),
        offer("a", -1),
        offer("a", 0.5),
        offer("a", 2 ** 60)
      ]
      for (const bytes of offers) {
        const connection = yield* connect(address)
        yield* connection.write(bytes)
        const answers = yield* frames(connection)
        assert.match(JSON.stringify(answers), /^\[\{"ok":false,"reason":"what came is no offer/)
        yield* connection.close
      }
      assert.deepStrictEqual(readdirSync(folder), [])
      const file = makeFile(yield* programs.temporaryFolder, "good", 10)
      assert.strictEqual((yield* programs.run("tx3", ["send", file.path, address])).code, 0)
    }))

  it.scopedLive("keeps nothing of a file that is cut short, damaged or not confirmed", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { address, program } = yield* receive(["--keep", direct, folder])
      const bytes = Buffer.alloc(100_000, "x")
      const hash = Buffer.from(sha256(bytes), "hex")
      const cases: ReadonlyArray<readonly [sent: Uint8Array, reason: string]> = [
        [bytes.subarray(1), "the sender stopped after 99999 of 100000 bytes"],
        [Buffer.alloc(0), "the sender stopped after 0 of 100000 bytes"],
        [bytes, "the sender stopped after 100000 of 100000 bytes"],
        [Buffer.concat([bytes, hash.subarray(1)]), "the sender stopped after 100000 of 100000 bytes"],
        [Buffer.concat([bytes, Buffer.alloc(32)]), "arrived damaged"]
      ]
      for (const [sent, reason] of cases) {
        const connection = yield* connect(address)
        yield* connection.write(offer("file", bytes.length))
        yield* connection.write(sent)
        yield* connection.end
        const [accepted, answer, ...more] = yield* frames(connection)
        assert.deepStrictEqual(accepted, { ok: true })
        assert.include(JSON.stringify(answer), `{"ok":false,"reason":"${reason}`)
        assert.deepStrictEqual(more, [])
        yield* connection.close
        assert.deepStrictEqual(readdirSync(folder), [])
      }
      const connection = yield* connect(address)
      yield* connection.write(offer("file", bytes.length))
      yield* connection.write(bytes)
      yield* untilNames(folder, ({ length }) => length === 1)
      yield* connection.close
      yield* untilNames(folder, ({ length }) => length === 0)
      program.kill("SIGTERM")
      yield* program.ended
      assert.deepStrictEqual(readdirSync(folder), [])
    }))
})

describe("tx3 send and a stranger", { timeout: 180_000 }, () => {
  const answers: ReadonlyArray<readonly [answer: Uint8Array, message: RegExp]> = [
    [frame("{\"ok\":false,\"reason\":\"no room\"}"), /: the receiver says: no room$/],
    [frame("{\"ok\":false,\"reason\":\"\\u001b[2J\"}"), /^tx3: what came is no answer/],
    [Buffer.from("SSH-2.0-OpenSSH_9.6\r\n"), /^tx3: what came is no answer/],
    [Buffer.alloc(0), /^tx3: the other end ended the connection in place of an answer/]
  ]
  for (const [answer, message] of answers) {
    it.scopedLive(`is told ${JSON.stringify(Buffer.from(answer).toString())}`, () =>
      Effect.gen(function*() {
        const file = makeFile(yield* programs.temporaryFolder, "file", 10)
        const node = yield* Tx3Node.make({ bind: [direct] })
        yield* Effect.forkScoped(node.serve((connection) =>
          connection.write(answer).pipe(
            Effect.zipRight(connection.end),
            Effect.zipRight(Stream.runDrain(connection.readable)),
            Effect.ignore
          )
        ))
        const { code, stderr } = yield* programs.run("tx3", ["send", file.path, String(node.addresses[0])])
        assert.strictEqual(code, 1)
        assert.match(stderr.trim(), message)
      }))
  }
})
