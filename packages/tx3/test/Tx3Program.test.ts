import { assert, describe, it } from "@effect/vitest"
import { SecretFile } from "@tx3/files"
import { Tx3Node } from "@tx3/node"
import { Identity } from "@tx3/protocol"
import * as programs from "@tx3/testing/builtPrograms"
import { sha256 } from "@tx3/testing/files"
import { Effect, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const direct = "tx3-st://127.0.0.1:0"
const nowhere = `tx3-st://127.0.0.1:1/${programs.upstreamDigest}`

/** `tx3 listen` at an address, and where it says it listens. */
const listen = (args: ReadonlyArray<string>, options?: programs.Options) =>
  Effect.gen(function*() {
    const program = yield* programs.start("tx3", ["listen", ...args], options)
    const [, address] = yield* program.untilStderr(/listening at (tx3-\S+)/)
    return { address: address!, program }
  })

/** All that connect says of somebody who has no name. */
const shown = /^tx3: [\w-]{43} has answered, who has no name here; --name NAME gives one\n$/

const echo = Effect.gen(function*() {
  const program = yield* programs.start("tx3", ["listen", "--echo", direct])
  const [address] = yield* program.untilStdout(/tx3-\S+/)
  return { address, program }
})

/** A node that never stops sending, and its address. */
const endless = Effect.gen(function*() {
  const node = yield* Tx3Node.make({ bind: [direct] })
  yield* Effect.forkScoped(
    node.serve((connection) => Effect.ignore(Effect.forever(connection.write(Buffer.alloc(65_536, "x")))))
  )
  return String(node.addresses[0])
})

describe("tx3", { timeout: 180_000 }, () => {
  it.scopedLive("without a command says what there is", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* programs.run("tx3", [])
      assert.strictEqual(code, 2)
      assert.include(stderr, "tx3: say what to do: expose, forward, connect, up, ")
      assert.strictEqual(stdout.toString(), "")
    }))

  // Mistakes.test.ts has the others, without a process for each.
  const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, message: string]> = [
    [["--colour"], "tx3: there is no flag \"--colour\"; tx3 --help lists the flags there are"],
    [["connect"], "ADDRESS is missing\nusage: tx3 connect ADDRESS... [OPTIONS]"],
    [
      ["connect", "--identity", "none.pem", nowhere],
      "tx3: none.pem: there is no such file; make one with: tx3 keygen FILE"
    ],
    [["send", "nothing", nowhere], "nothing: there is no such file or folder"]
  ]
  for (const [args, message] of wrong) {
    it.live(`refuses to be called with ${args.join(" ")}`, () => programs.refused("tx3", args, message))
  }

  it.scopedLive("takes flags before and after the other arguments", () =>
    Effect.gen(function*() {
      const cwd = yield* programs.temporaryFolder
      for (const args of [["--identity", "none.pem", nowhere], [nowhere, "--identity", "none.pem"]]) {
        const { stderr } = yield* programs.run("tx3", ["connect", ...args], { cwd })
        assert.include(stderr, "none.pem: there is no such file")
      }
    }))
})

