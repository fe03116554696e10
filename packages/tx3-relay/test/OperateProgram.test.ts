/**
 * The commands of an operator, as a shell runs them, against a relay that runs as one.
 */
import { assert, describe, it } from "@effect/vitest"
import { RelayStatus } from "@tx3/operate"
import { Address } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import * as programs from "@tx3/testing/builtPrograms"
import { localServer, portOf } from "@tx3/testing/localServer"
import { mountable } from "@tx3/testing/mountNamespaces"
import { Effect, Either, Schema } from "effect"
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** A relay with an admin server, the file it runs with, and the commands that talk to it. */
const operated = (more = "") =>
  Effect.gen(function*() {
    const folder = yield* programs.temporaryFolder
    const [file, identity, socket] = ["relay.yml", "identity.pem", "admin.sock"].map((name) => join(folder, name))
    const init = yield* programs.run("tx3-relay", [
      ...["--init", "--config", file!, "--identity", identity!, "--bind", "tx3-rst://127.0.0.1:0"]
    ])
    assert.strictEqual(init.code, 0, init.stderr)
    const text = readFileSync(file!, "utf8").replace(/^admin:\n( +- .*\n)+/m, `admin: unix:${socket}\n${more}`)
    writeFileSync(file!, text)
    const env = { TX3_RELAY_ADMIN: `unix:${socket}`, TX3_RELAY_CONFIG: file! }
    const program = yield* programs.start("tx3-relay", ["--identity", identity!], { env })
    const [address] = yield* program.untilStdout(/tx3-rst:\S+/)
    yield* program.untilStderr(/admin server listening/)
    const command = (...args: ReadonlyArray<string>) => programs.run("tx3-relay", args, { env })
    const done = (...args: ReadonlyArray<string>) =>
      Effect.map(command(...args), ({ code, stderr, stdout }) => {
        assert.strictEqual(code, 0, stderr)
        return stdout.toString()
      })
    return {
      address: Either.getOrThrow(Address.parseWithDigest(address)),
      command,
      done,
      env,
      file: file!,
      program,
      text
    }
  })

