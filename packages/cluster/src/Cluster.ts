/**
 * Makes a relay a member of a cluster: several relays that answer for one identity. A connection that belongs to another member
 * is forwarded to it as a whole, and everything is decided there.
 *
 * A member owns its link port, its entries in the `Directory`, its tickets and look-ups, until the relay's scope closes. A
 * connection that it forwards belongs to the relay, as every connection does.
 *
 * @since 0.1.0
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import type { Here, Membership } from "@tx3/relay/Elsewhere"
import { Elsewhere } from "@tx3/relay/Elsewhere"
import { Rejected } from "@tx3/relay/RelayError"
import * as Transport from "@tx3/transport/Transport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import * as Dns from "node:dns"
import * as Net from "node:net"
import { Directory } from "./Directory.js"
import * as Forwards from "./internal/forwards.js"
import * as Links from "./internal/links.js"
import * as LookUps from "./internal/lookUps.js"
import * as Members from "./internal/members.js"
import * as Messages from "./internal/messages.js"
import * as Registrations from "./internal/registrations.js"
import * as Tickets from "./internal/tickets.js"

/**
 * How a relay is a member.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Where other members connect to: a private address, since a link shows nothing but a ticket. */
  readonly listen: Transport.Bound
  /** The same as others dial it, where that differs from what is bound. */
  readonly advertise?: Transport.Bound | undefined
  /** The name of the cluster. Default: the digest of the relay's certificate. */
  readonly name?: string | undefined
  /** The version of the program, which others show. */
  readonly version?: string | undefined
}

/** Members are in one network. */
const linkTimeoutMs = 2_000

/** How long the peers of a member that drains may wait for their nodes. */
const drainTicksMax = 100

const drainTickMs = 20

/** Members that are asked to carry out an order at the same time. */
const orderedAtATime = 64

/** What a message may name, as it must be smaller than an engine allows. */
const movingPerWord = 1_000

