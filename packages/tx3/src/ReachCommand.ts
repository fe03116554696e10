/**
 * The commands of `tx3` that make a service of one machine reachable from another: expose, forward and connect, several of
 * them from one file with up, and what up is doing with status. What the last two need, HTTP, takes a third of a second to
 * load, which connect as a ProxyCommand should not wait for.
 *
 * @since 0.1.0
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import { endStdout } from "@tx3/command/EndStdout"
import { printableLines } from "@tx3/command/Printable"
import { repeatable } from "@tx3/command/Repeatable"
import { bytes, duration, table } from "@tx3/command/Table"
import { UsageError } from "@tx3/command/UsageError"
import { problemOf } from "@tx3/files/SystemProblem"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import type * as Tx3Node from "@tx3/node/Tx3Node"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Expose from "@tx3/reach/Expose"
import * as Forward from "@tx3/reach/Forward"
import * as KnownFile from "@tx3/reach/KnownFile"
import * as LocalEndpoint from "@tx3/reach/LocalEndpoint"
import * as Pipe from "@tx3/reach/Pipe"
import * as UpFile from "@tx3/reach/UpFile"
import type * as UpStatus from "@tx3/reach/UpStatus"
import { removeStaleSocket } from "@tx3/sockets/UnixSocket"
import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { allow, allowFile, allowsOf, known, knownPath } from "./internal/allowed.js"
import {
  addresses,
  allowTruncated,
  argument,
  connectingNode,
  destinationOf,
  identity,
  listeningNode
} from "./internal/nodes.js"
import { events, reporterOf, tell } from "./internal/tell.js"
import { build } from "./internal/version.js"

const via = repeatable("via").pipe(
  Options.withPseudoName("ADDRESS"),
  Options.withDescription(
    "Where to be reached: through a relay, at the address that it prints; or directly, at tx3-st://HOST:PORT of this " +
      "machine; may be repeated"
  ),
  Options.atLeast(1)
)

const service = argument("SERVICE").pipe(
  Args.withDescription("What to expose: HOST:PORT, as 127.0.0.1:22, or unix:PATH")
)

const expose = Command.make(
  "expose",
  { identity, via, allow, allowFile, allowTruncated, known, service },
  ({ allow, allowFile, allowTruncated, identity, known, service, via }) =>
    Effect.gen(function*() {
      const target = yield* LocalEndpoint.parse(service)
      const path = yield* knownPath(known)
      const allows = yield* allowsOf({ allow, allowFile, known })
      const node = yield* listeningNode(identity, via, { allowTruncated, requireRegistration: false })
      if (Option.isNone(identity)) {
        yield* tell("without --identity the address is another one each time")
      }
      if (Option.isNone(allows)) {
        yield* tell("anyone who knows the address may connect; --allow DIGEST changes that")
      }
      yield* untilReachable(node)
      yield* Console.log(node.addresses.join("\n"))
      return yield* Expose.serve({
        node,
        service: target,
        allows: Option.getOrUndefined(allows),
        onEvent: events(tell, yield* KnownFile.namesIn(path))
      })
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "Makes a service of this machine reachable, and prints its address when it is. The service sees connections from this " +
      "machine, and nothing of peers that are not allowed. Registers again by itself whenever a relay is lost."
  )
)

/** Waits until somebody can come, directly or through a relay. */
const untilReachable = ({ addresses, registrations }: Tx3Node.Tx3Node["Type"]) =>
  addresses.length > registrations.length
    ? Effect.void
    : Effect.raceAll(
      registrations.map(({ state }) =>
        Stream.runHead(Stream.filter(state.changes, RelayRegistration.State.$is("Live")))
      )
    )

const name = Options.text("name").pipe(
  Options.withPseudoName("NAME"),
  Options.withDescription(
    "Whom it is to be: gives the digest that the address ends in this name in the file of names, once it has answered; " +
      "refuses to connect if that is somebody else's name there"
  ),
  Options.optional
)

/**
 * What is done when the other end has answered: it gets the name that was asked for. Without one, somebody who has no name is
 * shown, and nothing is kept.
 */
const introduction = (digest: CertDigest, name: Option.Option<string>, known: Option.Option<string>) =>
  Effect.gen(function*() {
    const path = yield* knownPath(known)
    if (Option.isSome(name)) {
      yield* KnownFile.check(yield* KnownFile.read(path), digest, name.value)
    }
    const context = yield* Effect.context<Effect.Effect.Context<ReturnType<typeof KnownFile.add>>>()
    const introduce = Effect.gen(function*() {
      const known = yield* KnownFile.read(path)
      if (Option.isSome(name)) {
        if (yield* KnownFile.add(known, digest, name.value)) {
          yield* tell(`${digest} is ${name.value} from now on, in ${path}`)
        }
      } else if (!known.names.has(digest)) {
        yield* tell(`${digest} has answered, who has no name here; --name NAME gives one`)
      }
    }).pipe(Effect.catchAll((error) => tell(error.message)), Effect.provide(context))
    return { introduce: yield* Effect.once(introduce), path }
  })

const listen = Options.text("listen").pipe(
  Options.withPseudoName("ENDPOINT"),
  Options.withDescription(
    "Where programs of this machine connect to: HOST:PORT, as 127.0.0.1:2222, with port 0 for any free one, or unix:PATH"
  )
)