describe("tx3 keygen", { timeout: 180_000 }, () => {
  for (const umask of ["000", "077"]) {
    it.scopedLive(`makes an identity that only its owner can read, with umask ${umask}`, () =>
      Effect.gen(function*() {
        const cwd = yield* programs.temporaryFolder
        const made = yield* programs.run("tx3", ["keygen", "me.pem"], { cwd, before: `umask ${umask}` })
        assert.strictEqual(made.code, 0, made.stderr)
        assert.deepStrictEqual(readdirSync(cwd), ["me.pem"])
        assert.strictEqual(statSync(join(cwd, "me.pem")).mode & 0o777, 0o400)
        const { digest } = yield* Identity.fromPem(Redacted.make(readFileSync(join(cwd, "me.pem"), "utf8")))
        assert.strictEqual(made.stdout.toString(), `${digest}\n`)
        assert.strictEqual(made.stderr, "")
      }))
  }

  it.scopedLive("leaves a file that exists as it is", () =>
    Effect.gen(function*() {
      const cwd = yield* programs.temporaryFolder
      writeFileSync(join(cwd, "me.pem"), "mine")
      const { code, stderr } = yield* programs.run("tx3", ["keygen", "me.pem"], { cwd })
      assert.strictEqual(code, 2)
      assert.include(stderr, "tx3: me.pem: exists already and is left as it is")
      assert.strictEqual(readFileSync(join(cwd, "me.pem"), "utf8"), "mine")
      assert.deepStrictEqual(readdirSync(cwd), ["me.pem"])
    }))

  it.scopedLive("of several at once one wins", () =>
    Effect.gen(function*() {
      const cwd = yield* programs.temporaryFolder
      const keygen = programs.run("tx3", ["keygen", "me.pem"], { cwd })
      const ended = yield* Effect.all([keygen, keygen, keygen], { concurrency: "unbounded" })
      assert.deepStrictEqual(ended.map(({ code }) => code).sort(), [0, 2, 2])
      const { digest } = yield* Identity.fromPem(Redacted.make(readFileSync(join(cwd, "me.pem"), "utf8")))
      assert.strictEqual(ended.find(({ code }) => code === 0)!.stdout.toString(), `${digest}\n`)
      assert.deepStrictEqual(readdirSync(cwd), ["me.pem"])
    }))

  it.scopedLive("leaves nothing on a disk that is full, and fails where stdout is", () =>
    Effect.gen(function*() {
      const cwd = yield* programs.temporaryFolder
      const full = yield* programs.run("tx3", ["keygen", "me.pem"], { cwd, before: "ulimit -f 0" })
      assert.strictEqual(full.code, 1)
      assert.strictEqual(full.stderr, "tx3: cannot write me.pem: file too large\n")
      assert.deepStrictEqual(readdirSync(cwd), [])
      const mute = yield* programs.runShell("tx3 keygen me.pem > /dev/full", { cwd })
      assert.strictEqual(mute.code, 1)
      assert.strictEqual(mute.stderr, "tx3: cannot write to stdout: no space left on device\n")
    }))
})

describe("tx3 --identity", { timeout: 180_000 }, () => {
  it.scopedLive("makes an address permanent", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const file = join(yield* programs.temporaryFolder, "me.pem")
      const digest = (yield* programs.run("tx3", ["keygen", file])).stdout.toString().trim()
      const addressOnce = Effect.map(listen(["--identity", file, relay.address]), ({ address }) => address).pipe(
        Effect.scoped
      )
      const address = yield* addressOnce
      assert.strictEqual(address, relay.address.replace(programs.upstreamDigest, digest))
      assert.strictEqual(yield* addressOnce, address)
    }))

  it.scopedLive("is what the other end knows this one by", () =>
    Effect.gen(function*() {
      const file = join(yield* programs.temporaryFolder, "me.pem")
      const digest = (yield* programs.run("tx3", ["keygen", file])).stdout.toString().trim()
      const { address, program } = yield* listen([direct])
      yield* programs.run("tx3", ["connect", "-i", file, address])
      yield* program.untilStderr(new RegExp(`^tx3: connected with ${digest}$`, "m"))
    }))

  it.scopedLive("refuses a file that others can read, with the command that mends it", () =>
    Effect.gen(function*() {
      const file = join(yield* programs.temporaryFolder, "me.pem")
      yield* programs.run("tx3", ["keygen", file])
      chmodSync(file, 0o440)
      const { code, stderr } = yield* programs.run("tx3", ["connect", "-i", file, nowhere])
      assert.strictEqual(code, 2)
      assert.strictEqual(
        stderr,
        `tx3: ${file}: ${SecretFile.problem(file, "private key")}\n`
      )
    }))

  it.scopedLive("refuses a file that is no identity", () =>
    Effect.gen(function*() {
      const file = join(yield* programs.temporaryFolder, "me.pem")
      writeFileSync(file, "me", { mode: 0o400 })
      const { code, stderr } = yield* programs.run("tx3", ["connect", "-i", file, nowhere])
      assert.strictEqual(code, 2)
      assert.include(stderr, `tx3: ${file}: there is no CERTIFICATE block`)
    }))
})

