import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/files"
import { Tx3Node } from "@tx3/node"
import { UpPage, type UpStatus } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { makeFile, sha256 } from "@tx3/testing/files"
import { localServer, portOf } from "@tx3/testing/localServer"
import { startSshd } from "@tx3/testing/sshd"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Option, Stream } from "effect"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import { join } from "node:path"

/** An identity's file, in this folder or one of its own, and its digest. */
const identity = (folder?: string, name = "identity") =>
  Effect.gen(function*() {
    const file = join(folder ?? (yield* programs.temporaryFolder), `${name}.pem`)
    const { digest } = yield* IdentityFile.create(file)
    return { digest, file }
  }).pipe(Effect.provide(NodeContext.layer))

/** `tx3 expose`, when somebody can come, and the address it prints. */
const expose = (service: string, args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const program = yield* programs.start("tx3", ["expose", service, ...args])
    const [address] = yield* program.untilStdout(/tx3-\S+/)
    return { address, program }
  })

/** `tx3 forward`, when it listens, and where. */
const forward = (addresses: ReadonlyArray<string>, args: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const program = yield* programs.start("tx3", ["forward", ...addresses, "--listen", "127.0.0.1:0", ...args])
    const [, host, port] = yield* program.untilStdout(/^(.*):(\d+)$/m)
    return { program, endpoint: `${host}:${port}`, port: port! }
  })

/** A relay again at the address it had. */
const startAgain = (address: string) =>
  Effect.gen(function*() {
    const bind = address.slice(0, address.lastIndexOf("/"))
    return yield* programs.start("tx3-relay", ["-c", yield* programs.copyOfUpstreamFile, "--bind", bind])
  })

/** A service which greets, and counts who came. */
const greeter = Effect.gen(function*() {
  let count = 0
  const server = yield* localServer((socket) => {
    count++
    socket.end("hello\n")
  })
  return { server, count: () => count, endpoint: `127.0.0.1:${portOf(server)}` }
})

/** All that comes from a local endpoint, or the code of the error that cuts it off. */
const readFrom = (port: string) =>
  Effect.async<string>((resume) => {
    let text = ""
    net.connect({ host: "127.0.0.1", port: Number(port) })
      .on("data", (chunk) => {
        text += chunk
      })
      .on("end", () => resume(Effect.succeed(text)))
      .on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code!)))
  })

const shell = (command: string, args: ReadonlyArray<string>, options: programs.Options = {}) =>
  Effect.scoped(Effect.flatMap(programs.startCommand(command, args, options), ({ ended }) => ended))

const tx3 = (...args: ReadonlyArray<string>) => [...programs.commandOf("tx3"), ...args].join(" ")