const forward = Command.make(
  "forward",
  { identity, listen, name, known, allowTruncated, addresses },
  ({ addresses, allowTruncated, identity, known, listen, name }) =>
    Effect.gen(function*() {
      const { destination, digest } = yield* destinationOf(addresses)
      const { introduce, path } = yield* introduction(digest, name, known)
      const at = yield* LocalEndpoint.parse(listen)
      const node = yield* connectingNode(identity, { allowTruncated })
      if (LocalEndpoint.$is("Unix")(at)) {
        yield* removeStaleSocket(at.path)
      }
      const toldOf = events(tell, yield* KnownFile.namesIn(path))
      const bound = yield* Forward.listen({
        node,
        destination,
        endpoint: at,
        onEvent: (event) => event._tag === "Opened" ? Effect.zipRight(introduce, toldOf(event)) : toldOf(event)
      })
      yield* tell(`connecting as ${node.digest}`)
      yield* Console.log(LocalEndpoint.format(bound))
      return yield* Effect.never
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "Makes what somebody exposes reachable on this machine, and prints where: each connection there is one to the address. " +
      "Nothing is connected before the first."
  )
)

const connect = Command.make(
  "connect",
  { identity, name, known, allowTruncated, addresses },
  ({ addresses, allowTruncated, identity, known, name }) =>
    Effect.gen(function*() {
      const { destination, digest } = yield* destinationOf(addresses)
      const { introduce } = yield* introduction(digest, name, known)
      const node = yield* connectingNode(identity, { allowTruncated })
      const connection = yield* node.connect(destination)
      yield* introduce
      yield* Pipe.run(connection, process, { endStdout, ownDigest: node.digest })
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(HelpDoc.blocks([
    HelpDoc.p(
      "Connects to an address and joins the connection to stdin and stdout, until both ends have ended what they send."
    ),
    HelpDoc.p("For ssh it is a ProxyCommand: ssh -o ProxyCommand='tx3 connect ADDRESS' home")
  ]))
)

const config = Options.text("config").pipe(
  Options.withAlias("c"),
  Options.withPseudoName("FILE"),
  Options.withDescription("What to expose and to forward; ./tx3.yml without it"),
  Options.withFallbackConfig(Config.string("TX3_CONFIG")),
  Options.withDefault("./tx3.yml")
)

const up = Command.make("up", { config }, ({ config }) =>
  Effect.gen(function*() {
    const Up = yield* Effect.promise(() => import("@tx3/reach/Up"))
    const places = yield* Up.start(yield* UpFile.read(config), { version: build.version, reporterOf })
    yield* Console.log(places.map(({ at, name }) => `${name} ${at}`).join("\n"))
    return yield* Effect.never
  }).pipe(Effect.scoped)).pipe(
    Command.withDescription(
      "Exposes and forwards all that a file says, and prints the addresses of what it exposes and the endpoints of what it " +
        "forwards. Runs until a signal ends it, whatever becomes of relays and services."
    )
  )

const status = Command.make(
  "status",
  { config, json: Options.boolean("json").pipe(Options.withDescription("Print JSON")) },
  ({ config, json }) =>
    Effect.gen(function*() {
      const UpStatus = yield* Effect.promise(() => import("@tx3/reach/UpStatus"))
      const { status: path } = yield* UpFile.read(config)
      const status = yield* Effect.mapError(UpStatus.ask(path), (error) =>
        new UsageError({ message: `no tx3 up runs with ${config} (${path}: ${reasonOf(error)})` }))
      yield* Console.log(
        json ? JSON.stringify(status, undefined, 2) : printableLines(yield* forPeople(status))
      )
    })
).pipe(Command.withDescription("Says what a running tx3 up is doing: every registration and every connection"))

const reasonOf = ({ cause, message }: { readonly cause?: unknown; readonly message: string }) =>
  cause === undefined ? message : problemOf(cause)

const forPeople = ({ file, services, since, version }: UpStatus.Status) =>
  Effect.clockWith((clock) => clock.currentTimeMillis).pipe(Effect.map((now) => {
    const ago = (time: number) => duration((now - time) / 1_000)
    const registrations = services.flatMap(({ name, registrations }) =>
      registrations.map(({ relay, state }) => [
        name,
        relay,
        state.is === "live"
          ? `live for ${ago(state.since)}${state.contested === null ? "" : `, and not for long: ${state.contested}`}`
          : state.is === "connecting"
          ? `connecting, try ${state.attempt}`
          : `lost, next try in ${duration(Math.max(0, state.nextTryAt - now) / 1_000)}: ${state.because}`
      ])
    )
    const connections = services.flatMap(({ connections, name }) =>
      connections.map((connection) => [
        name,
        connection.name ?? connection.peer,
        connection.via,
        ago(connection.since),
        bytes(connection.bytesFromPeer),
        bytes(connection.bytesToPeer)
      ])
    )
    return [
      `tx3 ${version} up with ${file} for ${ago(since)}`,
      "",
      table(
        ["service", "", "here", "connections", "since the start", "failed"],
        services.map((
          { connected, connections, endpoint, failed, kind, name }
        ) => [name, `${kind}s`, endpoint, connections.length, connected, failed])
      ),
      ...Arr.isNonEmptyArray(registrations) ? ["", table(["service", "relay", "registration"], registrations)] : [],
      ...Arr.isNonEmptyArray(connections)
        ? ["", table(["service", "with", "via", "for", "from there", "to there"], connections)]
        : [],
      "",
      ...services.flatMap(({ addresses, name }) => addresses.map((address) => `${name} ${address}`))
    ].join("\n")
  }))

/**
 * These commands, to be found in `tx3`.
 *
 * @since 0.1.0
 * @category commands
 */
export const commands = [expose, forward, connect, up, status] as const
