/**
 * The actions of an operator on a running relay. Each action is logged and noted in the journal. The module's only state is
 * whether the relay has been told to drain.
 *
 * @since 0.1.0
 */
import { AccessControl } from "@tx3/policy/AccessControl"
import type { ReloadReport } from "@tx3/policy/LiveSettings"
import { LiveSettings } from "@tx3/policy/LiveSettings"
import type * as CertDigest from "@tx3/protocol/CertDigest"
import * as Relay from "@tx3/relay/Relay"
import type { Party } from "@tx3/relay/RelayEvents"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as LogLevel from "effect/LogLevel"
import { NotFound, Refused } from "./ActionError.js"
import { LogLevelSwitch } from "./LogLevelSwitch.js"
import { RelayJournal } from "./RelayJournal.js"

/**
 * Performs an operator's actions on a running relay. An action that fails has changed nothing, and its message says why.
 *
 * @since 0.1.0
 * @category services
 */
export class RelayActions extends Context.Tag("@tx3/operate/RelayActions")<RelayActions, {
  /** Ends a node's control stream and its splices: how many connections that were. It may come back. */
  readonly kickNode: (start: string) => Effect.Effect<number, NotFound | Refused>

  /** Ends the splice of a peer's connection. */
  readonly kickSplice: (connection: number) => Effect.Effect<number, NotFound>

  /** Keeps a node or an address out, and ends what it has: how many connections that were. */
  readonly ban: (who: string) => Effect.Effect<number, Refused>

  /** Takes a ban back. Fails if there is none. */
  readonly unban: (who: string) => Effect.Effect<void, NotFound>

  /** Begins to drain: how many splices there are to wait for. */
  readonly drain: Effect.Effect<number>

  /** Waits until the relay has been told to drain, and has. */
  readonly drained: Effect.Effect<void>

  /** Changes the lowest level that is logged, until the process ends. */
  readonly setLogLevel: (level: LogLevel.LogLevel) => Effect.Effect<void>

  /** Loads the settings again, all or nothing. */
  readonly reload: Effect.Effect<ReloadReport, Refused>
}>() {}

/** Characters of a digest that must be given at least. */
const startMin = 6

/**
 * Acts on the relay, the bans, the settings and the log level that are provided to it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  RelayActions,
  never,
  AccessControl | LiveSettings | LogLevelSwitch | Relay.Relay | RelayJournal
> = Layer.scoped(
  RelayActions,
  Effect.gen(function*() {
    const access = yield* AccessControl
    const journal = yield* RelayJournal
    const live = yield* LiveSettings
    const logLevel = yield* LogLevelSwitch
    const relay = yield* Relay.Relay
    const scope = yield* Effect.scope
    const drained = yield* Deferred.make<void>()

    const note = (text: string) =>
      Effect.zipRight(Effect.sync(() => journal.note(text)), Effect.logInfo(`operator: ${text}`))

    /** Ends all control streams, splices and forwarded connections of these, and turns their waiting peers away. */
    const end = (
      which: (party: Pick<Party, "source"> & { readonly node: CertDigest.CertDigest | undefined }) => boolean
    ) =>
      Effect.suspend(() => {
        const sessions = Array.from(relay.controlStreams()).filter(which)
        const carried = [...relay.splices(), ...relay.membership?.forwards() ?? []].filter(which)
        const peers = Array.from(relay.pending(), ({ peer, session: { node } }) => ({ peer, node })).filter(
          ({ node, peer }) => which({ node, source: peer.source })
        )
        peers.forEach(({ peer }) => peer.turnAway("denied"))
        sessions.forEach((session) => session.end("kicked"))
        return Effect.as(
          Effect.forEach(carried, ({ reset }) => reset, { discard: true }),
          sessions.length + carried.length + peers.length
        )
      })

    /** A node that is gone may have splices still. */
    const nodesThatStart = (start: string): Array<CertDigest.CertDigest> =>
      Array.from(new Set([...relay.controlStreams(), ...relay.splices()].map(({ node }) => node)))
        .filter((node) => node.startsWith(start))

    const drain = yield* Effect.cached(
      relay.drain.pipe(
        Effect.zipRight(note("drained")),
        Effect.intoDeferred(drained),
        Effect.forkIn(scope)
      )
    )

    return {
      kickNode: (start) =>
        Effect.gen(function*() {
          if (start.length < startMin) {
            return yield* new Refused({
              message: `give at least the first ${startMin} characters of the node's digest`
            })
          }
          const [node, ...others] = nodesThatStart(start)
          if (node === undefined) {
            return yield* new NotFound({ message: `no node that is registered or has splices starts with ${start}` })
          }
          if (others.length > 0) {
            return yield* new Refused({ message: `${others.length + 1} nodes start with ${start}; give more of it` })
          }
          yield* note(`kick node ${node}`)
          return yield* end((party) => party.node === node)
        }),

      kickSplice: (connection) =>
        Effect.gen(function*() {
          const splice = [...relay.splices(), ...relay.membership?.forwards() ?? []].find((carried) =>
            carried.connection === connection
          )
          if (splice === undefined) {
            return yield* new NotFound({ message: `there is no splice ${connection}` })
          }
          yield* note(`kick splice ${connection}`)
          yield* splice.reset
          return 1
        }),

      ban: (who) =>
        access.ban(who).pipe(
          Effect.mapError(({ message }) => new Refused({ message })),
          Effect.tap(() => note(`ban ${who}`)),
          Effect.flatMap((isBanned) => end(({ node, source }) => isBanned(node, source)))
        ),

      unban: (who) =>
        Effect.flatMap(access.unban(who), (wasBanned) =>
          wasBanned
            ? note(`unban ${who}`)
            : new NotFound({ message: `${who} is not banned here; a ban in the file ends with a reload without it` })),

      drain: Effect.suspend(() => {
        const splices = Array.from(relay.splices()).length
        return Effect.as(Effect.zipRight(note("drain"), drain), splices)
      }),

      drained: Deferred.await(drained),

      setLogLevel: (level) => Effect.zipRight(Effect.sync(() => logLevel.set(level)), note(`log level ${level.label}`)),

      reload: live.reload.pipe(
        Effect.tapBoth({
          onFailure: ({ message }) => note(`reload: ${message}`),
          onSuccess: ({ changed }) => note(`reload: ${changed.length} settings changed`)
        }),
        Effect.mapError(({ message }) => new Refused({ message }))
      )
    }
  })
)
