/**
 * What is measured: relays that speak tx3, and plain TCP proxies for comparison. Each is a real program, started as its
 * operator would start it, with the limits raised that the load would reach.
 */
import * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import * as RelayConfig from "@tx3/relay/RelayConfig"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { execFile } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { BenchError } from "./BenchError.js"
import * as Figure from "./Figure.js"
import * as processes from "./internal/processes.js"
import * as ProcessTree from "./ProcessTree.js"

export interface Subject {
  readonly name: string
  /** What it is, for the page. */
  readonly description: string
  readonly start:
    | { readonly speaks: "tx3"; readonly relay: Start<[], Relay> }
    | { readonly speaks: "tcp"; readonly proxy: Start<[backendPort: number], Running> }
  /** Holds a process for each connection, and is not asked for many at once. */
  readonly forks: boolean
  /** For (f), if it has rates. */
  readonly rated?: Rated
  /** For (j): the same with the limits that it has by default. */
  readonly withDefaults?: Subject
}

/** Subjects of the same name, which differ in their rates alone. */
export interface Rated {
  readonly at: (rate: Figure.Rate) => Subject
  /** Under a rate that nobody reaches. */
  readonly unreached: Subject
  /** Without one, and otherwise with the same past as `unreached`. */
  readonly unlimited: Subject
}

/** Starts it with its files in a folder; it ends with the scope. */
type Start<Args extends Array<unknown>, A> = (
  folder: string,
  ...args: Args
) => Effect.Effect<A, BenchError, Scope.Scope>

export interface Running {
  readonly process: processes.Process
  readonly host: string
  readonly port: number
}

export interface Relay extends Running {
  /** Its certificate's digest, in base64. */
  readonly digest: string
}

/** What cannot be measured here, and why. */
export interface Missing {
  readonly name: string
  readonly reason: string
}

/** More than any measurement opens. */
const plenty = 100_000

/** The environment without settings that were meant for another relay. */
export const environment = (settings: Record<string, string>) => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("TX3_"))),
  ...settings
})

/** Waits for the address list that tx3 relays print. */
export const listening = (program: processes.Process): Effect.Effect<Relay, BenchError> =>
  processes.until(
    program,
    "printing an address list",
    processes.patienceMs,
    Effect.sync(() => {
      const output = readFileSync(program.output, "utf8")
      if (!output.includes("# tx3-relay address list end #")) {
        return undefined
      }
      const address = Option.flatMap(
        Option.fromNullable(/^tx3-rst:\S+/m.exec(output)?.[0]),
        (text) => Option.getRight(Address.parseWithDigest(text))
      )
      return Option.getOrUndefined(Option.map(address, ({ digest, host, port }) => ({
        process: program,
        host,
        port,
        digest: Buffer.from(CertDigest.toBytes(digest.value)).toString("base64")
      })))
    })
  )

/** Limits that the load does not reach. */
const raised = {
  maxInboundConnections: plenty,
  maxControlStreams: plenty,
  maxControlStreamsPerIp: plenty,
  maxRelaysPerControl: plenty
}

/** Writes a file with these limits, which without `more` the original reads too. */
export const writeConfig = (
  folder: string,
  limits: Readonly<Record<string, number>>,
  more?: Readonly<Record<string, unknown>>
) =>
  Effect.gen(function*() {
    const settings = yield* RelayConfig.decode([{
      place: (key) => key,
      values: {
        bind: ["tx3-rst://127.0.0.1:0"],
        ...limits
      }
    }])
    const path = join(mkdtempSync(join(folder, "relay-")), "tx3-relay.yml")
    writeFileSync(path, Redacted.value(RelayFile.render(Option.some(yield* Identity.generate), settings, more)), {
      mode: 0o400
    })
    return path
  }).pipe(Effect.mapError((error) => new BenchError({ message: error.message })))

/** The file that starts our relay, as npm installs it. */
export const ourRelay = fileURLToPath(new URL("../../packages/tx3-relay/bin/tx3-relay.cjs", import.meta.url))

type OurTransport = "kernel" | "portable"

const ours = (transport: OurTransport): Subject => ({
  ...under(transport, {}),
  rated: {
    at: ({ settings }) => under(transport, settings),
    unreached: under(transport, Figure.unreachedRate),
    unlimited: under(transport, {})
  },
  withDefaults: under(transport, {}, false)
})

const under = (
  transport: OurTransport,
  rates: Readonly<Record<string, number>>,
  isRaised = true
): Subject => ({
  name: transport,
  description: `our relay, ${transport} transport`,
  forks: false,
  start: {
    speaks: "tx3",
    relay: (folder) =>
      Effect.flatMap(
        writeConfig(folder, isRaised ? raised : {}, { admin: "off", ...rates }),
        (file) => startOurs(folder, { name: transport, file, transport, env: isRaised ? raisedEnvironment : {} })
      )
  }
})

