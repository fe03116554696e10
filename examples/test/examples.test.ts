/**
 * Runs every example as its README says, command by command, and compares what it prints with what the README quotes: but
 * for digests, ports and durations, to the letter.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Relay from "@tx3/relay/Relay"
import * as RelayTest from "@tx3/relay/RelayTest"
import * as programs from "@tx3/testing/builtPrograms"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Context, Effect, Layer, Logger, type Scope } from "effect"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../", import.meta.url))
const examples = join(root, "examples")

const folders = readdirSync(examples, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !["dist", "node_modules", "test"].includes(entry.name))
  .map(({ name }) => name)

/** The commands of an example's README, each on its own, and the outputs it quotes. */
const readmeOf = (folder: string) => {
  const text = readFileSync(join(examples, folder, "README.md"), "utf8")
  const blocks = (language: string) =>
    Array.from(text.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, "gm")), ([, block]) => block!)
  return { text, commands: blocks("sh").map((command) => command.trim()), outputs: blocks("text") }
}

/** Whatever looks like this output. */
const shapeOf = (output: string) =>
  output
    .replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
    .replaceAll(/(?<![\w-])[\w-]{43}(?![\w-])/g, "[\\w-]{43}")
    .replaceAll(/:\d+/g, ":\\d+")
    .replaceAll(/\d+ ms/g, "\\d+ ms")
    .replaceAll("…", ".*")

const address = /tx3-rst:\S+/g
const digest = /[\w-]{43}/g

/** Runs an example. Its commands have to be started in their order, and all of them. */
const example = (folder: string, words: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const { commands, outputs } = readmeOf(folder)
    const names: Record<string, string> = { "tx3-rst://127.0.0.1:38151": "tx3-rst://127.0.0.1:0", ...words }

    const nextWords = () => {
      const command = commands.shift()
      assert.isDefined(command, `${folder} has no more commands`)
      return command!.split(" ").map((word) => names[word] ?? word)
    }

    const start = Effect.gen(function*() {
      const [program, script, ...args] = nextWords()
      const running = yield* programs.startCommand(process.execPath, [
        program === "npx" ? programs.bin(script!) : programs.exampleModule(script!),
        ...args
      ], { cwd: root })

      const endsWith = (code: number, quoted: string | undefined) =>
        Effect.gen(function*() {
          const ended = yield* running.ended
          assert.strictEqual(ended.code, code, ended.stdout.toString() + ended.stderr)
          if (quoted !== undefined) {
            assert.match(ended.stdout.toString(), new RegExp(`^${shapeOf(quoted)}$`))
          }
          return ended.stdout.toString()
        })

      return {
        ...running,
        /** Waits until it has printed all of this and nothing else. */
        prints: (quoted: string) =>
          Effect.map(running.untilStdout(new RegExp(`^${shapeOf(quoted)}$`)), ([stdout]) => stdout),
        /** Waits until it has printed a line with so many addresses, and gives them. */
        addresses: (count: number) =>
          Effect.map(
            running.untilStdout(new RegExp(`^.*(tx3-rst:.*){${count}}\n`, "m")),
            ([line]) => line.match(address)!
          ),
        endsWith,
        /** Ends it, as a service is, and finds that it had nothing to add. */
        stop: (signal: NodeJS.Signals, quoted?: string) =>
          Effect.suspend(() => {
            running.kill(signal)
            return endsWith(0, quoted)
          })
      }
    })

    yield* Effect.addFinalizer((exit) =>
      Effect.sync(() => {
        if (exit._tag === "Success") {
          assert.deepStrictEqual(commands, [], `${folder} has commands that were not run`)
        }
      })
    )
    return { names, nextWords, outputs, start }
  })

/** The address of a relay. */
const relay = Effect.map(
  Layer.build(RelayTest.layer({ maxShareOfNode: 1 })),
  (context) => String(Context.get(context, Relay.Relay).addresses[0])
)

const friendFile = Effect.map(programs.temporaryFolder, (folder) => join(folder, "friend.pem"))

const tested = new Set<string>()

const runs = (folder: string, test: () => Effect.Effect<unknown, unknown, Scope.Scope>) => {
  tested.add(folder)
  it.scopedLive(`${folder} does what its README says`, () =>
    Effect.provide(test(), Logger.remove(Logger.defaultLogger)))
}