withPrograms(["scp", "ssh", "ssh-keygen", "sshd"], () => {
  describe("ssh through expose and forward", { timeout: 180_000 }, () => {
    it.scopedLive("interactive, scp of 64 MiB, a relay that restarts, and as a ProxyCommand", () =>
      Effect.gen(function*() {
        const { folder, options, port, user } = yield* startSshd
        const relay = yield* programs.startRelay()
        const home = yield* identity()
        const me = yield* identity()
        const exposed = yield* expose(`127.0.0.1:${port}`, [
          "--via",
          relay.address,
          "--identity",
          home.file,
          "--allow",
          me.digest
        ])
        assert.strictEqual(exposed.address, relay.address.replace(/[^/]+$/, home.digest))
        const forwarded = yield* forward([exposed.address], ["--identity", me.file])

        // A terminal at the other end, and somebody who waits for what it says.
        const at = [...options, "-p", forwarded.port]
        const session = yield* programs.startCommand("ssh", [...at, "-tt", `${user}@127.0.0.1`, "/bin/sh"], {
          stdin: "pipe"
        })
        session.stdin.write("test -t 0 && echo \"a terminal: $((20 + 22))\"\n")
        yield* session.untilStdout(/a terminal: 42/)
        session.stdin.write("exit 7\n")
        assert.strictEqual((yield* session.ended).code, 7)

        // More than the buffers of all sockets on the way hold.
        const { path, sha256: wanted } = makeFile(folder, "big", 64 * 1024 * 1024)
        const scp = yield* shell("scp", [
          ...options,
          "-P",
          forwarded.port,
          path,
          `${user}@127.0.0.1:${join(folder, "copied")}`
        ])
        assert.strictEqual(scp.code, 0, scp.stderr)
        assert.strictEqual(sha256(readFileSync(join(folder, "copied"))), wanted)

        relay.program.kill("SIGKILL")
        yield* relay.program.ended
        yield* exposed.program.untilStderr(/the registration at .* is lost/)
        yield* startAgain(relay.address)
        yield* exposed.program.untilStderr(/registered again/)
        const after = yield* shell("ssh", [...at, `${user}@127.0.0.1`, "echo after the restart"])
        assert.strictEqual(after.stdout.toString(), "after the restart\n", after.stderr)

        const proxy = tx3("connect", exposed.address, "--identity", me.file)
        const proxied = yield* shell("ssh", [...options, "-o", `ProxyCommand=${proxy}`, `${user}@home`, "cat"], {
          stdin: "through stdin"
        })
        assert.strictEqual(proxied.stdout.toString(), "through stdin", proxied.stderr)

        // A service that ends first: ssh waits for the end of what its ProxyCommand prints.
        const { endpoint } = yield* greeter
        const greeting = yield* expose(endpoint, ["--via", "tx3-st://127.0.0.1:0"])
        const ended = yield* shell("ssh", [...options, "-o", `ProxyCommand=${tx3("connect", greeting.address)}`, "x"])
        assert.strictEqual(ended.code, 255)

        yield* forwarded.program.untilStderr(new RegExp(`connected with ${home.digest}`))
        yield* exposed.program.untilStderr(
          new RegExp(
            `disconnected from ${me.digest} after \\d+ (s|min|ms).*, 6\\d(\\.\\d+)? MB from there and [\\d.]+ kB to there`
          )
        )
      }))
  })
})

withPrograms(["curl"], () => {
  describe("curl through expose and forward", { timeout: 180_000 }, () => {
    // With maxShareOfNode 0.5 forward tries those beyond 32 again, until others have ended: kept connections do not.
    const relays: Record<string, readonly [settings: Record<string, string>, curl: ReadonlyArray<string>]> = {
      "its defaults, connections that are kept": [{}, []],
      "maxShareOfNode 0.5, connections that are closed": [
        { TX3_RELAY_MAX_SHARE_OF_NODE: "0.5" },
        ["-H", "Connection: close"]
      ]
    }
    for (const [title, [settings, curl]] of Object.entries(relays)) {
      it.scopedLive(`50 requests at once, on a relay with ${title}`, () =>
        Effect.gen(function*() {
          const folder = yield* programs.temporaryFolder
          const server = yield* Effect.acquireRelease(
            Effect.async<http.Server>((resume) => {
              const server = http.createServer((request, response) => response.end(`${request.url}\n`.repeat(10_000)))
              server.listen({ host: "127.0.0.1", port: 0 }, () => resume(Effect.succeed(server)))
            }),
            (server) => Effect.sync(() => server.close().closeAllConnections())
          )
          const relay = yield* programs.startRelay(settings)
          const exposed = yield* expose(`127.0.0.1:${(server.address() as net.AddressInfo).port}`, [
            "--via",
            relay.address
          ])
          yield* exposed.program.untilStderr(/without --identity the address is another one each time/)
          yield* exposed.program.untilStderr(/anyone who knows the address may connect; --allow DIGEST changes that/)
          const { endpoint } = yield* forward([exposed.address])
          const { code, stderr } = yield* shell("curl", [
            "-sS",
            "--fail",
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            "50",
            ...curl,
            `http://${endpoint}/[1-50]`,
            "-o",
            join(folder, "#1")
          ])
          assert.strictEqual(code, 0, stderr)
          assert.strictEqual(readdirSync(folder).length, 50)
          for (const name of readdirSync(folder)) {
            assert.strictEqual(readFileSync(join(folder, name), "utf8"), `/${name}\n`.repeat(10_000))
          }
        }))
    }
  })
})