const raisedEnvironment = {
  TX3_RELAY_CONNECTION_RATE_PER_IP: String(plenty),
  TX3_RELAY_MAX_INBOUND_PER_IP: String(plenty),
  TX3_RELAY_MAX_HANDSHAKES: String(plenty),
  TX3_RELAY_MAX_HANDSHAKES_PER_IP: String(plenty)
}

/** Starts our relay with a file, and sees that it takes the transport. */
const startOurs = (
  folder: string,
  { env, file, name, transport }: {
    readonly name: string
    readonly file: string
    readonly transport: OurTransport
    readonly env: Record<string, string>
  }
) =>
  Effect.gen(function*() {
    const program = yield* processes.start(process.execPath, [ourRelay, "--config", file], {
      name,
      folder,
      env: environment({ TX3_RELAY_TRANSPORT: transport, ...env })
    })
    const relay = yield* listening(program)
    const log = readFileSync(program.log, "utf8")
    if (!new RegExp(`transport="?${transport}\\b`).test(log)) {
      return yield* new BenchError({
        message: `the relay did not take the ${transport} transport; its log: ${program.log}`
      })
    }
    return relay
  })

/** NATS, and three members on it with the limits that the load would reach raised; a relay alone beside them. */
export interface Cluster {
  readonly engine: processes.Process
  /** `nats://HOST:PORT`. */
  readonly server: string
  readonly members: readonly [Relay, Relay, Relay]
  readonly alone: Relay
}

/** The program of NATS. */
export const natsServer = "nats-server"

/** Starts a cluster, which ends with the scope. */
export const startCluster = (folder: string): Effect.Effect<Cluster, BenchError, Scope.Scope> =>
  Effect.gen(function*() {
    const engine = yield* processes.start(natsServer, ["-a", "127.0.0.1", "-p", "-1"], {
      name: natsServer,
      folder,
      env: environment({})
    })
    const port = yield* processes.until(
      engine,
      "listening",
      processes.patienceMs,
      Effect.sync(() =>
        /client connections on 127\.0\.0\.1:(\d+)[^]*Server is ready/.exec(readFileSync(engine.log, "utf8"))?.[1]
      )
    )
    const server = `nats://127.0.0.1:${port}`
    const file = yield* writeConfig(folder, raised, { admin: "off" })
    const relay = (name: string, env: Record<string, string>) =>
      startOurs(folder, { name, file, transport: "kernel", env: { ...raisedEnvironment, ...env } })
    const member = (name: string) =>
      relay(name, { TX3_RELAY_CLUSTER_NATS: server, TX3_RELAY_CLUSTER_LISTEN: "tx3-link://127.0.0.1:0" })
    return {
      engine,
      server,
      members: [yield* member("member-a"), yield* member("member-b"), yield* member("member-c")],
      alone: yield* relay("alone", {})
    }
  })

const floor: Subject = {
  name: "floor",
  description: "a minimal relay in plain node, without limits (src/floor.ts)",
  forks: false,
  start: {
    speaks: "tx3",
    relay: (folder) =>
      Effect.flatMap(
        processes.start(process.execPath, [fileURLToPath(new URL("../dist/floor.js", import.meta.url))], {
          name: "floor",
          folder,
          env: environment({})
        }),
        listening
      )
  }
}

/** Another tx3 relay, from `NAME=COMMAND` where `{config}` stands for the file it is given. */
export const custom = ({ command, name }: { readonly name: string; readonly command: string }): Subject => ({
  name,
  description: `another tx3 relay: ${command}`,
  forks: false,
  start: {
    speaks: "tx3",
    relay: (folder) =>
      Effect.flatMap(writeConfig(folder, raised), (config) =>
        Effect.flatMap(
          processes.start("sh", ["-c", `exec ${command.replaceAll("{config}", `'${config}'`)}`], {
            name,
            folder,
            env: environment({})
          }),
          listening
        ))
  }
})

/** A port that was free just now, for programs that cannot choose one themselves. */
const freePort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen({ host: "127.0.0.1", port: 0 }, () => {
    const { port } = server.address() as { port: number }
    server.close(() => resume(Effect.succeed(port)))
  })
})

const accepts = (port: number) =>
  Effect.async<true | undefined>((resume) => {
    const socket = connect({ host: "127.0.0.1", port })
    const end = (result: true | undefined) => {
      socket.destroy()
      resume(Effect.succeed(result))
    }
    socket.once("connect", () => end(true)).once("error", () => end(undefined))
  })

const proxy = (options: {
  readonly name: string
  readonly description: string
  readonly forks?: boolean
  /** The command that forwards 127.0.0.1:`port` to 127.0.0.1:`backend`; it may write files into `folder`. */
  readonly command: (port: number, backend: number, folder: string) => readonly [string, ...ReadonlyArray<string>]
}): Subject => ({
  name: options.name,
  description: options.description,
  forks: options.forks ?? false,
  start: {
    speaks: "tcp",
    proxy: (folder, backend) =>
      Effect.gen(function*() {
        const port = yield* freePort
        const own = mkdtempSync(join(folder, `${options.name}-`))
        const [command, ...args] = options.command(port, backend, own)
        const program = yield* processes.start(command, args, { name: options.name, folder, env: environment({}) })
        yield* processes.until(program, "listening", processes.patienceMs, accepts(port))
        return { process: program, host: "127.0.0.1", port }
      })
  }
})