describe("tx3 listen and tx3 connect", { timeout: 180_000 }, () => {
  it.scopedLive("carry 16 MiB each way through a relay, and end with 0", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const there = randomBytes(16 * 1024 * 1024)
      const back = randomBytes(16 * 1024 * 1024)
      const { address, program } = yield* listen([relay.address], { stdin: back })
      const connected = yield* programs.run("tx3", ["connect", address], { stdin: there })
      const listened = yield* program.ended
      assert.strictEqual(connected.code, 0, connected.stderr)
      assert.strictEqual(listened.code, 0, listened.stderr)
      assert.strictEqual(sha256(listened.stdout), sha256(there))
      assert.strictEqual(sha256(connected.stdout), sha256(back))
      assert.match(connected.stderr, shown)
    }))

  it.scopedLive("the connecting side ends first, and still gets all", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const answer = randomBytes(1024 * 1024)
      const { address, program } = yield* listen([relay.address], { stdin: "pipe" })
      const connecting = yield* programs.start("tx3", ["connect", address], { stdin: "question" })
      yield* program.untilStdout(/question/)
      program.stdin.end(answer)
      const connected = yield* connecting.ended
      assert.strictEqual(connected.code, 0, connected.stderr)
      assert.strictEqual(sha256(connected.stdout), sha256(answer))
      assert.strictEqual((yield* program.ended).code, 0)
    }))

  it.scopedLive("the listening side ends first, and still gets all", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const answer = randomBytes(1024 * 1024)
      const { address, program } = yield* listen([relay.address], { stdin: "question" })
      const connecting = yield* programs.start("tx3", ["connect", address], { stdin: "pipe" })
      yield* connecting.untilStdout(/question/)
      connecting.stdin.end(answer)
      const listened = yield* program.ended
      assert.strictEqual(listened.code, 0, listened.stderr)
      assert.strictEqual(sha256(listened.stdout), sha256(answer))
      assert.strictEqual((yield* connecting.ended).code, 0)
    }))

  it.scopedLive("--keep takes one connection after the other until a signal", () =>
    Effect.gen(function*() {
      const { address, program } = yield* listen(["--keep", direct], { stdin: "hello\n" })
      const first = yield* programs.run("tx3", ["connect", address], { stdin: "one\n" })
      assert.strictEqual(first.stdout.toString(), "hello\n")
      const second = yield* programs.run("tx3", ["connect", address], { stdin: "two\n" })
      assert.strictEqual(second.stdout.toString(), "")
      assert.strictEqual(first.code, 0, first.stderr)
      assert.strictEqual(second.code, 0, second.stderr)
      yield* program.untilStdout(/two\n/)
      program.kill("SIGTERM")
      const { code, stdout } = yield* program.ended
      assert.strictEqual(stdout.toString(), "one\ntwo\n")
      assert.strictEqual(code, 143)
    }))

  it.scopedLive("--keep survives a connection that is lost", () =>
    Effect.gen(function*() {
      const { address, program } = yield* listen(["--keep", direct], { stdin: "pipe" })
      const lost = yield* programs.start("tx3", ["connect", address], { stdin: "pipe" })
      lost.stdin.write("one\n")
      yield* program.untilStdout(/one/)
      lost.kill("SIGKILL")
      yield* lost.ended
      program.stdin.end("anybody there?\n".repeat(100_000))
      yield* program.untilStderr(/the connection (is lost|was cut off)/)
      const next = yield* programs.run("tx3", ["connect", address], { stdin: "two\n" })
      assert.strictEqual(next.code, 0, next.stderr)
      yield* program.untilStdout(/two/)
    }))

  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    it.scopedLive(`${signal} ends them with ${code}, also in the middle of a connection`, () =>
      Effect.gen(function*() {
        const { address, program } = yield* listen([direct], { stdin: "pipe" })
        const connecting = yield* programs.start("tx3", ["connect", address], { stdin: "pipe" })
        connecting.stdin.write("hello")
        yield* program.untilStdout(/hello/)
        connecting.kill(signal)
        assert.strictEqual((yield* connecting.ended).code, code)

        const waiting = yield* listen([direct])
        waiting.program.kill(signal)
        const ended = yield* waiting.program.ended
        assert.strictEqual(ended.code, code)
        assert.strictEqual(ended.stderr, `tx3: listening at ${waiting.address}\n`)
      }))
  }

  it.scopedLive("end quietly when nobody reads their stdout any more", () =>
    Effect.gen(function*() {
      const address = yield* endless
      const { stderr, stdout } = yield* programs.runShell(
        "{ tx3 connect \"$ADDRESS\"; echo \"code $?\" >&2; } | head -c 10",
        { env: { ADDRESS: address } }
      )
      assert.strictEqual(stdout.toString(), "xxxxxxxxxx")
      assert.match(stderr, /^tx3: [\w-]{43} has answered, .*\ncode 141\n$/)
    }))

  it.scopedLive("fail where the disk under their stdout is full", () =>
    Effect.gen(function*() {
      const { address } = yield* listen([direct], { stdin: "hello" })
      const { code, stderr } = yield* programs.runShell("tx3 connect \"$ADDRESS\" > /dev/full", {
        env: { ADDRESS: address }
      })
      assert.strictEqual(code, 1)
      // In either order: the bytes are written first, and a file is read before the other line.
      const answered = /^tx3: [\w-]{43} has answered, .*\n/m
      assert.match(stderr, answered)
      assert.strictEqual(stderr.replace(answered, ""), "tx3: cannot write to stdout: no space left on device\n")
    }))

  it.scopedLive("take a stdout that is slow, and a signal meanwhile", () =>
    Effect.gen(function*() {
      const address = yield* endless
      const shell = yield* programs.startShell(
        "{ sh -c 'echo pid $$ >&2; exec \"$NODE\" \"$TX3\" connect \"$ADDRESS\"'; echo \"code $?\" >&2; } | { head -c 1; exec sleep 1000; }",
        { env: { ADDRESS: address } }
      )
      const [, pid] = yield* shell.untilStderr(/pid (\d+)/)
      yield* shell.untilStdout(/x/)
      process.kill(Number(pid), "SIGTERM")
      yield* shell.untilStderr(/code 143/)
    }))

  it.scopedLive("say who did not answer", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, message: string]> = [
        [["connect", nowhere], "tx3: cannot connect to 127.0.0.1:1 (connection refused)"],
        [
          ["connect", relay.address.replace(programs.upstreamDigest, "A".repeat(43))],
          "tx3: the relay closed the connection: no node with digest AAAA"
        ],
        [["listen", nowhere.replace("tx3-st", "tx3-rst")], "tx3: cannot register at tx3-rst://127.0.0.1:1/"],
        [
          ["listen", relay.address.replace(programs.upstreamDigest, "A".repeat(43))],
          "refused to register this node; compare its digest"
        ]
      ]
      for (const [args, message] of cases) {
        const { code, stderr, stdout } = yield* programs.run("tx3", args)
        assert.strictEqual(code, 1)
        assert.include(stderr, message)
        assert.strictEqual(stderr.split("\n").length, 2, stderr)
        assert.strictEqual(stdout.toString(), "")
      }
    }))

  it.scopedLive("refuse somebody else than the address names", () =>
    Effect.gen(function*() {
      const { address } = yield* listen([direct])
      const other = address.replace(/[^/]+$/, programs.upstreamDigest)
      const { code, stderr } = yield* programs.run("tx3", ["connect", other])
      assert.strictEqual(code, 1)
      assert.include(stderr, `tx3: expected the certificate ${programs.upstreamDigest}, but `)
    }))

  it.scopedLive("tell that a registration is lost, and that it is back", () =>
    Effect.gen(function*() {
      const first = yield* programs.startRelay()
      const { program } = yield* listen([first.address])
      first.program.kill("SIGTERM")
      yield* program.untilStderr(/^tx3: the registration at tx3-rst:\S+ is lost: .*; trying again$/m)
      const bind = first.address.slice(0, first.address.lastIndexOf("/"))
      yield* programs.start("tx3-relay", ["-c", yield* programs.copyOfUpstreamFile, "--bind", bind])
      yield* program.untilStderr(/^tx3: registered again at tx3-rst:/m)
    }))
})