/**
 * Makes a relay a member of the cluster that its `Directory` connects.
 *
 * @example
 * ```ts
 * import { Cluster, Directory } from "@tx3/cluster"
 * import { Relay, RelayConfig } from "@tx3/relay"
 * import { Layer } from "effect"
 *
 * export const member = Relay.layerOpen.pipe(
 *   Layer.provide(Cluster.layer({ listen: { host: "127.0.0.1", port: 38143 } })),
 *   Layer.provide(Directory.layerMemory),
 *   Layer.provide(RelayConfig.layer({ bind: ["tx3-rst://127.0.0.1:38141"] }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Elsewhere, never, Directory> =>
  Layer.effect(
    Elsewhere,
    Effect.map(Directory, (directory) => {
      const tokenPrefix = randomBytes(LookUps.nameBytes)
      return { tokenPrefix, join: (here) => join(here, tokenPrefix, directory, options) }
    })
  )

const join = (here: Here, tokenPrefix: Uint8Array, directory: Directory["Type"], options: Options): Effect.Effect<
  Membership,
  Transport.ListenError,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const name = LookUps.nameOf(tokenPrefix)
    const cluster = `tx3.${options.name ?? here.relay}`
    const memberSubject = (name: string) => `${cluster}.member.${name}`
    // Both parts of a preamble. A member answers at the whole digest of each of its nodes, and at `*` behind its own name, with
    // which its tokens begin.
    const findSubject = (name: string, rest: string) => `${cluster}.find.${name}.${rest}`
    const subjectOf = (preamble: Uint8Array) =>
      findSubject(LookUps.nameOf(preamble), Buffer.from(preamble.subarray(LookUps.nameBytes)).toString("base64url"))
    let state: "listening" | "draining" = "listening"
    let perform: ((order: string, from: string) => Effect.Effect<string>) | undefined

    const tickets = yield* Tickets.make
    const bound = yield* Links.listen(here, yield* numeric(options.listen), tickets)
    const { host, port } = yield* numeric(options.advertise ?? bound)
    const link = { host, port: port === 0 ? bound.port : port }

    const members = yield* Members.make(directory, `${cluster}.all`, {
      subjectOf: memberSubject,
      self: () => ({ name, link, state, version: options.version ?? "" }),
      onMissed: () => registrations.tellAgain(),
      onWord: (word) => {
        if (word._tag === "Registered") {
          registrations.heard(word)
          lookUps.registered(word.node)
        } else if (word._tag === "Moving") {
          word.nodes.forEach(lookUps.moving)
        }
      }
    })

    const reserve = (preamble: string, address: string, isPeer: boolean): Effect.Effect<Messages.Answer> =>
      here.reserve(Buffer.from(preamble, "base64url"), address).pipe(
        Effect.map((reservation): Messages.Answer =>
          reservation === undefined
            ? { _tag: "Unknown" }
            : { _tag: "Ticket", link, ticket: tickets.issue(reservation), isPeer }
        ),
        Effect.catchAll(({ reason }) => Effect.succeed<Messages.Answer>({ _tag: "Refused", reason }))
      )

    /** Answers for a node of this member, or for the member. */
    const answer = (text: string, node?: CertDigest.CertDigest) =>
      Effect.suspend((): Effect.Effect<Messages.Answer> => {
        const question = Messages.question.decode(text)
        switch (question?._tag) {
          case "Stamp":
            return Effect.succeed({ _tag: "Stamped", stamp: node === undefined ? 0 : registrations.stampOf(node) })
          case "Find":
            return node !== undefined && state === "draining"
              ? Effect.succeed({ _tag: "Moves" })
              : reserve(question.preamble, question.address, node !== undefined)
          case "Order":
            if (perform !== undefined) {
              return Effect.map(perform(question.order, question.from), (answer) => ({ _tag: "Ordered", answer }))
            }
        }
        return Effect.succeed({ _tag: "Unknown" })
      }).pipe(Effect.map(Messages.answer.encode))

    const registrations: Registrations.Registrations = yield* Registrations.make({
      directory,
      here,
      name,
      say: members.say,
      subjectOf: (node) => subjectOf(CertDigest.toBytes(node)),
      answerFor: (node) => (text) => answer(text, node)
    })

    const lookUps = yield* LookUps.make({ directory, name, subjectOf })

    const forwards = yield* Forwards.make(here)

    const dial = (link: Messages.Place, first: Uint8Array) =>
      here.transport.dial({ ...link, first, timeoutMs: linkTimeoutMs }).pipe(
        Effect.mapError(({ message }) => new Rejected({ reason: "clusterUnavailable", detail: message }))
      )

    const hasListening = () => members.others().some(({ state }) => state === "listening")

    const order = (order: string) =>
      Effect.suspend(() => {
        const question = Messages.question.encode({ _tag: "Order", from: name, order })
        return Effect.forEach(members.others(), (member) =>
          directory.ask(memberSubject(member.name), question).pipe(
            Effect.map((text) => {
              const answer = Messages.answer.decode(text)
              return answer?._tag === "Ordered" ? answer.answer : ""
            }),
            Effect.orElseSucceed(() => undefined),
            Effect.map((answer) => ({ answer, member }))
          ), { concurrency: orderedAtATime })
      })

    yield* directory.answer(memberSubject(name), (text) => answer(text))
    yield* directory.answer(findSubject(name, "*"), (text) => answer(text))
    yield* members.appear
    yield* directory.flush
    yield* Effect.logInfo("member of a cluster").pipe(
      Effect.annotateLogs({ link: `${link.host} ${link.port}`, member: name })
    )

    return {
      announce: (session) => Effect.tap(registrations.announce(session), () => lookUps.registered(session.node)),
      forward: (connection, preamble) => {
        const found = lookUps.find(preamble, connection)
        return Exit.isExit(found) && Exit.isFailure(found)
          ? found
          : Effect.flatMap(found, ({ link, node, ticket }) =>
            here.dialed(connection.source).pipe(
              Effect.zipRight(dial(link, ticket)),
              Effect.flatMap((link) => forwards.begin(connection, link, node))
            ))
      },
      forwards: forwards.all,
      view: () => ({
        name,
        link,
        isConnected: directory.isConnected(),
        members: members.others(),
        forwarded: forwards.total(),
        received: tickets.redeemed(),
        ...lookUps.counts()
      }),
      order,
      obey: (next) =>
        Effect.asVoid(Effect.acquireRelease(
          Effect.sync(() => {
            perform = next
          }),
          () =>
            Effect.sync(() => {
              perform = undefined
            })
        )),
      awaitNone: forwards.awaitNone,
      drain: Effect.gen(function*() {
        state = "draining"
        yield* members.present
        const nodes = Array.from(here.sessions(), ({ node }) => node)
        for (let at = 0; at < nodes.length; at += movingPerWord) {
          yield* members.say({ _tag: "Moving", nodes: nodes.slice(at, at + movingPerWord) })
        }
        yield* directory.flush
        // Their tokens are redeemed at other members, which bring them here.
        yield* Effect.sync(() => !hasListening() || !here.hasWaiting()).pipe(
          Effect.repeat({
            until: (over) => over,
            schedule: Schedule.intersect(Schedule.spaced(drainTickMs), Schedule.recurs(drainTicksMax))
          })
        )
      })
    } satisfies Membership
  })

/** The same with the first address of the host, if that is a name. */
const numeric = ({ host, port }: Transport.Bound) =>
  Net.isIP(host) !== 0
    ? Effect.succeed({ host, port })
    : Effect.tryPromise({
      try: () => Dns.promises.lookup(host),
      catch: (cause) => new Transport.ListenError({ host, port, cause: cause as NodeJS.ErrnoException })
    }).pipe(Effect.map(({ address }) => ({ host: address, port })))
