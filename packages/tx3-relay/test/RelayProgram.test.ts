import { assert, describe, it } from "@effect/vitest"
import { Tx3Node } from "@tx3/node"
import { Identity } from "@tx3/protocol"
import * as programs from "@tx3/testing/builtPrograms"
import { Chunk, Effect, Fiber, Logger, LogLevel, Redacted, Schedule, Stream } from "effect"
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Yaml from "yaml"
import { changedFile } from "./utils/changedFile.js"

const modeOf = (file: string) => statSync(file).mode & 0o777

const init = (folder: string, ...flags: ReadonlyArray<string>) =>
  programs.run("tx3-relay", ["--init", "--config", join(folder, "relay.yml"), ...flags])

const settings: Record<string, unknown> = Yaml.parse(readFileSync(programs.upstreamFile, "utf8"))
const key = String(settings["tlsCertPkDer"])

describe("tx3-relay --init", { timeout: 180_000 }, () => {
  for (const umask of ["000", "077"]) {
    it.scopedLive(`makes a file that only its owner can read, with umask ${umask}`, () =>
      Effect.gen(function*() {
        const cwd = yield* programs.temporaryFolder
        const { code, stderr, stdout } = yield* programs.run("tx3-relay", ["-i"], { cwd, before: `umask ${umask}` })
        assert.strictEqual(code, 0, stderr)
        assert.deepStrictEqual(readdirSync(cwd), ["tx3-relay.yml"])
        assert.strictEqual(modeOf(join(cwd, "tx3-relay.yml")), 0o400)
        assert.strictEqual(stdout.toString(), "# tx3-relay wrote \"./tx3-relay.yml\" #\n")
      }))
  }

  it.scopedLive("writes the protocol's limits, a fixed port and an identity", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      yield* init(folder)
      const { adminToken, tlsCertDer, tlsCertPkDer, ...rest } = Yaml.parse(
        readFileSync(join(folder, "relay.yml"), "utf8")
      )
      assert.match(adminToken, /^[\w-]{32}$/)
      assert.deepStrictEqual(rest, {
        bind: ["tx3-rst://0.0.0.0:38141"],
        maxInboundConnections: 20480,
        maxControlStreams: 320,
        maxControlStreamsPerIp: 4,
        maxRelaysPerControl: 64,
        connectionTimeoutMs: 20000,
        admin: [`unix:${join(folder, "relay.sock")}`, "http://127.0.0.1:38142"]
      })
      const { digest } = yield* Identity.fromDer({
        certificate: Buffer.from(tlsCertDer, "base64"),
        privateKey: Redacted.make(Buffer.from(tlsCertPkDer, "base64"))
      })
      const check = yield* programs.run("tx3-relay", ["check", "-c", join(folder, "relay.yml")])
      assert.strictEqual(check.code, 0, check.stderr)
      assert.include(check.stdout.toString(), `digest: ${digest}\n`)
      assert.include(check.stdout.toString(), "\ntransport: kernel\n")
    }))

  it.scopedLive("leaves a file that exists as it is", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      yield* init(folder)
      const before = readFileSync(join(folder, "relay.yml"))
      const { code, stderr } = yield* init(folder)
      assert.strictEqual(code, 2)
      assert.include(stderr, `${join(folder, "relay.yml")}: exists already and is left as it is`)
      assert.deepStrictEqual(readFileSync(join(folder, "relay.yml")), before)
      assert.deepStrictEqual(readdirSync(folder), ["relay.yml"])
    }))

  it.scopedLive("puts the page at the port behind the relay's, so that several relays do not collide", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const adminOf = (...flags: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const file = join(folder, `${flags.join("").replace(/\W/g, "")}.yml`)
          const { code, stderr } = yield* programs.run("tx3-relay", ["--init", "--config", file, ...flags])
          assert.strictEqual(code, 0, stderr)
          const { admin, adminToken } = Yaml.parse(readFileSync(file, "utf8"))
          return { admin, adminToken, mode: modeOf(file), socket: `unix:${file.replace(/yml$/, "sock")}` }
        })
      const one = yield* adminOf("--port", "5000")
      assert.deepStrictEqual(one.admin, [one.socket, "http://127.0.0.1:5001"])
      const last = yield* adminOf("--port", "65535")
      assert.deepStrictEqual(last.admin, [last.socket, "http://127.0.0.1:65534"])
      assert.notStrictEqual(one.adminToken, last.adminToken)
      // everybody may read this file: browsers are signed in by the socket, and there is no token in it
      const separate = yield* adminOf("--bind", "tx3-rst://[::1]:6000", "--identity", join(folder, "identity.pem"))
      assert.deepStrictEqual(separate.admin, [separate.socket, "http://127.0.0.1:6001"])
      assert.deepStrictEqual([separate.adminToken, separate.mode], [undefined, 0o644])
    }))

  it.scopedLive("of several at once one wins, and its file is whole", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const ended = yield* Effect.all([init(folder), init(folder), init(folder)], { concurrency: "unbounded" })
      assert.deepStrictEqual(ended.map(({ code }) => code).sort(), [0, 2, 2])
      assert.deepStrictEqual(readdirSync(folder), ["relay.yml"])
      const check = yield* programs.run("tx3-relay", ["check", "-c", join(folder, "relay.yml")])
      assert.strictEqual(check.code, 0, check.stderr)
    }))

  it.scopedLive("--port and --bind choose where the relay will listen", () =>
    Effect.gen(function*() {
      const bindOf = (...flags: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const folder = yield* programs.temporaryFolder
          yield* init(folder, ...flags)
          return Yaml.parse(readFileSync(join(folder, "relay.yml"), "utf8")).bind
        })
      assert.deepStrictEqual(yield* bindOf("--port", "4242"), ["tx3-rst://0.0.0.0:4242"])
      assert.deepStrictEqual(
        yield* bindOf("--bind", "tx3-rst://127.0.0.1:1", "--bind", "tx3-rst://[::1]:2"),
        ["tx3-rst://127.0.0.1:1", "tx3-rst://[::1]:2"]
      )
    }))
})

