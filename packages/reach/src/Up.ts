/**
 * Runs all that a file of `tx3 up` has: a node for each service, which end with the scope, the status of all of them, and the page
 * when it is asked for. A service that has trouble with its relays or with its program tries again, and disturbs no other.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import type { FileError } from "@tx3/files/FileError"
import * as IdentityFile from "@tx3/files/IdentityFile"
import { problemOf } from "@tx3/files/SystemProblem"
import * as NodeConfig from "@tx3/node/NodeConfig"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Identity } from "@tx3/protocol/Identity"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import { folderProblemOf, removeStaleSocket } from "@tx3/sockets/UnixSocket"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as SynchronizedRef from "effect/SynchronizedRef"
import * as AllowList from "./AllowList.js"
import * as Expose from "./Expose.js"
import * as Forward from "./Forward.js"
import * as KnownFile from "./KnownFile.js"
import * as LocalEndpoint from "./LocalEndpoint.js"
import type * as Passage from "./Passage.js"
import type { Socks } from "./Socks.js"
import * as UpAllow from "./UpAllow.js"
import * as UpFile from "./UpFile.js"
import { UpFileError } from "./UpFile.js"
import type * as UpLog from "./UpLog.js"
import type * as UpPage from "./UpPage.js"
import * as UpStatus from "./UpStatus.js"

/**
 * A service that cannot be started now, though nothing is wrong with the file: its endpoint is taken, or this machine does
 * not have the address yet.
 *
 * @since 0.1.0
 * @category errors
 */