describe("who may connect", { timeout: 180_000 }, () => {
  it.scopedLive("a relay's address in place of a node's is recognised, whichever command has it", () =>
    Effect.gen(function*() {
      const relay = yield* programs.startRelay()
      const { path } = makeFile(yield* programs.temporaryFolder, "file", 100)
      const remedy =
        "use the address that the other end printed (tx3 listen, tx3 expose), not the one that the relay printed"
      const known = join(yield* programs.temporaryFolder, "known")
      const connect = yield* programs.start("tx3", ["connect", relay.address, "--name", "home", "--known", known], {
        stdin: "pipe"
      })
      // The byte that it sends is held back for a while.
      yield* connect.untilStdout(/^\0$/)
      // A few bytes, which the relay reads before it ends the connection.
      connect.stdin.write("hello\n")
      const { code, stderr } = yield* connect.ended
      assert.strictEqual(code, 1)
      assert.match(stderr, /^tx3: what answered is most likely a relay, and no node: /)
      assert.include(stderr, remedy)
      assert.isFalse(existsSync(known), "a relay gets no name")
      // These two send at once, and the relay may reset them before it says anything.
      for (const args of [["ping", relay.address], ["send", path, relay.address]]) {
        const { code, stderr } = yield* programs.run("tx3", args)
        assert.strictEqual(code, 1)
        assert.isTrue(stderr.includes(remedy) || stderr.includes("tx3: the connection is lost: "), stderr)
      }
    }))

  it.scopedLive("a peer that is not allowed is told so at both of its ends, and the service never sees it", () =>
    Effect.gen(function*() {
      const { count, endpoint } = yield* greeter
      const relay = yield* programs.startRelay()
      const friend = yield* identity()
      const stranger = yield* identity()
      const { address, program } = yield* expose(endpoint, ["--via", relay.address, "--allow", friend.digest])

      const allowed = yield* programs.run("tx3", ["connect", address, "--identity", friend.file])
      assert.strictEqual(allowed.stdout.toString(), "hello\n", allowed.stderr)
      assert.strictEqual(count(), 1)

      const refused = yield* programs.run("tx3", ["connect", address, "--identity", stranger.file])
      assert.strictEqual(refused.code, 1)
      assert.strictEqual(refused.stdout.toString(), "")
      const because =
        `the other end does not allow ${stranger.digest}, which is you, to connect; ask its owner to allow`
      assert.include(refused.stderr, `tx3: ${because}`)
      yield* program.untilStderr(new RegExp(`tx3: refused ${stranger.digest}, who is not allowed to connect`))

      const forwarded = yield* forward([address], ["--identity", stranger.file])
      assert.strictEqual(yield* readFrom(forwarded.port), "ECONNRESET")
      yield* forwarded.program.untilStderr(new RegExp(because))
      assert.strictEqual(count(), 1)
    }))

  it.scopedLive("a file is read again when it changes, with names; one that is broken changes nothing", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* greeter
      const folder = yield* programs.temporaryFolder
      const friend = yield* identity()
      const other = yield* identity()
      const known = join(folder, "known")
      const allowed = join(folder, "allowed")
      writeFileSync(known, `# my people\n${friend.digest} friend  # from work\n\n${other.digest} other\n`)
      writeFileSync(allowed, "# nobody yet\n")
      const { address, program } = yield* expose(endpoint, [
        "--via",
        "tx3-st://127.0.0.1:0",
        "--allow-file",
        allowed,
        "--known",
        known
      ])
      const greeted = (who: { readonly file: string }) =>
        Effect.gen(function*() {
          const node = yield* Tx3Node.make({ identity: yield* IdentityFile.read(who.file) })
          const connection = yield* node.connect(address)
          yield* connection.end
          return (yield* Stream.mkString(Stream.decodeText(connection.readable))) === "hello\n"
        }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))
      assert.isFalse(yield* greeted(friend))
      yield* program.untilStderr(/refused friend \([\w-]{8}\), who is not allowed/)

      writeFileSync(allowed, "friend\n")
      assert.isTrue(yield* greeted(friend))
      assert.isFalse(yield* greeted(other))
      yield* program.untilStderr(/allowed has changed, and allows 1 now/)
      yield* program.untilStderr(/disconnected from friend \([\w-]{8}\) after \d+ m?s, 0 B from there and 6 B to there/)

      writeFileSync(allowed, "friend\nnobody-known\n")
      assert.isTrue(yield* greeted(friend))
      yield* program.untilStderr(
        /allowed: line 2: nobody-known is no digest.* and no name in .*known; those stay allowed/
      )

      writeFileSync(allowed, `${other.digest}  # the digest does, too\n`)
      assert.isFalse(yield* greeted(friend))
      assert.isTrue(yield* greeted(other))
    }))

  it.scopedLive("a name is given once it is asked for, and kept; nothing is stored of itself", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* greeter
      const folder = yield* programs.temporaryFolder
      const known = join(folder, "names", "known")
      const first = yield* expose(endpoint, ["--via", "tx3-st://127.0.0.1:0"])
      const second = yield* expose(endpoint, ["--via", "tx3-st://127.0.0.1:0"])
      const digest = first.address.replace(/.*\//, "")
      const connect = (address: string, ...args: ReadonlyArray<string>) =>
        programs.run("tx3", ["connect", address, "--known", known, ...args])

      const shown = yield* connect(first.address)
      assert.include(shown.stderr, `tx3: ${digest} has answered, who has no name here; --name NAME gives one`)
      assert.deepStrictEqual(readdirSync(folder), [])

      const named = yield* connect(first.address, "--name", "home")
      assert.include(named.stderr, `tx3: ${digest} is home from now on, in ${known}`)
      assert.strictEqual(readFileSync(known, "utf8"), `${digest} home\n`)
      assert.strictEqual(statSync(known).mode & 0o777, 0o600)

      const again = yield* connect(first.address, "--name", "home")
      assert.strictEqual(again.stderr, "")
      assert.strictEqual(readFileSync(known, "utf8"), `${digest} home\n`)

      const swapped = yield* connect(second.address, "--name", "home")
      assert.strictEqual(swapped.code, 2)
      assert.include(swapped.stderr, `${known}: home is ${digest}, and not ${second.address.replace(/.*\//, "")}`)
      assert.strictEqual(swapped.stdout.toString(), "")

      const forwarded = yield* forward([first.address], ["--known", known])
      assert.strictEqual(yield* readFrom(forwarded.port), "hello\n")
      yield* forwarded.program.untilStderr(/connected with home \([\w-]{8}\)/)
      yield* forwarded.program.untilStderr(/disconnected from home \([\w-]{8}\) after \d+ m?s, 6 B from there/)
    }))
})