describe("tx3-relay", { timeout: 180_000 }, () => {
  it.scopedLive("runs a file of the original, and prints exactly the protocol's lines", () =>
    Effect.gen(function*() {
      const program = yield* programs.start("tx3-relay", ["-c", yield* programs.copyOfUpstreamFile])
      yield* program.untilStdout(/list end #\n/)
      program.kill("SIGTERM")
      const { code, stderr, stdout } = yield* program.ended
      assert.strictEqual(code, 0, stderr)
      assert.match(
        stdout.toString(),
        new RegExp(
          "^# tx3-relay listening #\\n# tx3-relay address list start #\\n" +
            `(tx3-rst://[\\d.]+:\\d+/${programs.upstreamDigest}\\n)+# tx3-relay address list end #\\n$`
        )
      )
    }))

  it.scopedLive("takes its file's name from the environment", () =>
    Effect.gen(function*() {
      const file = yield* changedFile((text) => text.replace("0.0.0.0", "127.0.0.1"))
      const program = yield* programs.start("tx3-relay", [], { env: { TX3_RELAY_CONFIG: file } })
      yield* program.untilStdout(/tx3-rst:\/\/127\.0\.0\.1:/)
    }))

  it.scopedLive("refuses a file that is not YAML", () =>
    Effect.gen(function*() {
      const file = yield* changedFile((text) => text.replace("maxControlStreams: 320", "maxControlStreams: [320"))
      const { code, stderr, stdout } = yield* programs.run("tx3-relay", ["-c", file])
      assert.strictEqual(code, 2)
      assert.isTrue(stderr.startsWith(`tx3-relay: ${file}: not YAML`), stderr)
      assert.strictEqual(stdout.toString(), "")
    }))

  it.scopedLive("refuses a list that cannot be read", () =>
    Effect.gen(function*() {
      const file = yield* changedFile((text) => `${text}access: { nodes: { allowFile: /nonexistent/nodes } }\n`)
      const { code, stderr } = yield* programs.run("tx3-relay", ["-c", file])
      assert.strictEqual(stderr, "tx3-relay: /nonexistent/nodes: there is no such file\n")
      assert.strictEqual(code, 2)
    }))

  it.scopedLive("refuses the key of another certificate", () =>
    Effect.gen(function*() {
      const other = yield* Identity.generate
      const otherKey = Buffer.from(Redacted.value(other.privateKey)).toString("base64")
      const file = yield* changedFile((text) => text.replace(key, otherKey))
      const { code, stderr } = yield* programs.run("tx3-relay", ["-c", file])
      assert.strictEqual(code, 2)
      assert.include(stderr, "the private key does not belong to the certificate")
    }))

  it.scopedLive("refuses a file that others can read, with the command that mends it", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      for (const mode of [0o440, 0o404]) {
        chmodSync(file, mode)
        const { code, stderr } = yield* programs.run("tx3-relay", ["-c", file])
        assert.strictEqual(code, 2)
        assert.include(stderr, `run: chmod 0400 ${file}`)
      }
    }))

  it.scopedLive("says how to make a file where there is none", () =>
    Effect.gen(function*() {
      const cwd = yield* programs.temporaryFolder
      const { code, stderr } = yield* programs.run("tx3-relay", [], { cwd })
      assert.strictEqual(code, 2)
      assert.strictEqual(
        stderr,
        "tx3-relay: ./tx3-relay.yml: there is no such file; make one with: tx3-relay --init --config FILE\n"
      )
    }))

  it.scopedLive("says that an address is in use", () =>
    Effect.gen(function*() {
      const { address } = yield* programs.startRelay()
      const file = yield* programs.copyOfUpstreamFile
      const bind = address.slice(0, address.lastIndexOf("/"))
      const { code, stderr } = yield* programs.run("tx3-relay", ["-c", file, "--bind", bind])
      assert.strictEqual(code, 1)
      assert.match(stderr, /^tx3-relay: cannot listen on 127\.0\.0\.1:\d+: another program listens there already/m)
      const check = yield* programs.run("tx3-relay", ["check", "-c", file, "--bind", bind])
      assert.strictEqual(check.code, 0, check.stderr)
      assert.include(check.stdout.toString(), "nothing to mend if that is this relay")
    }))

  for (
    const [args, message] of [
      [["--colour"], "there is no flag \"--colour\"; tx3-relay --help lists the flags there are"],
      [["check", "--colour"], "there is no flag \"--colour\"; tx3-relay check --help lists the flags there are"],
      [["run"], "there is no command \"run\"; tx3-relay --help lists the commands there are"],
      [["kick"], "WHO is missing\nusage: tx3-relay kick WHO [OPTIONS]"]
    ] as const
  ) {
    it.live(`refuses to be called with ${args.join(" ")}`, () => programs.refused("tx3-relay", args, message))
  }

  it.scopedLive("--help and --version print to stdout", () =>
    Effect.gen(function*() {
      const help = yield* programs.run("tx3-relay", ["--help"])
      assert.strictEqual(help.code, 0)
      for (const word of ["--init", "--config", "--bind", "--port", "check", "EXIT STATUS", "TX3_RELAY_"]) {
        assert.include(help.stdout.toString(), word)
      }
      const version = yield* programs.run("tx3-relay", ["--version"])
      assert.match(
        version.stdout.toString(),
        /^tx3-relay 0\.1\.0( \(commit \w+\))?, Node [\d.]+, \w+ \w+, (kernel|portable) transport, .*koffi.*\n$/
      )
      assert.strictEqual(help.stderr + version.stderr, "")
    }))
})