/** What a command says about its version, on whichever stream. */
const versionText = (command: string, ...args: ReadonlyArray<string>) =>
  Effect.async<Option.Option<string>>((resume) => {
    execFile(command, args, (error, stdout, stderr) => {
      resume(Effect.succeed(error === null ? Option.some(`${stdout}${stderr}`) : Option.none()))
    })
  })

const write = (folder: string, name: string, lines: ReadonlyArray<string>) => {
  const path = join(folder, name)
  writeFileSync(path, `${lines.join("\n")}\n`)
  return path
}

/** Descriptors of a subject that are not its connections': pipes, listeners, files. */
const spareDescriptors = () => Math.min(1500, Math.floor(ProcessTree.descriptorLimit() / 4))

/** Pairs of connections that a subject may have open here. */
export const mostSplices = () => Math.min(10_000, Math.floor((ProcessTree.descriptorLimit() - spareDescriptors()) / 2))

const haproxy = (version: string): Subject =>
  proxy({
    name: "haproxy",
    description: `HAProxy ${/version (\S+)/.exec(version)?.[1] ?? ""}, one thread, splice on`,
    command: (port, backend, folder) => [
      "haproxy",
      "-db",
      "-f",
      write(folder, "haproxy.cfg", [
        "global",
        "  nbthread 1",
        `  maxconn ${mostSplices()}`,
        `  maxpipes ${Math.floor(spareDescriptors() / 3)}`,
        "defaults",
        "  mode tcp",
        "  timeout connect 10s",
        "  timeout client 1h",
        "  timeout server 1h",
        "  option splice-request",
        "  option splice-response",
        "listen bench",
        `  bind 127.0.0.1:${port}`,
        `  server backend 127.0.0.1:${backend}`
      ])
    ]
  })

/** Where nginx has its stream module, if not in itself. */
const streamModule = (version: string) =>
  version.includes("--with-stream=dynamic")
    ? join(/--modules-path=(\S+)/.exec(version)?.[1] ?? "/usr/lib/nginx/modules", "ngx_stream_module.so")
    : undefined

const hasStream = (version: string) => {
  const path = streamModule(version)
  return path === undefined ? /--with-stream(\s|$)/.test(version) : existsSync(path)
}

const nginx = (version: string): Subject => {
  const module = streamModule(version)
  return proxy({
    name: "nginx",
    description: `nginx ${/nginx\/(\S+)/.exec(version)?.[1] ?? ""} stream, one worker`,
    command: (port, backend, folder) => [
      "nginx",
      "-p",
      folder,
      "-e",
      "stderr",
      "-c",
      write(folder, "nginx.conf", [
        ...module === undefined ? [] : [`load_module ${module};`],
        "daemon off;",
        "worker_processes 1;",
        `pid ${join(folder, "nginx.pid")};`,
        "error_log stderr;",
        `events { worker_connections ${2 * mostSplices()}; }`,
        "stream {",
        "  server {",
        `    listen 127.0.0.1:${port} backlog=4096;`,
        `    proxy_pass 127.0.0.1:${backend};`,
        "    proxy_timeout 1h;",
        "    tcp_nodelay on;",
        "  }",
        "}"
      ])
    ]
  })
}

const socat = (version: string): Subject =>
  proxy({
    name: "socat",
    description: `socat ${/socat version (\S+)/.exec(version)?.[1] ?? ""}, a process for each connection`,
    forks: true,
    command: (port, backend) => [
      "socat",
      `TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096`,
      `TCP:127.0.0.1:${backend},nodelay`
    ]
  })

/** Everything that can be measured here, in the order of the tables, and what is not installed. */
export const discover = Effect.gen(function*() {
  const found: Array<Subject> = [ours("kernel"), ours("portable"), floor]
  const missing: Array<Missing> = []
  const look = (
    name: string,
    version: Option.Option<string>,
    make: (version: string) => Subject,
    hint: string
  ) => {
    if (Option.isSome(version)) {
      found.push(make(version.value))
    } else {
      missing.push({ name, reason: `not installed (${hint})` })
    }
  }
  look("haproxy", yield* versionText("haproxy", "-v"), haproxy, "apt-get install haproxy")
  look(
    "nginx",
    Option.filter(yield* versionText("nginx", "-V"), hasStream),
    nginx,
    "apt-get install nginx libnginx-mod-stream"
  )
  look("socat", yield* versionText("socat", "-V"), socat, "apt-get install socat")
  return { found, missing, hasNats: Option.isSome(yield* versionText(natsServer, "--version")) }
})
