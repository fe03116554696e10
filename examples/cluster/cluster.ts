/**
 * Three relays as one, on one machine: NATS, three members, and HAProxy before them. All of it ends together.
 */
import { Command, type CommandExecutor, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { join } from "node:path"

const [first = ""] = process.argv.slice(2)

// HAProxy has the first port, and what is behind it the next ones.
const port = Number(first)
const nats = port + 1
const members = ["a", "b", "c"].map((name, index) => ({ name, relay: port + 10 + index, metrics: port + 20 + index }))
const PATH = `${process.env["PATH"]}:/usr/local/sbin:/usr/sbin`

const start = (program: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Command.make(program, ...args).pipe(Command.env({ PATH, ...env }), Command.stderr("inherit"), Command.start)

const tx3Relay = ["packages/tx3-relay/bin/tx3-relay.cjs"]

const haproxyFile = `
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen relay
  bind 127.0.0.1:${port}
  balance roundrobin
  option httpchk GET /readyz
  default-server inter 500ms rise 1 fall 1 send-proxy-v2 check
${members.map(({ metrics, name, relay }) => `  server ${name} 127.0.0.1:${relay} port ${metrics}`).join("\n")}
`

/** A relay prints its address when it is ready. */
const addressOf = ({ stdout }: CommandExecutor.Process) =>
  stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.filter((line) => line.startsWith("tx3-rst:")),
    Stream.runHead,
    Effect.flatten
  )

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const file = join(folder, "relay.yml")
  yield* start("nats-server", ["-a", "127.0.0.1", "-p", `${nats}`, "-l", join(folder, "nats.log")])

  // The members have the same identity, and publish the address of HAProxy.
  const make = yield* start(process.execPath, [...tx3Relay, "--init", "--config", file, "--port", `${port}`])
  yield* make.exitCode
  const processes = yield* Effect.forEach(
    members,
    ({ metrics, name, relay }) =>
      start(process.execPath, [...tx3Relay, "--config", file], {
        TX3_RELAY_BIND: `tx3-rst://127.0.0.1:${relay}`,
        TX3_RELAY_ADVERTISE: `tx3-rst://127.0.0.1:${port}`,
        TX3_RELAY_PROXY_PROTOCOL_FROM: "127.0.0.1",
        TX3_RELAY_ADMIN: `unix:${folder}/${name}.sock`,
        TX3_RELAY_METRICS: `http://127.0.0.1:${metrics}`,
        TX3_RELAY_CLUSTER_NATS: `nats://127.0.0.1:${nats}`,
        TX3_RELAY_CLUSTER_LISTEN: "tx3-link://127.0.0.1:0"
      })
  )
  const [address] = yield* Effect.forEach(processes, addressOf, { concurrency: "unbounded" })

  yield* fs.writeFileString(join(folder, "haproxy.cfg"), haproxyFile)
  yield* start("haproxy", ["-f", join(folder, "haproxy.cfg")])
  for (const [index, { name }] of members.entries()) {
    yield* Console.log(`member ${name} is process ${processes[index]!.pid}`)
  }
  yield* Console.log(`one relay at ${address}`)
  return yield* Effect.never
})

program.pipe(Effect.scoped, Effect.provide(NodeContext.layer), NodeRuntime.runMain)
