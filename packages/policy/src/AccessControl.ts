/**
 * Decides who may use the relay, by the lists of `access`, bans, the callout, and the month's volume. It provides the relay's
 * `Access`. It owns the bans and the lists, which it compiles for look-ups whenever the settings change, until its layer's
 * scope closes.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import type { AccessPolicy } from "@tx3/relay/Access"
import { Access } from "@tx3/relay/Access"
import { AddressRange } from "@tx3/relay/RelayConfig"
import { Rejected } from "@tx3/relay/RelayError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as AccessCallout from "./AccessCallout.js"
import * as AddressRanges from "./internal/addressRanges.js"
import { LiveSettings } from "./LiveSettings.js"
import type { Settings } from "./OperatorConfig.js"
import { NodeDigest } from "./OperatorConfig.js"
import { VolumeQuota } from "./VolumeQuota.js"

/**
 * Whether a ban means a control stream, a splice or a forwarded connection: by its node, if it is known, or by the source of the control stream or the peer. A
 * source of IPv6 is a whole /64, and a ban of any part of it bans the source: the relay does not know more of the address.
 *
 * @since 0.1.0
 * @category models
 */
export type Match = (node: CertDigest | undefined, source: Source) => boolean

/**
 * A ban, and since when, in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ban {
  /** A node's digest, or an address or range. */
  readonly who: string
  readonly since: number
}

/**
 * The name is neither a digest nor an address or a range, so it cannot be banned.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidBan extends Schema.TaggedError<InvalidBan>("@tx3/policy/InvalidBan")("InvalidBan", {
  who: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return this.problem
  }
}

/**
 * How many bans there may be. Each costs some 300 bytes; more than an operator has are for a deny list in a file.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxBans = 10_000

/**
 * The bans that an operator has made on a running relay. They are kept in memory only.
 *
 * @since 0.1.0
 * @category services
 */
export class AccessControl extends Context.Tag("@tx3/policy/AccessControl")<AccessControl, {
  /** In the order they were made. */
  readonly bans: () => ReadonlyArray<Ban>

  /**
   * Keeps a node, an address or a range of addresses out until the relay ends, whatever the lists say. Running connections go
   * on. The caller ends them: the answer says which they are.
   */
  readonly ban: (who: string) => Effect.Effect<Match, InvalidBan>

  /** Takes a ban back, and says whether there was one. */
  readonly unban: (who: string) => Effect.Effect<boolean>
}>() {}