describe("tx3-relay, for its operator", { timeout: 180_000 }, () => {
  it.scopedLive("status, nodes, splices: for people and as JSON", () =>
    Effect.gen(function*() {
      const { address, done } = yield* operated()
      const node = yield* RelayTest.register(address)
      const { node: inside, peer } = yield* RelayTest.splice(node)
      yield* peer.send(Buffer.alloc(1234))
      yield* inside.receive(1234)

      // The relay counts what a running splice carries once a second.
      const carried = new RegExp(`^${node.identity.digest.slice(0, 8)} +1  1\\.23 kB$`, "m")
      const status = yield* Effect.repeat(done("status"), { times: 100, until: (status) => carried.test(status) })
      assert.match(status, carried)
      assert.include(status, String(address))
      assert.match(status, /^1 nodes, 1 splices, 0 peers waiting$/m)
      assert.match(status, /^maxRelaysPerControl +1 +64$/m)
      const json = Schema.decodeUnknownSync(RelayStatus.Status)(JSON.parse(yield* done("status", "--json")))
      assert.strictEqual(json.totals.bytesFromPeers, 1234)

      assert.match(yield* done("nodes"), new RegExp(`^${node.identity.digest} +127\\.0\\.0\\.1 `, "m"))
      assert.match(yield* done("splices"), /^\d+ +127\.0\.0\.1 .* 1\.23 kB +0 B$/m)
      const [splice] = JSON.parse(yield* done("splices", "--json"))
      assert.strictEqual(splice.bytesFromPeer, 1234)
    }))

  it.scopedLive("kick, ban, unban, bans", () =>
    Effect.gen(function*() {
      const { address, command, done } = yield* operated()
      const node = yield* RelayTest.register(address)
      const { peer } = yield* RelayTest.splice(node)
      const { digest } = node.identity
      const [splice] = JSON.parse(yield* done("splices", "--json"))
      assert.strictEqual(yield* done("kick", String(splice.connection)), "1 connection ended\n")
      assert.strictEqual(yield* peer.closed, "reset")
      assert.strictEqual(yield* done("kick", digest.slice(0, 10)), "1 connection ended\n")
      yield* node.control.closed

      const nobody = yield* command("kick", digest.slice(0, 10))
      assert.strictEqual(nobody.code, 1)
      assert.strictEqual(
        nobody.stderr,
        `tx3-relay: no node that is registered or has splices starts with ${digest.slice(0, 10)}\n`
      )

      yield* done("ban", digest)
      yield* Effect.flip(RelayTest.register(address, { identity: node.identity }))
      assert.include(yield* done("bans"), digest)
      yield* done("unban", digest)
      yield* RelayTest.register(address, { identity: node.identity })
      assert.strictEqual((yield* command("unban", digest)).code, 1)
      assert.strictEqual((yield* command("ban", "300.1.1.1")).code, 1)
    }))

  it.scopedLive("reload, and SIGHUP: new limits hold, a broken file changes nothing and says why", () =>
    Effect.gen(function*() {
      const { command, done, file, program, text } = yield* operated()
      const limitOf = Effect.map(
        done("status", "--json"),
        (json) =>
          Schema.decodeUnknownSync(RelayStatus.Status)(JSON.parse(json)).limits.find(({ name }) =>
            name === "maxControlStreams"
          )?.limit
      )
      const write = (limit: string) =>
        writeFileSync(file, text.replace("maxControlStreams: 320", `maxControlStreams: ${limit}`))
      assert.strictEqual(yield* done("reload"), "nothing has changed\n")
      write("321")
      assert.match(yield* done("reload"), /^maxControlStreams +320 +321$/m)
      assert.strictEqual(yield* limitOf, 321)

      write("lots")
      const refused = yield* command("reload")
      assert.strictEqual(refused.code, 1)
      assert.include(refused.stderr, `nothing was changed: ${file}: maxControlStreams: must be a whole number`)
      assert.strictEqual(yield* limitOf, 321)

      program.kill("SIGHUP")
      yield* program.untilStderr(/reload: nothing was changed/)
      write("322")
      program.kill("SIGHUP")
      yield* program.untilStderr(/settings reloaded/)
      yield* RelayTest.eventually(Effect.map(limitOf, (limit) => limit === 322))
    }))

  it.scopedLive("log-level: changes what a running relay logs", () =>
    Effect.gen(function*() {
      const { address, done, program } = yield* operated()
      assert.strictEqual(yield* done("log-level", "debug"), "the log level is debug\n")
      yield* Effect.flatMap(RelayTest.sendPreamble(address, new Uint8Array(32)), (stranger) => stranger.closed)
      yield* program.untilStderr(/level=DEBUG.*connection came to nothing.*unknownPreamble/)
    }))

  it.scopedLive("drain: waits for the splices, then the relay ends with 0", () =>
    Effect.gen(function*() {
      const { address, done, program } = yield* operated()
      const node = yield* RelayTest.register(address)
      const { peer } = yield* RelayTest.splice(node)
      assert.include(yield* done("drain"), "when its 1 splices have ended")
      yield* program.untilStderr(/message=draining splices=1/)
      assert.include(yield* done("status"), "draining for")
      yield* Effect.flip(RelayTest.connect(address))
      yield* peer.reset
      assert.strictEqual((yield* program.ended).code, 0)
    }))

  it.scopedLive("SIGHUP while it drains does not cut the drain off", () =>
    Effect.gen(function*() {
      const { address, program } = yield* operated("drainTimeoutMs: 2000000\n")
      const { node: inside, peer } = yield* RelayTest.splice(yield* RelayTest.register(address))
      yield* peer.send(Buffer.from("x"))
      yield* inside.receive(1)
      program.kill("SIGTERM")
      yield* program.untilStderr(/shutting down/)
      program.kill("SIGHUP")
      yield* peer.send(Buffer.from("still here"))
      assert.strictEqual((yield* inside.receive(10)).toString(), "still here")
      yield* peer.reset
      assert.strictEqual((yield* program.ended).code, 0)
    }))

  it.scopedLive("probe: times each step, or says which one failed", () =>
    Effect.gen(function*() {
      const { address, command, done } = yield* operated("access: { peers: { deny: [127.0.0.0/8] } }\n")
      const denied = yield* command("probe", String(address))
      assert.strictEqual(denied.code, 1)
      assert.strictEqual(denied.stderr, "tx3-relay: peer: the relay closed the connection\n")
      const nobody = yield* command("probe", String(address).replace(/:\d+\//, ":1/"))
      assert.match(nobody.stderr, /^tx3-relay: controlStream: cannot connect to 127\.0\.0\.1:1 \(connection refused\)/)
      const wrong = yield* command("probe", "tx3-rst://127.0.0.1:1")
      assert.strictEqual(wrong.code, 2)
      const open = yield* operated()
      assert.match(
        yield* open.done("probe"),
        /^step +ms\ncontrolStream +[\d.]+\npeer +[\d.]+\nsplice +[\d.]+\necho +[\d.]+\n$/
      )
      const times = JSON.parse(yield* done("probe", "--json", String(open.address)))
      assert.deepStrictEqual(Object.keys(times), ["controlStream", "peer", "splice", "echo"])
    }))

  it.scopedLive("a file of --init: the socket for the commands, the page for a browser with a link", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const file = join(folder, "relay.yml")
      yield* programs.run("tx3-relay", ["--init", "--config", file, "--bind", "tx3-rst://127.0.0.1:0"])
      const relay = yield* programs.startShell("unset TX3_RELAY_ADMIN; tx3_relay --config \"$FILE\"", {
        env: { FILE: file }
      })
      yield* relay.untilStderr(/admin server listening" address=unix:.*relay\.sock/)
      const [, http] = yield* relay.untilStderr(/admin server listening" address=(http:\S+)/)
      assert.strictEqual(statSync(join(folder, "relay.sock")).mode & 0o777, 0o600)
      assert.strictEqual((yield* Effect.promise(() => fetch(`${http}/status`))).status, 401)
      assert.strictEqual((yield* Effect.promise(() => fetch(`${http}/healthz`))).status, 200)

      const commands = yield* programs.runShell(
        "unset TX3_RELAY_ADMIN; tx3_relay page --config \"$FILE\"; tx3_relay --config \"$FILE\" status --json; " +
          "tx3_relay status --admin \"$HTTP\" --config \"$FILE\"; tx3_relay status --admin \"$HTTP\"",
        { env: { FILE: file, HTTP: http! } }
      )
      const [link, ...rest] = commands.stdout.toString().split("\n")
      const [, at, code] = /^(http:\S+)\/#code=([\w-]{43})$/.exec(link!)!
      assert.strictEqual(at, http)
      assert.include(rest.join("\n"), "\"state\": \"listening\"")
      // the file's token is for the file's own addresses, and this is one with the port 0
      assert.include(commands.stderr, "it needs the relay's adminToken")
      const exchange = Effect.promise(() =>
        fetch(`${http}/session`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ code })
        })
      )
      const { session } = yield* Effect.flatMap(
        exchange,
        (answer) => Effect.promise(() => answer.json() as Promise<{ readonly session: string }>)
      )
      const status = yield* Effect.promise(() =>
        fetch(`${http}/status`, { headers: { authorization: `Bearer ${session}` } })
      )
      assert.strictEqual(status.status, 200)
      assert.strictEqual((yield* exchange).status, 401)
    }))

  it.scopedLive("a file named before the command holds for it, and one that is not there is no other relay's", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* operated(), yield* operated()]
      const script = (args: string) =>
        programs.runShell(`unset TX3_RELAY_ADMIN TX3_RELAY_CONFIG; cd "$HERE" && tx3_relay ${args}`, {
          env: { HERE: join(other.file, ".."), ONE: one.file, OTHER: other.file }
        })
      writeFileSync(join(other.file, "..", "tx3-relay.yml"), other.text)
      const before = yield* script("--config \"$ONE\" drain")
      assert.strictEqual(before.code, 0, before.stderr)
      assert.strictEqual((yield* one.program.ended).code, 0)
      assert.include(yield* other.done("status"), "listening for")
      const gone = yield* script("drain --config \"$ONE.gone\"")
      assert.strictEqual(gone.code, 2)
      assert.include(gone.stderr, "there is no such file")
      const own = yield* script("--config \"$ONE\" status --config \"$OTHER\" --json")
      assert.include(own.stdout.toString(), String(other.address))
      assert.include(yield* other.done("status"), "listening for")
    }))

  it.scopedLive("another user is told whose relay it is, and what to do", () =>
    Effect.gen(function*() {
      const { file } = yield* operated()
      const folder = join(file, "..")
      const asNobody = (...args: ReadonlyArray<string>) =>
        Effect.flatMap(
          programs.startCommand("setpriv", [
            ...["--reuid=65534", "--regid=65534", "--clear-groups", ...programs.commandOf("tx3-relay"), ...args]
          ], { cwd: "/", env: { TX3_RELAY_ADMIN: `unix:${join(folder, "admin.sock")}`, TX3_RELAY_CONFIG: "" } }),
          ({ ended }) => ended
        )
      if (process.getuid!() !== 0 || (yield* asNobody("--version")).code !== 0) {
        return
      }
      const folderClosed = yield* asNobody("status", "--config", file)
      assert.strictEqual(folderClosed.code, 1)
      assert.include(
        folderClosed.stderr,
        `permission denied: ${folder} belongs to root with mode 0700, and this is nobody`
      )
      chmodSync(folder, 0o755)
      const socketClosed = yield* asNobody("status", "--config", file)
      assert.include(
        socketClosed.stderr,
        "admin.sock belongs to root with mode 0600, and this is nobody; run the command with sudo"
      )
      chmodSync(file, 0o600)
      const shell = yield* programs.startCommand("setpriv", [
        ...["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "unset TX3_RELAY_ADMIN; exec \"$@\"", "sh"],
        ...[...programs.commandOf("tx3-relay"), "status", "--config", file]
      ], { cwd: "/" })
      const fileClosed = yield* shell.ended
      assert.strictEqual(fileClosed.code, 2)
      assert.include(fileClosed.stderr, `${file}: permission denied: ${file} belongs to root with mode 0600`)
    }))

  it.scopedLive("a command ends where what listens at the address never answers", () =>
    Effect.gen(function*() {
      const port = portOf(yield* localServer((socket) => socket.resume()))
      const { code, stderr } = yield* programs.run("tx3-relay", ["status", "--admin", `http://127.0.0.1:${port}`])
      assert.strictEqual(code, 1)
      assert.include(stderr, "no answer within 15 s")
    }))

  it.scopedLive("starts where its file's folder is read-only, and says what to set", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const file = join(folder, "relay.yml")
      yield* programs.run("tx3-relay", ["--init", "--config", file, "--bind", "tx3-rst://127.0.0.1:0"])
      chmodSync(folder, 0o555)
      // Root without capabilities may read what it owns, also a checkout that nobody else may enter, and obeys modes.
      const as = process.getuid!() === 0 ? "setpriv --bounding-set=-all --inh-caps=-all" : ""
      const relay = yield* programs.startShell(
        `unset TX3_RELAY_ADMIN; cd /; exec ${as} "$NODE" "$TX3_RELAY" -c "$FILE"`,
        {
          env: { FILE: file }
        }
      )
      yield* relay.untilStdout(/address list end/)
      yield* relay.untilStderr(/WARN.*cannot listen on unix:.*relay\.sock.*--admin http:.*TX3_RELAY_ADMIN=unix:/)
      yield* relay.untilStderr(/admin server listening" address=http:/)
    }))

  it.scopedLive("finds the admin server in the relay's file, and says so when there is none", () =>
    Effect.gen(function*() {
      const { command, file } = yield* operated()
      const without = yield* programs.startShell("unset TX3_RELAY_ADMIN; tx3_relay status --config \"$FILE\"", {
        env: { FILE: file }
      })
      const { code, stderr } = yield* without.ended
      assert.strictEqual(code, 0, stderr)
      const unreachable = yield* command("status", "--admin", "http://127.0.0.1:1")
      assert.strictEqual(unreachable.code, 1)
      assert.strictEqual(
        unreachable.stderr,
        "tx3-relay: no answer from the admin server at http://127.0.0.1:1: connection refused; is the relay running?\n"
      )
      const nonsense = yield* command("status", "--admin", "localhost")
      assert.strictEqual(nonsense.code, 2)
    }))

  it.scopedLive.skipIf(!mountable)(
    "finds the service of the machine, if nothing says where the admin server is",
    () =>
      Effect.gen(function*() {
        const { address, env } = yield* operated()
        const folder = yield* programs.temporaryFolder
        for (const flags of [[], ["--config", "/etc/tx3-relay/relay.yml"]]) {
          // a mount namespace in which the service's socket is this relay's
          const { code, stderr, stdout } = yield* Effect.flatMap(
            programs.startCommand("unshare", [
              ...["--mount", "sh", "-ec"],
              "mount -t tmpfs tmpfs /run; mkdir /run/tx3-relay; ln -s \"$1\" /run/tx3-relay/admin.sock; shift; exec \"$@\"",
              "sh",
              env.TX3_RELAY_ADMIN.slice("unix:".length),
              ...["env", "--unset=TX3_RELAY_ADMIN", ...programs.commandOf("tx3-relay"), "status", ...flags]
            ], { cwd: folder }),
            ({ ended }) => ended
          )
          assert.strictEqual(code, 0, stderr)
          assert.include(stdout.toString(), String(address))
        }
      })
  )

  it.scopedLive("an admin server for others needs a token, which a command takes from the environment", () =>
    Effect.gen(function*() {
      const { env, file, text } = yield* operated()
      writeFileSync(file, text.replace(/^admin: .*$/m, "admin: http://0.0.0.0:0"))
      const refused = yield* programs.startShell("unset TX3_RELAY_ADMIN; tx3_relay check --config \"$FILE\"", {
        env: { FILE: file, TX3_RELAY_IDENTITY: join(file, "..", "identity.pem") }
      })
      const { code, stderr } = yield* refused.ended
      assert.strictEqual(code, 2)
      assert.include(stderr, "set adminToken, or use http://127.0.0.1:PORT")
      writeFileSync(file, `${text}adminToken: sixteen characters\n`)
      const readable = yield* programs.run("tx3-relay", ["check", "--config", file])
      assert.strictEqual(readable.code, 2)
      assert.include(readable.stderr, "others than its owner may read the adminToken in it; run: chmod 0400")
      writeFileSync(file, text)
      const tokened = { ...env, TX3_RELAY_ADMIN: "http://127.0.0.1:0", TX3_RELAY_ADMIN_TOKEN: "0123456789012345" }
      const relay = yield* programs.start("tx3-relay", ["--identity", join(file, "..", "identity.pem")], {
        env: tokened
      })
      const [, address] = yield* relay.untilStderr(/admin server listening" address=(\S+)/)
      const target = ["status", "--admin", address!]
      const without = yield* programs.run("tx3-relay", target)
      assert.include(without.stderr, "it needs the relay's adminToken; set TX3_RELAY_ADMIN_TOKEN")
      const withToken = yield* programs.run("tx3-relay", target, {
        env: { TX3_RELAY_ADMIN_TOKEN: "0123456789012345" }
      })
      assert.strictEqual(withToken.code, 0, withToken.stderr)
    }))
})