withPrograms(["curl"], () => {
  describe("tx3 expose and forward", { timeout: 180_000 }, () => {
    it.scopedLive("unix sockets at both ends, also in the place of one that a killed program left", () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const socket = join(folder, "forwarded")
        const service = join(folder, "service")
        yield* localServer((socket) => socket.end("by file\n"), { path: service })
        const { address } = yield* expose(`unix:${service}`, ["--via", "tx3-st://127.0.0.1:0"])
        for (const round of [1, 2]) {
          const program = yield* programs.start("tx3", ["forward", address, "--listen", `unix:${socket}`])
          yield* program.untilStdout(/unix:/)
          const { stdout } = yield* shell("curl", ["-s", "--http0.9", "--unix-socket", socket, "http://x/"])
          assert.strictEqual(stdout.toString(), "by file\n", `${round}`)
          program.kill("SIGKILL")
          yield* program.ended
          assert.deepStrictEqual(readdirSync(folder).sort(), ["forwarded", "service"])
        }
      }))

    it.scopedLive("begin before their relays and their service, and say so", () =>
      Effect.gen(function*() {
        const { count, endpoint, server } = yield* greeter
        yield* Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
        const home = yield* identity()
        const first = yield* programs.startRelay()
        first.program.kill("SIGKILL")
        yield* first.program.ended
        const program = yield* programs.start("tx3", [
          "expose",
          endpoint,
          "--via",
          first.address,
          "--identity",
          home.file
        ])
        yield* program.untilStderr(/cannot register at .*connection refused.*; trying again/)
        yield* startAgain(first.address)
        yield* program.untilStderr(/registered at/)
        const [address] = yield* program.untilStdout(/tx3-\S+/)

        const early = yield* programs.run("tx3", ["connect", address])
        assert.strictEqual(early.code, 1)
        assert.include(early.stderr, "the other end is there, but the service behind it does not answer")
        yield* program.untilStderr(/cannot connect to .*: nothing listens there; [\w-]{43} wanted it/)
        const port = Number(endpoint.split(":")[1])
        yield* Effect.async<void>((resume) =>
          void server.listen({ port, host: "127.0.0.1" }, () => resume(Effect.void))
        )
        assert.strictEqual((yield* programs.run("tx3", ["connect", address])).stdout.toString(), "hello\n")
        assert.strictEqual(count(), 1)

        program.kill("SIGTERM")
        assert.strictEqual((yield* program.ended).code, 143)
      }))

    it.scopedLive("several relays: all addresses are printed, and one that is gone is gone around", () =>
      Effect.gen(function*() {
        const { endpoint } = yield* greeter
        const one = yield* programs.startRelay()
        const two = yield* programs.startRelay()
        const { program } = yield* expose(endpoint, ["--via", one.address, "--via", two.address])
        yield* program.untilStderr(/registered at [^]*registered at/)
        const [text] = yield* program.untilStdout(/tx3-\S+\ntx3-\S+\n/)
        const addresses = text.trim().split("\n")
        const forwarded = yield* forward(addresses)
        assert.strictEqual(yield* readFrom(forwarded.port), "hello\n")
        one.program.kill("SIGKILL")
        yield* one.program.ended
        assert.strictEqual(yield* readFrom(forwarded.port), "hello\n")
        const both = yield* programs.run("tx3", ["connect", ...addresses])
        assert.strictEqual(both.stdout.toString(), "hello\n", both.stderr)
      }))

    const other = `tx3-st://127.0.0.1:1/${"A".repeat(43)}`
    const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, message: string]> = [
      [["expose", "127.0.0.1:22"], "say where to be reached, with --via RELAY"],
      [
        ["expose", "here", "--via", "tx3-st://127.0.0.1:0"],
        "\"here\" is no endpoint; write HOST:PORT, as 127.0.0.1:22"
      ],
      [["expose", "127.0.0.1:22", "--via", "tx3-st://127.0.0.1:0", "--allow", "me"], "--allow: me is no digest"],
      [["forward", other], "--listen is missing"],
      [["forward", "--listen", "127.0.0.1:0"], "ADDRESS is missing"],
      [
        ["forward", other, `${other.slice(0, -1)}E`, "--listen", "127.0.0.1:0"],
        "give addresses of one node, which end in the same digest"
      ],
      [
        ["forward", other, "--listen", "127.0.0.1:0", "--name", "no name"],
        "\"no name\" is no name; use up to 64 letters"
      ],
      [["up"], "./tx3.yml: there is no such file"],
      [["status"], "./tx3.yml: there is no such file"]
    ]
    for (const [args, message] of wrong) {
      it.live(`refuse to be called with ${args.join(" ")}`, () => programs.refused("tx3", args, message))
    }

    it.scopedLive("a port that is taken is an error that says so", () =>
      Effect.gen(function*() {
        const { endpoint } = yield* greeter
        const { code, stderr } = yield* programs.run("tx3", ["forward", other, "--listen", endpoint])
        assert.strictEqual(code, 1)
        assert.include(stderr, `tx3: cannot listen at ${endpoint}: another program listens there`)
      }))
  })
})