describe("tx3 ping", { timeout: 180_000 }, () => {
  it.scopedLive("sums up what it measured through a relay", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const program = yield* programs.start("tx3", ["listen", "--echo", relay.address])
      const [address, digest] = yield* program.untilStdout(/tx3-rst:.*\/(\S+)/)
      const { code, stderr, stdout } = yield* programs.run("tx3", ["ping", "--count", "5", "--interval", "0", address])
      assert.strictEqual(code, 0, stderr)
      const line = /^min\/mean\/p99 = (\d+\.\d{3})\/(\d+\.\d{3})\/(\d+\.\d{3}) ms, 5 replies from (\S+)\n$/
      const [, min, mean, p99, from] = stdout.toString().match(line) ?? assert.fail(stdout.toString())
      assert.isTrue(Number(min) <= Number(mean) && Number(mean) <= Number(p99))
      assert.strictEqual(from, digest)
    }))

  it.scopedLive("--verbose prints each reply", () =>
    Effect.gen(function*() {
      const { address } = yield* echo
      const { stdout } = yield* programs.run("tx3", ["ping", "--count", "2", "--interval", "1", "--verbose", address])
      assert.match(stdout.toString(), /^reply 1 in [\d.]+ ms\nreply 2 in [\d.]+ ms\nmin\/mean\/p99 = .*\n$/)
    }))

  it.scopedLive("sums up also when it is interrupted", () =>
    Effect.gen(function*() {
      const { address } = yield* echo
      const program = yield* programs.start("tx3", ["ping", "--count", "1000000", "--verbose", address])
      yield* program.untilStdout(/reply 2/)
      program.kill("SIGINT")
      const { code, stdout } = yield* program.ended
      assert.strictEqual(code, 130)
      assert.match(stdout.toString(), /^min\/mean\/p99 = /m)
    }))

  it.scopedLive("is told from another end than listen --echo", () =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: [direct] })
      yield* Effect.forkScoped(node.serve((connection) => connection.write(Buffer.alloc(64))))
      const { code, stderr } = yield* programs.run("tx3", ["ping", String(node.addresses[0])])
      assert.strictEqual(code, 1)
      const lines =
        /^tx3: connected to (\S+) in \d+\.\d{3} ms\ntx3: the other end did not send back what it got; .*--echo\?\n$/
      assert.strictEqual(stderr.match(lines)?.[1], String(node.digest), stderr)

      const { address } = yield* listen([direct])
      const silent = yield* programs.run("tx3", ["ping", address])
      assert.strictEqual(silent.code, 1)
      assert.include(silent.stderr, "is it running tx3 listen --echo?")
    }))

  it.scopedLive("the echo serves many at once, passes the end on, and stays", () =>
    Effect.gen(function*() {
      const { address, program } = yield* echo
      const bytes = randomBytes(1024 * 1024)
      const one = programs.run("tx3", ["connect", address], { stdin: bytes })
      for (const { code, stderr, stdout } of yield* Effect.all([one, one, one], { concurrency: "unbounded" })) {
        assert.strictEqual(code, 0, stderr)
        assert.strictEqual(sha256(stdout), sha256(bytes))
      }
      program.kill("SIGINT")
      const { code, stderr, stdout } = yield* program.ended
      assert.strictEqual(code, 130)
      assert.strictEqual(stdout.toString(), `${address}\n`)
      assert.strictEqual(stderr, "")
    }))
})

