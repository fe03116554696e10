/**
 * The actions of an operator on a running relay. Each action is logged and noted in the journal. The module's only state is
 * whether the relay has been told to drain.
 *
 * @since 0.1.0
 */
import { AccessControl } from "@tx3/policy/AccessControl"
import type { ReloadReport } from "@tx3/policy/LiveSettings"
import { LiveSettings } from "@tx3/policy/LiveSettings"
import { NodeDigest } from "@tx3/policy/OperatorConfig"
import * as Address from "@tx3/protocol/Address"
import type * as CertDigest from "@tx3/protocol/CertDigest"
import * as Relay from "@tx3/relay/Relay"
import type { Party } from "@tx3/relay/RelayEvents"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { NotFound, Refused } from "./ActionError.js"
import * as ClusterOrder from "./ClusterOrder.js"
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

  /**
   * Does the same at every member of the cluster, and says for each what came of it, this one first. Fails if the relay is in no
   * cluster, if NATS is away, and if this member refuses; then no member was asked.
   */
  readonly everywhere: (
    order: ClusterOrder.ClusterOrder
  ) => Effect.Effect<ReadonlyArray<ClusterOrder.AtMember>, Refused>

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

    const allCarried = () => [...relay.splices(), ...relay.membership?.forwards() ?? []]

    /** Ends all control streams, splices and forwarded connections of these, and turns their waiting peers away. */
    const end = (
      which: (party: Pick<Party, "source"> & { readonly node: CertDigest.CertDigest | undefined }) => boolean
    ) =>
      Effect.suspend(() => {
        const sessions = Array.from(relay.controlStreams()).filter(which)
        const carried = allCarried().filter(which)
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
      Array.from(new Set([...relay.controlStreams(), ...allCarried()].map(({ node }) => node)))
        .filter((node) => node !== undefined)
        .filter((node) => node.startsWith(start))

    const kick = (node: string, by: string) =>
      Effect.suspend(() =>
        nodesThatStart(node).length === 0
          ? new NotFound({ message: `no node that is registered or has splices starts with ${node}` })
          : Effect.zipRight(note(`kick node ${node}${by}`), end((party) => party.node === node))
      )

    const ban = (who: string, by: string) =>
      access.ban(who).pipe(
        Effect.mapError(({ message }) => new Refused({ message })),
        Effect.tap(() => note(`ban ${who}${by}`)),
        Effect.flatMap((isBanned) => end(({ node, source }) => isBanned(node, source)))
      )

    const unban = (who: string, by: string) =>
      Effect.flatMap(access.unban(who), (wasBanned) =>
        wasBanned
          ? note(`unban ${who}${by}`)
          : new NotFound({ message: `${who} is not banned here; a ban in the file ends with a reload without it` }))

    const actionOf = (
      { action, who }: ClusterOrder.ClusterOrder,
      by: string
    ): Effect.Effect<number, NotFound | Refused> => {
      switch (action) {
        case "kick":
          return isDigest(who)
            ? kick(who, by)
            : new Refused({
              message: `${who} is not the whole digest of a node, which is needed to kick it everywhere`
            })
        case "ban":
          return ban(who, by)
        case "unban":
          return Effect.as(unban(who, by), 0)
      }
    }

    const perform = (order: ClusterOrder.ClusterOrder, by: string): Effect.Effect<ClusterOrder.Outcome> =>
      Effect.match(actionOf(order, by), {
        onFailure: ({ _tag, message }) => ({
          outcome: _tag === "NotFound" ? "notThere" : "refused",
          ended: 0,
          message
        }),
        onSuccess: (ended) => ({ outcome: "done", ended, message: "" })
      })

    yield* relay.membership?.obey((text, from) =>
      Option.match(ClusterOrder.decode(text), {
        onNone: () => Effect.succeed(ClusterOrder.unknownOrder),
        onSome: (order) => perform(order, `, as asked at member ${from}`)
      }).pipe(Effect.map(ClusterOrder.encodeOutcome))
    ) ?? Effect.void

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
          const [node = start, ...others] = nodesThatStart(start)
          if (others.length > 0) {
            return yield* new Refused({ message: `${others.length + 1} nodes start with ${start}; give more of it` })
          }
          return yield* kick(node, "")
        }),

      kickSplice: (connection) =>
        Effect.gen(function*() {
          const splice = allCarried().find((carried) => carried.connection === connection)
          if (splice === undefined) {
            return yield* new NotFound({ message: `there is no splice ${connection}` })
          }
          yield* note(`kick splice ${connection}`)
          yield* splice.reset
          return 1
        }),

      ban: (who) => ban(who, ""),

      unban: (who) => unban(who, ""),

      everywhere: (order) =>
        Effect.gen(function*() {
          const { membership } = relay
          if (membership === undefined) {
            return yield* new Refused({ message: "this relay is in no cluster; do it without everywhere" })
          }
          const { isConnected, link, name } = membership.view()
          if (!isConnected) {
            return yield* new Refused({
              message:
                "NATS is away, so no other member can be asked; to do it at this member alone, leave out everywhere"
            })
          }
          const here = yield* perform(order, ", everywhere")
          if (here.outcome === "refused") {
            return yield* new Refused({ message: here.message })
          }
          const others = yield* membership.order(ClusterOrder.encode(order))
          const at = (
            member: { readonly name: string; readonly link: typeof link },
            outcome: ClusterOrder.Outcome
          ) => ({
            member: member.name,
            link: Address.hostPort(member.link.host, member.link.port),
            ...outcome
          })
          return [
            at({ link, name }, here),
            ...others.map(({ answer, member }) => at(member, ClusterOrder.outcomeOf(answer)))
          ]
        }),

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

const isDigest = Schema.is(NodeDigest)