describe("tx3-relay check", { timeout: 180_000 }, () => {
  it.scopedLive("takes a flag before the environment, before the file, before the default", () =>
    Effect.gen(function*() {
      const file = yield* changedFile((text) =>
        text.replace("0.0.0.0", "127.0.0.1").replace("maxControlStreams: 320", "maxControlStreams: 5")
      )
      const check = (args: ReadonlyArray<string>, env: Record<string, string>) =>
        Effect.map(
          programs.run("tx3-relay", ["check", "-c", file, ...args], { env }),
          ({ code, stderr, stdout }) => {
            assert.strictEqual(code, 0, stderr)
            return stdout.toString()
          }
        )
      const fromFile = yield* check([], {})
      assert.include(fromFile, `${file} is in order\ndigest: ${programs.upstreamDigest}\n`)
      assert.match(fromFile, /^address: tx3-rst:\/\/127\.0\.0\.1:\d+\//m)
      assert.include(fromFile, "\nmaxControlStreams: 5\n")
      assert.include(fromFile, "\nmaxHandshakes: 640\n")
      assert.include(fromFile, "\nidleTimeoutMs: never\n")
      assert.match(fromFile, /^descriptors: /m)

      const env = { TX3_RELAY_BIND: "tx3-rst://127.0.0.2:0", TX3_RELAY_MAX_CONTROL_STREAMS: "6" }
      const fromEnv = yield* check([], env)
      assert.match(fromEnv, /^address: tx3-rst:\/\/127\.0\.0\.2:\d+\//m)
      assert.include(fromEnv, "\nmaxControlStreams: 6\n")

      const fromFlag = yield* check(["--bind", "tx3-rst://127.0.0.3:0"], env)
      assert.match(fromFlag, /^address: tx3-rst:\/\/127\.0\.0\.3:\d+\//m)
      assert.include(fromFlag, "\nmaxControlStreams: 6\n")
    }))

  it.scopedLive("names the place of a wrong setting", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const fromEnv = yield* programs.run("tx3-relay", ["check", "-c", file], {
        env: { TX3_RELAY_DRAIN_TIMEOUT_MS: "soon" }
      })
      assert.strictEqual(fromEnv.code, 2)
      assert.include(fromEnv.stderr, "tx3-relay: TX3_RELAY_DRAIN_TIMEOUT_MS: must be a whole number")
      const fromFlag = yield* programs.run("tx3-relay", ["check", "-c", file, "--bind", "nowhere"])
      assert.strictEqual(fromFlag.code, 2)
      assert.include(fromFlag.stderr, "tx3-relay: --bind: \"nowhere\" is no address to listen at: ")
    }))

  it.scopedLive("fails where the relay could not listen", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const { code, stderr } = yield* programs.run("tx3-relay", [
        "check",
        "-c",
        file,
        "--bind",
        "tx3-rst://198.51.100.1:0"
      ])
      assert.strictEqual(code, 1)
      assert.include(stderr, "198.51.100.1")
    }))
})