describe("tx3 up and status", { timeout: 180_000 }, () => {
  const status = (file: string) =>
    Effect.map(programs.run("tx3", ["status", "--config", file, "--json"]), ({ stderr, stdout }) => {
      assert.strictEqual(stderr, "")
      return JSON.parse(stdout.toString()) as UpStatus.Status
    })

  it.scopedLive("several services on several relays, their states and connections, through a restart", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const one = yield* programs.startRelay()
      const two = yield* programs.startRelay()
      const greeting = yield* greeter
      // One that says something and waits.
      const waiting = yield* localServer((socket) => socket.write("wait"))
      const digests = yield* Effect.map(
        Effect.forEach(
          ["hello", "wait", "me", "stranger"],
          (name) => Effect.map(identity(folder, name), ({ digest }) => [name, digest] as const)
        ),
        Object.fromEntries
      )
      const digestOf = (name: string): string => digests[name]
      const port = (waiting.address() as net.AddressInfo).port
      const file = join(folder, "tx3.yml")
      writeFileSync(join(folder, "known"), `${digestOf("me")} me\n`)
      writeFileSync(join(folder, "allowed"), "me\n")
      writeFileSync(
        file,
        `# two services and a way to one of them
relays:
  - ${one.address}
  - ${two.address}
known: known
expose:
  hello:
    service: ${greeting.endpoint}
    identity: hello.pem
    allow: [me]
  wait:
    service: 127.0.0.1:${port}
    identity: wait.pem
    allowFile: allowed
    relays: [${two.address}]
forward:
  waiting:
    identity: me.pem
    to:
      - ${two.address.replace(/[^/]+$/, digestOf("wait"))}
    listen: 127.0.0.1:0
`
      )
      const up = yield* programs.start("tx3", ["up", "--config", file])
      const [printed, listening] = yield* up.untilStdout(/(?:hello|wait) \S+\n(?:\S+ \S+\n)*waiting 127.0.0.1:(\d+)\n/)
      assert.deepStrictEqual(printed.split("\n").slice(0, 3), [
        `hello ${one.address.replace(/[^/]+$/, digestOf("hello"))}`,
        `hello ${two.address.replace(/[^/]+$/, digestOf("hello"))}`,
        `wait ${two.address.replace(/[^/]+$/, digestOf("wait"))}`
      ])
      yield* up.untilStderr(/(?:(?:hello|wait): registered at [^]*){3}/)
      assert.strictEqual(statSync(join(folder, "tx3.sock")).mode & 0o777, 0o600)

      const socket = net.connect({ host: "127.0.0.1", port: Number(listening) })
      yield* Effect.async<void>((resume) => void socket.once("data", () => resume(Effect.void)))
      const refused = yield* programs.run("tx3", [
        "connect",
        two.address.replace(/[^/]+$/, digestOf("wait")),
        "--identity",
        join(folder, "stranger.pem")
      ])
      assert.strictEqual(refused.code, 1)
      yield* up.untilStderr(new RegExp(`wait: refused ${digestOf("stranger")}, who is not allowed`))

      const { services } = yield* status(file)
      assert.deepStrictEqual(
        services.map(({ connected, failed, kind, name, registrations }) => ({
          connected,
          failed,
          kind,
          name,
          registrations: registrations.map(({ relay, state }) => [relay, state.is])
        })),
        [
          {
            name: "hello",
            kind: "expose",
            connected: 0,
            failed: 0,
            registrations: [[one.address, "live"], [two.address, "live"]]
          },
          { name: "wait", kind: "expose", connected: 1, failed: 1, registrations: [[two.address, "live"]] },
          { name: "waiting", kind: "forward", connected: 1, failed: 0, registrations: [] }
        ]
      )
      const [, exposed, forwarded] = services
      assert.deepInclude(exposed!.connections[0], {
        peer: digestOf("me"),
        name: "me",
        bytesFromPeer: 0,
        bytesToPeer: 4
      })
      assert.deepInclude(forwarded!.connections[0], {
        peer: digestOf("wait"),
        name: null,
        bytesFromPeer: 4,
        bytesToPeer: 0
      })

      const forPeople = yield* programs.run("tx3", ["status", "-c", file])
      const text = forPeople.stdout.toString()
      assert.match(text, /^tx3 \S+ up with \S+tx3\.yml for /)
      assert.match(text, /^waiting +forwards +127\.0\.0\.1:\d+ +1 +1 +0$/m)
      assert.match(text, /^wait +me +127\.0\.0\.1:\d+ +\d+ s +0 B +4 B$/m)
      assert.match(text, new RegExp(`^hello +${one.address} +live for \\d+ s$`, "m"))
      socket.destroy()

      one.program.kill("SIGKILL")
      yield* one.program.ended
      yield* up.untilStderr(/hello: the registration at .* is lost.*; trying again/)
      const lost = (yield* status(file)).services[0]!.registrations[0]!
      assert.strictEqual(lost.relay, one.address)
      assert.include(["lost", "connecting"], lost.state.is)
      yield* startAgain(one.address)
      const logs = yield* programs.start("tx3", ["logs", "--config", file, "--since", "1h", "--follow"])
      yield* logs.untilStdout(/^\d{4}-\d\d-\d\dT[\d:]+Z hello: the registration at .* is lost/m)
      yield* up.untilStderr(/hello: registered again at/)
      yield* logs.untilStdout(/hello: registered again at/)
      logs.kill("SIGTERM")
      yield* logs.ended

      const page = yield* programs.run("tx3", ["page", "--config", file])
      assert.strictEqual(page.stderr, "It signs one browser in, within 60 seconds.\n")
      const link = page.stdout.toString().trim()
      assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/#code=[\w-]{43}$/)
      for (const path of UpPage.paths) {
        const { status } = yield* Effect.promise(() => fetch(new URL(path, link)))
        assert.strictEqual(status, 200, path)
      }

      up.kill("SIGTERM")
      assert.strictEqual((yield* up.ended).code, 143)
      const down = yield* programs.run("tx3", ["status", "--config", file])
      assert.strictEqual(down.code, 2)
      assert.include(down.stderr, `tx3: no tx3 up runs with ${file} (${join(folder, "tx3.sock")}: no such file`)
    }))
})

describe("a node that knows nothing of these commands, as the original's", { timeout: 180_000 }, () => {
  it.scopedLive("reaches what is exposed, and is reached by forward", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* greeter
      const relay = yield* programs.startRelay()
      const { address } = yield* expose(endpoint, ["--via", relay.address])
      const node = yield* Tx3Node.make({ bind: [relay.address], requireRegistration: true })
      const connection = yield* node.connect(address)
      const text = yield* Stream.mkString(Stream.decodeText(connection.readable))
      assert.strictEqual(text, "hello\n")

      const { port } = yield* forward([String(node.addresses[0])])
      const reading = yield* Effect.fork(readFrom(port))
      const inbound = Option.getOrThrow(yield* Stream.runHead(node.connections))
      yield* inbound.write(Buffer.from("from a node"))
      yield* inbound.end
      assert.strictEqual(yield* reading, "from a node")
    }))
})