export class UpError extends Schema.TaggedError<UpError>("@tx3/reach/UpError")("UpError", {
  place: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.place}: ${this.problem}`
  }
}

/**
 * The file is up already, in another process.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadyUp extends Schema.TaggedError<AlreadyUp>("@tx3/reach/AlreadyUp")("AlreadyUp", {
  path: Schema.String,
  /** The file of the other process, which has this socket. */
  file: Schema.String,
  pid: Schema.Int
}) {
  override get message(): string {
    const other = this.file === this.path ? "is up already" : `has the same status socket as ${this.file}, which is up`
    return `${this.path} ${other}, in process ${this.pid}; tx3 status says what it does, and kill ${this.pid} ends it`
  }
}

const socketProblem = (path: string, cause: unknown) => folderProblemOf(path) ?? problemOf(cause)

/** A service that runs, and what is known of it. */
interface Running {
  readonly name: string
  readonly kind: "expose" | "forward"
  readonly endpoint: LocalEndpoint.LocalEndpoint | Socks
  readonly addresses: ReadonlyArray<string>
  readonly registrations: ReadonlyArray<RelayRegistration.RelayRegistration>
  readonly record: Record
}

/**
 * Told of what people may want to know of one service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reporter {
  readonly tell: (text: string) => Effect.Effect<void>

  /** Told of the service's node when it is made, to follow its registrations until the scope closes. */
  readonly onNode: (node: Tx3Node.Tx3Node["Type"]) => Effect.Effect<void, never, Scope.Scope>

  readonly onEvent: (event: Expose.Event | Forward.Event) => Effect.Effect<void>
}

/**
 * The options of `tx3 up` that are not in its file.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The program's version, for the status. */
  readonly version: string

  /** What has been told, for `tx3 logs`. */
  readonly log: UpLog.UpLog

  /** Makes the reporter of the service of this name. */
  readonly reporterOf: (service: string, names: KnownFile.Names) => Reporter
}

/** The events of a service, for its status. */
interface Record {
  readonly passages: Set<Passage.Passage>
  connected: number
  failed: number
}

/**
 * A file that is up: the addresses of what it exposes and the endpoints of what it forwards, each behind its service's name, and
 * how to load the file again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Started {
  readonly places: ReadonlyArray<{ readonly name: string; readonly at: string }>

  /**
   * Loads the file again. A file that cannot be used changes nothing. What has not changed goes on with its connections, except
   * those of peers that are not allowed any longer. If a service cannot be started, those before are started again.
   */
  readonly reload: Effect.Effect<UpStatus.Reloaded, UpFileError | UpError | FileError>
}

/**
 * Starts all services of a file and serves their status. Relays need not be there yet.
 *
 * @since 0.1.0
 * @category running
 */
export const start = (
  up: UpFile.Up,
  options: Options
): Effect.Effect<
  Started,
  UpFileError | UpError | AlreadyUp | KnownFile.NoKnownFile,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> =>
  Effect.gen(function*() {
    const { log, reporterOf, version } = options
    const known = yield* Option.match(up.known, {
      onNone: () => KnownFile.defaultPath,
      onSome: (path) => Effect.succeed(path)
    })
    const names = yield* KnownFile.namesIn(known)
    const scope = yield* Effect.scope
    const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
    const clock = yield* Effect.clock
    const currentTimeMillis = MonotonicTime.millis(clock)
    const began = currentTimeMillis()
    const beginOf: BeginOf = (age) => clock.unsafeCurrentTimeMillis() - age
    const since = () => beginOf(currentTimeMillis() - began)
    const failAt = (place: string) =>
      Effect.mapError(({ _tag, message: problem }: { readonly _tag: string; readonly message: string }) =>
        passing.has(_tag)
          ? new UpError({ place: `${up.path}: ${place}`, problem })
          : new UpFileError({ path: up.path, problem: `${place}: ${problem}` })
      )
    let live: ReadonlyArray<Live> = []

    const begin = (plan: Plan) =>
      Effect.gen(function*() {
        const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        const lists = yield* SubscriptionRef.make(plan.allows)
        const running = yield* plan.begin(lists).pipe(
          Scope.extend(own),
          Effect.onError(() => Scope.close(own, Exit.void)),
          failAt(placeOf(plan))
        )
        return { plan, running, lists, end: Scope.close(own, Exit.void) }
      })

    /** What a file asks for, with all that can be known to be wrong before anything is changed. */
    const planOf = (up: UpFile.Up) =>
      Effect.gen(function*() {
        const services = yield* Effect.forEach(up.expose, (service) =>
          Effect.map(failAt(`expose.${service.name}.identity`)(IdentityFile.read(service.identity)), (identity) => ({
            ...service,
            identity
          })))
        for (const [index, { identity, name }] of services.entries()) {
          const other = services.slice(0, index).find((service) => service.identity.digest === identity.digest)
          if (other !== undefined) {
            return yield* new UpFileError({
              path: up.path,
              problem:
                `expose.${name}.identity: is that of ${other.name}, too, and a peer could not say which of them it ` +
                "wants; give each its own, made with tx3 keygen FILE"
            })
          }
        }
        const exposed = yield* Effect.forEach(services, (service) =>
          failAt(`expose.${service.name}`)(planExpose(service, known, reporterOf(service.name, names))))
        const forwarded = yield* Effect.forEach(up.forward, (service) =>
          failAt(`forward.${service.name}`)(planForward(service, known, reporterOf(service.name, names))))
        return [...exposed, ...forwarded]
      })

    const reload = Effect.gen(function*() {
      const now = yield* UpFile.read(up.path)
      const plans = yield* planOf(now)
      const before = new Map(live.map((each) => [placeOf(each.plan), each]))
      const keeps = (plan: Plan) =>
        before.get(placeOf(plan))?.plan.key === plan.key
      const ended = live.filter(({ plan }) => !plans.some((other) => placeOf(other) === placeOf(plan) && keeps(other)))
      const kept = live.filter((each) => !ended.includes(each))
      yield* Effect.forEach(ended, ({ end }) => end, { discard: true })
      const begun: Array<Live> = []
      const outcome = yield* Effect.either(Effect.forEach(
        plans.filter((plan) => !keeps(plan)),
        (plan) => Effect.map(begin(plan), (each) => void begun.push(each)),
        { discard: true }
      ))
      if (Either.isLeft(outcome)) {
        yield* Effect.forEach(begun, ({ end }) => end, { discard: true })
        const [, again] = yield* Effect.partition(ended, ({ plan }) => begin(plan))
        live = [...kept, ...again]
        return yield* outcome.left
      }
      live = plans.map((plan) => [...kept, ...begun].find((each) => placeOf(each.plan) === placeOf(plan))!)
      yield* Effect.forEach(plans.filter(keeps), (plan) =>
        SubscriptionRef.set(before.get(placeOf(plan))!.lists, plan.allows), { discard: true })
      const placesIn = (services: ReadonlyArray<Live>) =>
        services.map(({ plan }) =>
          placeOf(plan)
        )
      return {
        kept: placesIn(kept),
        started: placesIn(begun),
        stopped: placesIn(ended).filter((place) => !placesIn(begun).includes(place)),
        needsRestart: [
          ...now.status === up.status ? [] : ["status"],
          ...Equal.equals(now.known, up.known) ? [] : ["known"]
        ]
      }
    }).pipe(Effect.uninterruptible, (yield* Effect.makeSemaphore(1)).withPermits(1), Effect.provide(context))

    const statusOfThese = (services: ReadonlyArray<Live>) =>
      statusOf({ beginOf, since, names, running: services.map(({ running }) => running), version, file: up.path })
    const { page } = yield* pageOf({
      files: { path: up.path, known, reload },
      log,
      status: Effect.suspend(() => {
        const services = live
        return Effect.flatMap(statusOfThese(services), (status) => withAllowed(status, services, names))
      })
    })

    // The socket comes first. With the identities of a file that is up already, this process would take the registrations away.
    const status = Effect.suspend(() => statusOfThese(live))
    yield* Layer.build(UpStatus.layer(up.status, { log, page, reload, status })).pipe(
      Effect.catchAll(({ _tag, cause }) =>
        Effect.matchEffect(UpStatus.ask(up.status), {
          onFailure: () =>
            failAt("status")(
              Effect.fail({ _tag, message: `cannot listen at unix:${up.status}: ${socketProblem(up.status, cause)}` })
            ),
          onSuccess: ({ file, pid }) => new AlreadyUp({ path: up.path, file, pid })
        })
      )
    )
    live = yield* Effect.forEach(yield* planOf(up), begin)
    return {
      reload,
      places: live.flatMap(({ running: { addresses, endpoint, kind, name } }) =>
        kind === "expose"
          ? addresses.map((at) => ({ name, at }))
          : [{ name, at: formatOf(endpoint) }]
      )
    }
  })

/** Serves the page when it is first asked for, until the scope closes. Returns what makes links to it. */
const pageOf = (options: {
  readonly files: UpAllow.Files
  readonly log: UpLog.UpLog
  readonly status: Effect.Effect<UpPage.Status>
}) =>
  Effect.gen(function*() {
    const { files, log, status } = options
    const context = yield* Effect.context<FileSystem.FileSystem | Path.Path | Scope.Scope>()
    const oneChange = (yield* Effect.makeSemaphore(1)).withPermits(1)
    const served = yield* SynchronizedRef.make<UpPage.Page | undefined>(undefined)
    const changing = (change: typeof UpAllow.allow) => (who: typeof UpAllow.Who.Type) =>
      oneChange(Effect.provide(change(files, who), context))
    const start = Effect.gen(function*() {
      const UpPage = yield* Effect.promise(() => import("./UpPage.js"))
      return yield* UpPage.make({ log, status, allow: changing(UpAllow.allow), deny: changing(UpAllow.deny) })
    })
    const started = SynchronizedRef.modifyEffect(served, (running) =>
      Effect.map(running === undefined ? start : Effect.succeed(running), (page) => [page, page]))
    const page = Effect.flatMap(started, ({ link }) =>
      link).pipe(
        Effect.mapError(({ cause }) =>
          new UpStatus.NoPage({ message: `cannot listen at 127.0.0.1: ${problemOf(cause)}` })
        ),
        // The first to ask may go away meanwhile.
        Effect.uninterruptible,
        Effect.provide(context)
      )
    return { page }
  })

/** A status with who may connect, for the page. */
const withAllowed = (
  status: UpStatus.Status,
  live: ReadonlyArray<Live>,
  names: KnownFile.Names
): Effect.Effect<UpPage.Status> =>
  Effect.gen(function*() {
    return {
      ...status,
      at: yield* Clock.currentTimeMillis,
      services: yield* Effect.forEach(status.services, (service, index) =>
        Effect.gen(function*() {
          const list = Option.getOrUndefined(yield* live[index]!.lists.get)
          const allowFile = list === undefined ? null : Option.getOrNull(list.file)
          const allowed = list === undefined
            ? null
            : yield* Effect.forEach(yield* list.peers, ([peer, where]) =>
              Effect.map(names(peer), (name) => ({
                peer,
                name: Option.getOrNull(name),
                file: where === "file" ? allowFile ?? status.file : status.file
              })))
          return { ...service, allowed, allowFile }
        }))
    }
  })

const formatOf = (endpoint: LocalEndpoint.LocalEndpoint | Socks) =>
  endpoint._tag === "Socks" ? `socks to ${endpoint.to.entries.join(" ")}` : LocalEndpoint.format(endpoint)

type Lists = SubscriptionRef.SubscriptionRef<Option.Option<AllowList.AllowList>>

/** A service that a file asks for. */
interface Plan {
  readonly kind: Running["kind"]
  readonly name: string
  /** All that a change of means another service, so not the allowlist. */
  readonly key: string
  readonly allows: Option.Option<AllowList.AllowList>
  readonly begin: (
    lists: Lists
  ) => Effect.Effect<
    Running,
    { readonly _tag: string; readonly message: string },
    FileSystem.FileSystem | Path.Path | Scope.Scope
  >
}

const placeOf = ({ kind, name }: Pick<Plan, "kind" | "name">) => `${kind}.${name}`

/** A service that runs as planned. */
interface Live {
  readonly plan: Plan
  readonly running: Running
  readonly lists: Lists
  readonly end: Effect.Effect<void>
}

/** Tags of the errors that may pass without a change of the file. */
const passing: ReadonlySet<string> = new Set(["BindError", "LocalError", "ServeError"])

type Service = Omit<UpFile.Up["expose"][number], "identity"> & { readonly identity: Identity }

const planExpose = (options: Service, known: string, reporter: Reporter) =>
  Effect.gen(function*() {
    const { allow, allowFile, allowTruncated, identity, name, relays, service } = options
    const allows = yield* AllowList.make({
      entries: allow,
      place: "allow",
      file: allowFile,
      known,
      tell: reporter.tell
    })
    const begin = (lists: Lists) =>
      Effect.gen(function*() {
        if (Option.isNone(allows)) {
          yield* reporter.tell(openToAll)
        }
        const node = yield* Effect.provide(
          Tx3Node.make({ bind: relays, identity }),
          NodeConfig.layer({ allowTruncated })
        )
        const { onEvent, record } = observe(reporter)
        yield* reporter.onNode(node)
        const isIn = (peer: CertDigest) => (allows: Option.Option<AllowList.AllowList>) =>
          Option.match(allows, { onNone: () => Effect.succeed(true), onSome: ({ allows }) => allows(peer) })
        yield* Effect.forkScoped(Expose.serve({
          node,
          service,
          allows: (peer) => Effect.flatMap(lists.get, isIn(peer)),
          revoked: (peer) =>
            lists.changes.pipe(
              Stream.mapEffect(isIn(peer)),
              Stream.takeUntil((isAllowed) => !isAllowed),
              Stream.runDrain
            ),
          onEvent
        }))
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
    const key = JSON.stringify([service, identity.digest, relays, allowTruncated])
    const plan: Plan = { kind: "expose", name, key, allows, begin }
    return plan
  })

/** The message for a service without an allowlist. */
const openToAll = "anyone who knows the address may connect; allow digests to change that"

const planForward = (service: UpFile.Up["forward"][number], known: string, reporter: Reporter) =>
  Effect.gen(function*() {
    const { allowTruncated, listen, name } = service
    const names = yield* Effect.cached(KnownFile.read(known))
    const addressesOf = (text: string) =>
      KnownFile.isName(text)
        ? Effect.flatMap(names, (known) => KnownFile.addressesOf(known, text))
        : Effect.succeed([text])
    const to = Arr.flatten(yield* Effect.forEach(service.to, addressesOf)) as [string, ...Array<string>]
    const identity = Option.getOrUndefined(yield* Effect.transposeMapOption(service.identity, IdentityFile.read))
    const begin = () =>
      Effect.gen(function*() {
        const node = yield* Effect.provide(Tx3Node.make({ identity }), NodeConfig.layer({ allowTruncated }))
        const { onEvent, record } = observe(reporter)
        if (LocalEndpoint.$is("Unix")(listen)) {
          yield* removeStaleSocket(listen.path)
        }
        const endpoint = yield* Forward.listen({ node, destination: to, endpoint: listen, onEvent })
        const running: Running = { name, kind: "forward", endpoint, addresses: to, registrations: [], record }
        return running
      })
    const key = JSON.stringify([to, listen, identity?.digest, allowTruncated])
    const plan: Plan = { kind: "forward", name, key, allows: Option.none(), begin }
    return plan
  })

/** Tells of what happens, and keeps it for the status. */
const observe = (reporter: Reporter) => {
  const record: Record = { passages: new Set(), connected: 0, failed: 0 }
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
      case "Mismatched":
      case "Denied":
      case "Failed":
        record.failed++
    }
    return reporter.onEvent(event)
  }
  return { record, onEvent }
}

/**
 * When something began, by the wall clock as it is set now. A time that was read when it began would give a wrong age once the
 * clock has been set.
 */
type BeginOf = (age: number) => number

const statusOf = (options: {
  readonly beginOf: BeginOf
  readonly since: () => number
  readonly file: string
  readonly names: KnownFile.Names
  readonly running: ReadonlyArray<Running>
  readonly version: string
}): Effect.Effect<UpStatus.Status> =>
  Effect.gen(function*() {
    const { beginOf, file, names, running, since, version } = options
    return {
      version,
      pid: process.pid,
      file,
      since: since(),
      services: yield* Effect.forEach(running, ({ addresses, endpoint, kind, name, record, registrations }) =>
        Effect.gen(function*() {
          return {
            name,
            kind,
            endpoint: formatOf(endpoint),
            addresses,
            registrations: yield* Effect.forEach(registrations, ({ relay, state }) =>
              Effect.map(state.get, (state) => ({ relay: relay.toString(), state: stateOf(state, beginOf) }))),
            connections: yield* Effect.forEach(record.passages, connectionOf(names, beginOf)),
            connected: record.connected,
            failed: record.failed
          }
        }))
    }
  })

const stateOf = (state: RelayRegistration.State, beginOf: BeginOf) =>
  RelayRegistration.State.$match(state, {
    Connecting: ({ attempt }) => ({ is: "connecting" as const, attempt }),
    Live: ({ age, contested }) => ({
      is: "live" as const,
      since: beginOf(age()),
      contested: contested?.message ?? null
    }),
    Lost: ({ because, nextTryAt }) => ({
      is: "lost" as const,
      because: because.message,
      nextTryAt: DateTime.toEpochMillis(nextTryAt)
    })
  })

const connectionOf = (names: KnownFile.Names, beginOf: BeginOf) => ({ age, carried, peer, via }: Passage.Passage) =>
  Effect.map(names(peer), (name) => {
    const { fromPeer, toPeer } = carried()
    return {
      peer,
      name: Option.getOrNull(name),
      via: hostPort(via),
      since: beginOf(age()),
      bytesFromPeer: fromPeer,
      bytesToPeer: toPeer
    }
  })

const hostPort = ({ host, port }: Passage.Passage["via"]) => LocalEndpoint.format(LocalEndpoint.Tcp({ host, port }))