describe("tx3-relay and signals", { timeout: 180_000 }, () => {
  /** A splice through a relay, with one byte carried each way, and both its ends. */
  const splice = (relay: string) =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: [relay], requireRegistration: true })
      const peer = yield* Tx3Node.make({})
      const near = yield* peer.connect(node.addresses[0]!)
      const far = (yield* Stream.runHead(node.connections)).pipe((head) =>
        head._tag === "Some" ? head.value : assert.fail()
      )
      yield* near.write(Buffer.from("a"))
      yield* far.write(Buffer.from("b"))
      assert.strictEqual((yield* readAll(far.readable.pipe(Stream.take(1)))).toString(), "a")
      assert.strictEqual((yield* readAll(near.readable.pipe(Stream.take(1)))).toString(), "b")
      return { near, far }
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None))

  const readAll = <E>(stream: Stream.Stream<Uint8Array, E>) =>
    Effect.map(Stream.runCollect(stream), (chunks) => Buffer.concat(Chunk.toReadonlyArray(chunks)))

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.scopedLive(`${signal} ends a relay without splices at once, with 0`, () =>
      Effect.gen(function*() {
        const { program } = yield* programs.startRelay({ TX3_RELAY_DRAIN_TIMEOUT_MS: "2000000" })
        program.kill(signal)
        const { code } = yield* program.ended
        assert.strictEqual(code, 0)
      }))
  }

  it.scopedLive("SIGTERM lets a splice come to its end, and takes no new connections", () =>
    Effect.gen(function*() {
      const { address, program } = yield* programs.startRelay({ TX3_RELAY_DRAIN_TIMEOUT_MS: "2000000" })
      const { far, near } = yield* splice(address)
      program.kill("SIGTERM")
      yield* program.untilStderr(/shutting down/)
      const refusal = yield* Effect.flip(Effect.flatMap(Tx3Node.make({}), ({ connect }) => connect(address)))
      assert.strictEqual(refusal._tag, "DialError")

      yield* near.write(Buffer.from("still there"))
      yield* near.end
      assert.strictEqual((yield* readAll(far.readable)).toString(), "still there")
      yield* far.write(Buffer.from("and back"))
      yield* far.end
      assert.strictEqual((yield* readAll(near.readable)).toString(), "and back")
      const { code } = yield* program.ended
      assert.strictEqual(code, 0)
    }))

  it.scopedLive("drainTimeoutMs after SIGTERM a splice is cut, with 0", () =>
    Effect.gen(function*() {
      const { address, program } = yield* programs.startRelay({ TX3_RELAY_DRAIN_TIMEOUT_MS: "200" })
      const { far, near } = yield* splice(address)
      program.kill("SIGTERM")
      const { code } = yield* program.ended
      assert.strictEqual(code, 0)
      yield* Effect.exit(readAll(near.readable))
      yield* Effect.exit(readAll(far.readable))
    }))

  it.scopedLive("a second signal ends it whatever is going on", () =>
    Effect.gen(function*() {
      const { address, program } = yield* programs.startRelay({ TX3_RELAY_DRAIN_TIMEOUT_MS: "2000000" })
      yield* splice(address)
      program.kill("SIGTERM")
      yield* program.untilStderr(/shutting down/)
      const again = yield* Effect.fork(
        Effect.repeat(Effect.sync(() => program.kill("SIGTERM")), Schedule.spaced("50 millis"))
      )
      const { signal } = yield* program.ended
      yield* Fiber.interrupt(again)
      assert.strictEqual(signal, "SIGTERM")
    }))

  it.scopedLive("drains although npm passes on the signal that the terminal sent", () =>
    Effect.gen(function*() {
      // The relay has it sent again itself, right behind the first: from here it may come too late on a busy machine.
      const echo = join(yield* programs.temporaryFolder, "echo.cjs")
      writeFileSync(
        echo,
        "process.once('SIGINT', () => setImmediate(() => { console.error('again'); process.kill(process.pid, 'SIGINT') }))"
      )
      const { address, program } = yield* programs.startRelay({
        NODE_OPTIONS: `--require ${echo}`,
        TX3_RELAY_DRAIN_TIMEOUT_MS: "1000"
      })
      yield* splice(address)
      program.kill("SIGINT")
      const { code, stderr } = yield* program.ended
      assert.match(stderr, /^again$/m)
      assert.strictEqual(code, 0)
    }))

  it.scopedLive("goes on when nobody reads its stdout any more", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const program = yield* programs.start("tx3-relay", ["-c", file, "--bind", "tx3-rst://127.0.0.1:0"], {
        env: { TX3_RELAY_DRAIN_TIMEOUT_MS: "1" }
      })
      program.closeStdout()
      const [, address] = yield* program.untilStderr(/listening.*addresses=(tx3-rst:\S+)/)
      yield* splice(address!)
      program.kill("SIGTERM")
      const { code } = yield* program.ended
      assert.strictEqual(code, 0)
    }))

  it.scopedLive("goes on behind | head -1", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const shell = yield* programs.startShell(
        "tx3_relay -c \"$FILE\" --bind tx3-rst://127.0.0.1:0 | head -1",
        { env: { FILE: file } }
      )
      yield* shell.untilStdout(/^# tx3-relay listening #\n$/)
      const [, address] = yield* shell.untilStderr(/listening.*addresses=(tx3-rst:\S+)/)
      yield* splice(address!)
    }))

  it.scopedLive("fails where the disk under its stdout is full", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const { code, stderr } = yield* programs.runShell("tx3_relay check -c \"$FILE\" >/dev/full", {
        env: { FILE: file }
      })
      assert.strictEqual(code, 1)
      assert.include(stderr, "tx3-relay: cannot write to stdout: no space left on device")
    }))
})