describe.runIf(process.platform === "linux")("few descriptors", { timeout: 180_000 }, () => {
  for (const name of ["tx3", "tx3-relay"] as const) {
    it.scopedLive(`${name} says that it has too few, in place of a stack trace`, () =>
      Effect.gen(function*() {
        // How many Node itself has open differs between its versions.
        const order = ["starts", "says so", "Node does not"]
        const ends: Array<string> = []
        for (const descriptors of [40, 32, 28, 24, 22, 20, 19, 18, 17, 16]) {
          const { code, signal, stderr } = yield* programs.run(name, ["keygen"], { before: `ulimit -n ${descriptors}` })
          if (code === 2) {
            ends.push("starts")
          } else if (
            // Before the program's first file, and newer versions before they look at that.
            signal !== null || stderr.includes(`open '${programs.bin(name)}'`) ||
            stderr.startsWith("node:internal/modules/") && !stderr.includes("/bundle/")
          ) {
            ends.push("Node does not")
          } else {
            assert.strictEqual(code, 1)
            // The limit is in a file: where no descriptor is left, the program cannot read it.
            assert.strictEqual(
              stderr.replace("with so few", `with ${descriptors}`),
              `${name}: cannot start with ${descriptors} descriptors; ` +
                "raise the limit to 256 or more (ulimit -n 256, LimitNOFILE= of the unit)\n"
            )
            ends.push("says so")
          }
        }
        assert.strictEqual(
          ends.join(),
          [...ends].sort((one, other) => order.indexOf(one) - order.indexOf(other)).join()
        )
        assert.strictEqual(ends[0], "starts")
        assert.notStrictEqual(ends.at(-1), "starts")
      }))
  }
})