/**
 * Also the relay's `Access`.
 *
 * @example
 * ```ts
 * import { FetchHttpClient } from "@effect/platform"
 * import { NodeContext } from "@effect/platform-node"
 * import { AccessControl, BandwidthLimits, LiveSettings, OperatorConfig, VolumeQuota } from "@tx3/policy"
 * import { Identity } from "@tx3/protocol"
 * import { Relay, RelayEvents } from "@tx3/relay"
 * import { Effect, Layer } from "effect"
 *
 * const values = { bind: ["tx3-rst://0.0.0.0:38141"], access: { addresses: { deny: ["192.0.2.0/24"] } } }
 *
 * const load = Effect.all({
 *   identity: Identity.generate,
 *   settings: OperatorConfig.decode([{ place: (key) => key, values }])
 * })
 *
 * export const relay = Relay.layer.pipe(
 *   Layer.provideMerge(AccessControl.layer),
 *   Layer.provide([VolumeQuota.layer, FetchHttpClient.layer, BandwidthLimits.layer, RelayEvents.layerSilent]),
 *   Layer.provide(LiveSettings.layer(load)),
 *   Layer.provide(NodeContext.layer)
 * )
 *
 * // `relay` provides both.
 * export const ban = Effect.flatMap(AccessControl.AccessControl, ({ ban }) => ban("198.51.100.7"))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Access | AccessControl, never, LiveSettings | VolumeQuota | HttpClient.HttpClient> =
  Layer
    .scopedContext(Effect.gen(function*() {
      const clock = yield* Clock.clockWith(Effect.succeed)
      const makeCallout = yield* AccessCallout.make
      const quota = yield* VolumeQuota
      const settings = yield* LiveSettings
      const bans = new Map<string, Ban>()
      const bannedRanges = new AddressRanges.AddressRanges()
      let rules = rulesOf({})
      let callout: { readonly ask: AccessCallout.Ask; readonly setting: string } | undefined

      yield* settings.follow(({ access }) => {
        rules = rulesOf(access)
        const setting = JSON.stringify(access.callout)
        if (access.callout === undefined) {
          callout = undefined
        } else if (callout?.setting !== setting) {
          callout = { ask: makeCallout(access.callout), setting }
        }
      })

      const nodeMay = (node: CertDigest, address: string) =>
        deniedIf(() => bans.has(node) || bannedRanges.has(address) || !rules.nodes(node))

      const policy: AccessPolicy = {
        controlStream: (address) => deniedIf(() => bannedRanges.has(address) || !rules.controlStreams(address)),
        node: (node, address) =>
          Effect.zipRight(
            nodeMay(node, address),
            Effect.suspend(() =>
              callout === undefined
                ? Effect.void
                // A ban may have come during the callout. It ends the nodes that are registered, and this one was not.
                : Effect.zipRight(callout.ask(node, address), nodeMay(node, address))
            )
          ),
        // Answered when it is asked: a fiber for each peer would cost more than the answer.
        peer: (node, address) =>
          bans.has(node) || bannedRanges.has(address) || !rules.peers(address) ||
            rules.peersOf.get(node)?.(address) === false
            ? denied
            : quota.state() === "hard"
            ? overQuota
            : Effect.void
      }

      return Context.make(AccessControl, {
        bans: () => Array.from(bans.values()),
        ban: (text) =>
          Effect.flatMap(banOf(text), ({ match, range, who }) => {
            if (bans.has(who)) {
              return Effect.succeed(match)
            }
            if (bans.size >= maxBans) {
              return new InvalidBan({ who, problem: tooMany })
            }
            bans.set(who, { who, since: clock.unsafeCurrentTimeMillis() })
            if (range !== undefined) {
              bannedRanges.add(range)
            }
            return Effect.succeed(match)
          }),
        unban: (text) =>
          Effect.sync(() => {
            const banned = Either.getOrUndefined(banOf(text))
            if (banned?.range !== undefined) {
              bannedRanges.delete(banned.range)
            }
            return banned !== undefined && bans.delete(banned.who)
          })
      }).pipe(Context.add(Access, policy))
    }))

const denied = Effect.fail(new Rejected({ reason: "denied" }))
const overQuota = Effect.fail(new Rejected({ reason: "quota" }))

const deniedIf = (isDenied: () => boolean): Effect.Effect<void, Rejected> =>
  Effect.suspend(() => isDenied() ? denied : Effect.void)

interface Banned {
  /** The one text that all texts which mean the same have in common. */
  readonly who: string
  readonly range: AddressRanges.AddressRange | undefined
  readonly match: Match
}

const banOf = (text: string): Either.Either<Banned, InvalidBan> => {
  if (isDigest(text)) {
    return Either.right({ who: text, range: undefined, match: (node) => node === text })
  }
  if (!isRange(text)) {
    return Either.left(
      new InvalidBan({ who: text, problem: `${text} is neither a node's digest nor an IP address or a CIDR range` })
    )
  }
  const range = AddressRanges.fromString(text)
  return Either.right({
    who: range.name,
    range,
    match: (_node, source) => AddressRanges.overlap(range, AddressRanges.fromString(source))
  })
}

const tooMany = `there are ${maxBans} bans already; take some back, or put them into a denyFile of access`

const isDigest = Schema.is(NodeDigest)

const isRange = Schema.is(AddressRange)

const rulesOf = ({ controlStreams, nodes, peers, peersOf = {} }: Settings["access"]) => ({
  nodes: ruleOf(nodes, digests),
  controlStreams: ruleOf(controlStreams, ranges),
  peers: ruleOf(peers, ranges),
  peersOf: new Map(Object.entries(peersOf).map(([node, lists]) => [node, ruleOf(lists, ranges)]))
})

interface Lists {
  readonly allowFile?: string | undefined
  readonly denyFile?: string | undefined
  readonly allow?: ReadonlyArray<string> | undefined
  readonly deny: ReadonlyArray<string>
}

type Rule = (who: string) => boolean

const ruleOf = (lists: Lists | undefined, compile: (entries: ReadonlyArray<string>) => Rule): Rule => {
  if (lists === undefined) {
    return () => true
  }
  if (lists.allowFile !== undefined || lists.denyFile !== undefined) {
    // A program that loads settings itself and does not read the files must not admit every node.
    return () => false
  }
  const denied = compile(lists.deny)
  const allowed = lists.allow === undefined ? () => true : compile(lists.allow)
  return (who) => !denied(who) && allowed(who)
}

const digests = (entries: ReadonlyArray<string>): Rule => {
  const all = new Set(entries)
  return (node) => all.has(node)
}

const ranges = (entries: ReadonlyArray<string>): Rule => {
  const all = new AddressRanges.AddressRanges()
  entries.forEach((entry) => all.add(AddressRanges.fromString(entry)))
  return (address) => all.has(address)
}
