/**
 * Runs all that a file of `tx3 up` has: a node for each service, which end with the scope, and the status of all of them. A
 * service that has trouble with its relays or with its program tries again, and disturbs no other.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Expose from "@tx3/node/Expose"
import * as Forward from "@tx3/node/Forward"
import * as LocalEndpoint from "@tx3/node/LocalEndpoint"
import type * as Passage from "@tx3/node/Passage"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type { Identity } from "@tx3/protocol/Identity"
import { removeStaleSocket } from "@tx3/sockets/UnixSocket"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as AllowList from "./AllowList.js"
import * as IdentityFile from "./IdentityFile.js"
import { problemOf } from "./internal/problemOf.js"
import * as tell from "./internal/tell.js"
import { version } from "./internal/version.js"
import * as KnownFile from "./KnownFile.js"
import type * as UpFile from "./UpFile.js"
import { UpFileError } from "./UpFile.js"
import * as UpStatus from "./UpStatus.js"
import type { UsageError } from "./UsageError.js"

/**
 * A service that cannot be started now, though nothing is wrong with the file: its endpoint is taken, or this machine does
 * not have the address yet.
 *
 * @since 0.1.0
 * @category errors
 */
export class UpError extends Schema.TaggedError<UpError>("@tx3/cli/UpError")("UpError", {
  place: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.place}: ${this.problem}`
  }
}

/** A service that runs, and what is known of it. */
interface Running {
  readonly name: string
  readonly kind: "expose" | "forward"
  readonly endpoint: LocalEndpoint.LocalEndpoint
  readonly addresses: ReadonlyArray<string>
  readonly registrations: ReadonlyArray<RelayRegistration.RelayRegistration>
  readonly record: Record
}

/** What a service has told. */
interface Record {
  readonly passages: Set<Passage.Passage>
  connected: number
  failed: number
}

/**
 * Starts all services of a file and serves their status. Gives the addresses of what is exposed and the endpoints of what is
 * forwarded, each behind its service's name. Relays need not be there yet.
 *
 * @since 0.1.0
 * @category running
 */
export const start = (
  up: UpFile.Up
): Effect.Effect<
  ReadonlyArray<{ readonly name: string; readonly at: string }>,
  UpFileError | UpError | UsageError,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> =>
  Effect.gen(function*() {
    const known = yield* Option.match(up.known, {
      onNone: () => KnownFile.defaultPath,
      onSome: (path) => Effect.succeed(path)
    })
    const names = yield* KnownFile.namesIn(known)
    const since = yield* Clock.currentTimeMillis
    const failAt = (place: string) =>
      Effect.mapError(({ _tag, message: problem }: { readonly _tag: string; readonly message: string }) =>
        passing.has(_tag)
          ? new UpError({ place: `${up.path}: ${place}`, problem })
          : new UpFileError({ path: up.path, problem: `${place}: ${problem}` })
      )

    const services = yield* Effect.forEach(up.expose, (options) =>
      Effect.map(failAt(`expose.${options.name}.identity`)(IdentityFile.read(options.identity)), (identity) => ({
        ...options,
        identity
      })))
    for (const [index, { identity, name }] of services.entries()) {
      const other = services.slice(0, index).find((service) =>
        service.identity.digest === identity.digest
      )
      if (other !== undefined) {
        return yield* new UpFileError({
          path: up.path,
          problem:
            `expose.${name}.identity: is that of ${other.name}, too, and a peer could not say which of them it ` +
            "wants; give each its own, made with tx3 keygen FILE"
        })
      }
    }
    const exposed = yield* Effect.forEach(services, (options) =>
      failAt(`expose.${options.name}`)(expose(options, known, names)))
    const forwarded = yield* Effect.forEach(up.forward, (options) =>
      failAt(`forward.${options.name}`)(forward(options, names)))
    const running = [...exposed, ...forwarded]

    yield* removeStaleSocket(up.status)
    yield* failAt("status")(
      Layer.build(UpStatus.layer(up.status, statusOf({ since, names, running, file: up.path }))).pipe(
        Effect.mapError(({ _tag, cause }) => ({
          _tag,
          message: `cannot listen at unix:${up.status}: ${problemOf(cause)}`
        }))
      )
    )
    return running.flatMap(({ addresses, endpoint, kind, name }) =>
      kind === "expose"
        ? addresses.map((at) => ({ name, at }))
        : [{ name, at: LocalEndpoint.format(endpoint) }]
    )
  })

/** Tags of the errors that may pass without a change of the file. */
const passing: ReadonlySet<string> = new Set(["BindError", "LocalError", "ServeError"])

type Service = Omit<UpFile.Up["expose"][number], "identity"> & { readonly identity: Identity }

const expose = (options: Service, known: string, names: KnownFile.Names) =>
  Effect.gen(function*() {
    const { allow, allowFile, identity, name, relays, service } = options
    const say = tell.about(name)
    const allows = yield* AllowList.make({ entries: allow, place: "allow", file: allowFile, known, tell: say })
    if (Option.isNone(allows)) {
      yield* say(openToAll)
    }
    const node = yield* Tx3Node.make({ bind: relays, identity })
    const { onEvent, record } = observe(say, names)
    yield* tell.registrations(say, node)
    yield* Effect.forkScoped(Expose.serve({ node, service, allows: Option.getOrUndefined(allows), onEvent }))
    const running: Running = {
      name,
      kind: "expose",
      endpoint: service,
      addresses: node.addresses.map(String),
      registrations: node.registrations,
      record
    }
    return running
  })

/** What is said where nobody was named who may connect. */
const openToAll = "anyone who knows the address may connect; allow digests to change that"

const forward = ({ identity, listen, name, to }: UpFile.Up["forward"][number], names: KnownFile.Names) =>
  Effect.gen(function*() {
    const node = yield* Tx3Node.make({
      identity: Option.getOrUndefined(yield* Effect.transposeMapOption(identity, IdentityFile.read))
    })
    const { onEvent, record } = observe(tell.about(name), names)
    if (LocalEndpoint.$is("Unix")(listen)) {
      yield* removeStaleSocket(listen.path)
    }
    const endpoint = yield* Forward.listen({ node, destination: to, endpoint: listen, onEvent })
    const running: Running = { name, kind: "forward", endpoint, addresses: to, registrations: [], record }
    return running
  })

/** Tells of what happens, and keeps it for the status. */
const observe = (say: tell.Tell, names: KnownFile.Names) => {
  const record: Record = { passages: new Set(), connected: 0, failed: 0 }
  const toldOf = tell.events(say, names)
  const onEvent = (event: Expose.Event | Forward.Event) => {
    switch (event._tag) {
      case "Opened":
        record.passages.add(event.passage)
        record.connected++
        break
      case "Closed":
        record.passages.delete(event.passage)
        break
      case "Refused":
      case "Unavailable":
      case "Failed":
        record.failed++
    }
    return toldOf(event)
  }
  return { record, onEvent }
}

const statusOf = (options: {
  readonly since: number
  readonly file: string
  readonly names: KnownFile.Names
  readonly running: ReadonlyArray<Running>
}): Effect.Effect<UpStatus.Status> =>
  Effect.gen(function*() {
    const { file, names, running, since } = options
    return {
      version,
      file,
      since,
      services: yield* Effect.forEach(running, ({ addresses, endpoint, kind, name, record, registrations }) =>
        Effect.gen(function*() {
          return {
            name,
            kind,
            endpoint: LocalEndpoint.format(endpoint),
            addresses,
            registrations: yield* Effect.forEach(registrations, ({ relay, state }) =>
              Effect.map(state.get, (state) => ({ relay: relay.toString(), state: stateOf(state) }))),
            connections: yield* Effect.forEach(record.passages, connectionOf(names)),
            connected: record.connected,
            failed: record.failed
          }
        }))
    }
  })

const stateOf = RelayRegistration.State.$match({
  Connecting: ({ attempt }) => ({ is: "connecting" as const, attempt }),
  Live: ({ contested, since }) => ({
    is: "live" as const,
    since: DateTime.toEpochMillis(since),
    contested: contested?.message ?? null
  }),
  Lost: ({ because, nextTryAt }) => ({
    is: "lost" as const,
    because: because.message,
    nextTryAt: DateTime.toEpochMillis(nextTryAt)
  })
})

const connectionOf = (names: KnownFile.Names) => ({ carried, peer, since, via }: Passage.Passage) =>
  Effect.map(names(peer), (name) => {
    const { fromPeer, toPeer } = carried()
    return {
      peer,
      name: Option.getOrNull(name),
      via: hostPort(via),
      since,
      bytesFromPeer: fromPeer,
      bytesToPeer: toPeer
    }
  })

const hostPort = ({ host, port }: Passage.Passage["via"]) => LocalEndpoint.format(LocalEndpoint.Tcp({ host, port }))