describe.concurrent("examples", () => {
  runs("relay-in-a-server", () =>
    Effect.gen(function*() {
      const { nextWords, outputs, start } = yield* example("relay-in-a-server", { 8081: "0" })
      const server = yield* start
      const printed = yield* server.prints(outputs[0]!)
      const node = yield* programs.startCommand(
        process.execPath,
        [programs.exampleModule("examples/dist/promise/server.js"), printed.match(address)![0]],
        { cwd: root }
      )
      yield* node.untilStdout(/echoing at/)
      assert.strictEqual(nextWords()[0], "curl")
      const page = yield* Effect.promise(() => fetch(/http:\S+/.exec(printed)![0]))
      assert.match(yield* Effect.promise(() => page.text()), new RegExp(`^${shapeOf(outputs[1]!.trim())}$`))
      node.kill("SIGINT")
      assert.strictEqual((yield* node.ended).code, 0)
      yield* server.stop("SIGTERM", outputs[0]!)
    }))

  runs("own-limiter-and-access", () =>
    Effect.gen(function*() {
      const { names, outputs, start } = yield* example("own-limiter-and-access", { "friend.pem": yield* friendFile })
      names.DIGEST = (yield* Effect.flatMap(start, ({ endsWith }) => endsWith(0, outputs[0]!))).trim()
      const relay = yield* start
      names.RELAY = (yield* relay.addresses(1))[0]!
      yield* Effect.flatMap(start, ({ endsWith }) => endsWith(1, undefined))
      const friend = yield* start
      names.ADDRESS = (yield* friend.addresses(1))[0]!
      const ping = yield* start
      yield* ping.untilStdout(/reply 1 /)
      yield* Effect.flatMap(start, ({ endsWith }) => endsWith(1, undefined))
      const printed = yield* relay.prints(outputs[1]!)
      assert.strictEqual(printed.match(/\S+(?= registers)/)![0], names.DIGEST)
      ping.kill("SIGTERM")
      yield* ping.ended
      yield* relay.stop("SIGTERM", outputs[1]!)
    }))

  runs("rpc", () =>
    Effect.gen(function*() {
      const { names, outputs, start } = yield* example("rpc", { RELAY: yield* relay })
      const server = yield* start
      names.ADDRESS = (yield* server.addresses(1))[0]!
      yield* Effect.flatMap(start, ({ endsWith }) => endsWith(0, outputs[1]!))
      yield* server.stop("SIGTERM", outputs[0]!)
    }))

  runs("http-api", () =>
    Effect.gen(function*() {
      const { names, outputs, start } = yield* example("http-api", {
        RELAY: yield* relay,
        "friend.pem": yield* friendFile
      })
      names.DIGEST = (yield* Effect.flatMap(start, ({ endsWith }) => endsWith(0, outputs[0]!))).trim()
      const server = yield* start
      names.ADDRESS = (yield* server.addresses(1))[0]!
      const [friend, stranger] = yield* Effect.all([start, start])
      assert.include(yield* friend.endsWith(0, outputs[1]!), `for ${names.DIGEST}: hello`)
      yield* stranger.endsWith(0, outputs[2]!)
      assert.include(yield* server.stop("SIGTERM", outputs[3]!), `${names.DIGEST} notes`)
    }))

  runs("promise", () =>
    Effect.gen(function*() {
      const { names, outputs, start } = yield* example("promise", { RELAY: yield* relay })
      const server = yield* start
      names.ADDRESS = (yield* server.addresses(1))[0]!
      const answer = yield* Effect.flatMap(start, ({ endsWith }) => endsWith(0, outputs[0]!))
      assert.isTrue(names.ADDRESS.endsWith(answer.match(digest)![0]))
      yield* server.stop("SIGTERM", outputs[1]!)
    }))

  runs("expose-and-forward", () =>
    Effect.gen(function*() {
      const { names, nextWords, outputs, start } = yield* example("expose-and-forward", {
        RELAY: yield* relay,
        "friend.pem": yield* friendFile,
        2022: "0",
        "127.0.0.1:2222": "127.0.0.1:0"
      })
      names.DIGEST = (yield* Effect.flatMap(start, ({ endsWith }) => endsWith(0, outputs[0]!))).trim()
      const service = yield* start
      names["127.0.0.1:2022"] = (yield* service.prints(outputs[1]!)).match(/[\d.]+:\d+/)![0]
      const exposed = yield* start
      names.ADDRESS = (yield* exposed.addresses(1))[0]!
      const forwarded = yield* start
      const [, port] = yield* forwarded.untilStdout(/connect to 127\.0\.0\.1:(\d+)\n/)
      assert.strictEqual(nextWords()[0], "nc")
      assert.strictEqual(yield* talk(Number(port), "hello\n", 33), outputs[2]!)
      yield* forwarded.prints(outputs[3]!)
      assert.include(yield* exposed.prints(outputs[4]!), `${names.DIGEST} left`)
      yield* forwarded.stop("SIGTERM", outputs[3]!)
      yield* exposed.stop("SIGTERM", outputs[4]!)
      yield* service.stop("SIGTERM", outputs[1]!)
    }))

  runs("several-relays", () =>
    Effect.gen(function*() {
      const { names, outputs, start } = yield* example("several-relays", {
        "tx3-rst://127.0.0.1:38152": "tx3-rst://127.0.0.1:0",
        8081: "0",
        8082: "0"
      })
      const [relay, other] = yield* Effect.all([start, start])
      names.RELAY = (yield* relay.addresses(1))[0]!
      names.OTHER_RELAY = (yield* other.addresses(1))[0]!
      const node = yield* start
      const addresses = yield* node.addresses(2)
      names.ADDRESS = addresses[0]!
      names.OTHER_ADDRESS = addresses[1]!
      yield* node.untilStdout(/(registered at [^]*){2}\n/)
      const client = yield* start
      yield* client.untilStdout(/hello/)
      yield* relay.stop("SIGTERM")
      yield* node.untilStdout(new RegExp(`lost ${names.RELAY}`))
      yield* client.untilStdout(new RegExp(`hello, by way of 127.0.0.1:${new URL(names.OTHER_RELAY).port}\n`))
      // How often it greets, and how often it tries again, is no matter.
      assert.deepStrictEqual(kindsOf(yield* client.stop("SIGTERM")), kindsOf(outputs[0]!))
      assert.deepStrictEqual(kindsOf(yield* node.stop("SIGTERM")), kindsOf(outputs[1]!))
      yield* other.stop("SIGTERM")
    }))

  withPrograms(["haproxy", "nats-server"], () => {
    runs("cluster", () =>
      Effect.gen(function*() {
        const port = `${20_000 + 30 * (process.pid % 400)}`
        const { names, outputs, start } = yield* example("cluster", { 38141: port })
        const cluster = yield* start
        names.RELAY = (yield* cluster.prints(outputs[0]!)).match(address)![0]
        const node = yield* start
        names.ADDRESS = (yield* node.addresses(1))[0]!
        const ping = yield* start
        assert.strictEqual((yield* ping.ended).code, 0)
        cluster.kill("SIGTERM")
        yield* cluster.ended
      }))
  })

  it("have a README each, which names files that exist, and are all listed and run", () => {
    const list = readFileSync(join(examples, "README.md"), "utf8")
    const listed = Array.from(list.matchAll(/\]\(([\w-]+)\/README\.md\)/g), ([, folder]) => folder!)
    assert.deepStrictEqual(listed.toSorted(), folders.toSorted())
    assert.deepStrictEqual(Array.from(tested).toSorted(), folders.toSorted())
    for (const folder of folders) {
      const { text } = readmeOf(folder)
      for (const [, name] of text.matchAll(/`([\w/-]+\.ts)`/g)) {
        assert.isTrue(existsSync(join(examples, folder, name!)), `${folder}/${name}`)
      }
      for (const [, name] of text.matchAll(/node examples\/dist\/(\S+)\.js/g)) {
        assert.isTrue(existsSync(join(examples, `${name}.ts`)), name)
        assert.isTrue(existsSync(join(examples, "dist", `${name}.js`)), name)
      }
      for (const [, name] of text.matchAll(/npx (\S+)/g)) {
        assert.isTrue(existsSync(join(root, "packages", name!, "bin", `${name}.cjs`)), name)
      }
    }
  })
})

/** Says something to a local port, and what comes back until it is so much. */
const talk = (port: number, text: string, length: number) =>
  Effect.promise(async () => {
    const socket = net.connect({ host: "127.0.0.1", port }).setEncoding("utf8")
    socket.write(text)
    let answer = ""
    socket.on("data", (chunk) => {
      answer += String(chunk)
      if (answer.length >= length) {
        socket.end()
      }
    })
    await once(socket, "close")
    return answer
  })

/** The kinds of lines that an output has. */
const kindsOf = (output: string) => Array.from(new Set(output.trim().split("\n").map(shapeOf))).toSorted()