describe.runIf(process.platform === "linux")("stdout on a full disk", { timeout: 180_000 }, () => {
  it.scopedLive("is told, and the relay goes on", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const program = yield* programs.start("tx3-relay", ["--config", file, "--bind=tx3-rst://127.0.0.1:0"], {
        before: "exec >/dev/full"
      })
      const [, address] = yield* program.untilStderr(/message=listening addresses=(\S+)/)
      yield* program.untilStderr(/tx3-relay: cannot write to stdout: no space left on device; going on without it\n/)
      assert.strictEqual((yield* programs.run("tx3-relay", ["probe", address!])).code, 0)
      program.kill("SIGTERM")
      assert.strictEqual((yield* program.ended).code, 0)
    }))

  it.scopedLive("a relay that is drained has done what it was started for", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const env = { TX3_RELAY_ADMIN: `unix:${file}.sock`, TX3_RELAY_CONFIG: file }
      const program = yield* programs.start("tx3-relay", ["--bind=tx3-rst://127.0.0.1:0"], {
        before: "exec >/dev/full",
        env
      })
      yield* program.untilStderr(/going on without it\n/)
      const drain = yield* programs.run("tx3-relay", ["drain"], { env })
      assert.strictEqual(drain.code, 0, drain.stderr)
      assert.strictEqual((yield* program.ended).code, 0)
    }))

  it.scopedLive("is told by tx3, which fails", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const { code, stderr } = yield* programs.run("tx3", ["keygen", `${folder}/id.pem`], { before: "exec >/dev/full" })
      assert.strictEqual(code, 1)
      assert.strictEqual(stderr, "tx3: cannot write to stdout: no space left on device\n")
    }))
})
