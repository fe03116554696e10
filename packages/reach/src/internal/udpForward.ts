/**
 * Forwards datagrams: each flow, which is a local address and port that datagrams come from, has a connection of its own. All of
 * them, and the sockets, end with the scope that `listen` was called in.
 */
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Source from "@tx3/protocol/Source"
import * as Listen from "@tx3/sockets/Listen"
import type { LookupError } from "@tx3/sockets/Lookup"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type * as dgram from "node:dgram"
import * as Datagrams from "../Datagrams.js"
import type * as Passage from "../Passage.js"
import type { Refused } from "../Refusal.js"
import * as Flows from "./flow.js"
import { Outbox } from "./outbox.js"
import * as Udp from "./udp.js"

/** Flows at a time. A relay lets one source have 56 peers of a node, and those that end still have places. */
const maxFlows = 48

/** The same of one source, an IPv4 address or an IPv6 /64. */
const maxFlowsOfSource = 42

/** A flow that has carried something within this time gives its place to no other: new flows bring no more connections than these. */
const busyMs = 1_000

/** How long a flow takes no datagrams whose node could not be connected to, or refused it. */
const failedMs = 5_000

interface Entry {
  readonly source: string
  readonly flow: Flows.Flow
  readonly ended: Deferred.Deferred<void>
  /** Takes a datagram that goes to the node. */
  send: (datagram: Uint8Array) => void
}

/** Listens at a host and port, and returns the port. */
export const listen = <E>(options: {
  readonly host: string
  readonly port: number
  readonly ownDigest: CertDigest
  readonly connect: Effect.Effect<Tx3Connection, E, Scope.Scope>
  readonly onAnswer: Effect.Effect<void>
  readonly onEvent: (event: Passage.Event) => Effect.Effect<void>
  readonly onFailed: (because: ConnectionError | Datagrams.NoDatagrams | Refused) => Effect.Effect<void>
}): Effect.Effect<number, LookupError | Udp.UdpError, Scope.Scope> =>
  Effect.gen(function*() {
    const { connect, host, onAnswer, onEvent, onFailed, ownDigest, port } = options
    const clock = yield* Effect.clock
    const entries = new Map<string, Entry>()
    const run = yield* FiberSet.makeRuntime()

    const carry = (entry: Entry, held: Outbox, deliver: (datagram: Uint8Array) => Promise<void> | undefined) => {
      const ended = Deferred.await(entry.ended)
      const opened = Effect.gen(function*() {
        const connection = yield* connect
        return { connection, datagrams: yield* Effect.tapError(Datagrams.open(connection, ownDigest), onFailed) }
      })
      return Effect.gen(function*() {
        const { connection, datagrams } = yield* Effect.raceFirst(opened, Effect.zipRight(ended, Effect.interrupt))
        yield* onAnswer
        held.takeAll().forEach(datagrams.send)
        entry.send = datagrams.send
        yield* Flows.run({ connection, datagrams, flow: entry.flow, ended, onEvent, deliver })
      }).pipe(
        Effect.scoped,
        Effect.catchAll(() => {
          entry.send = () => {}
          return Effect.raceFirst(Effect.sleep(failedMs), ended)
        }),
        Effect.catchAllDefect((defect) => Effect.logError("a forwarded flow died", defect))
      )
    }

    const endIdlest = (of: ReadonlyArray<readonly [string, Entry]>) => {
      const [key, entry] = of.reduce((least, other) => other[1].flow.lastAt < least[1].flow.lastAt ? other : least)
      if (entry.flow.now() - entry.flow.lastAt < busyMs) {
        return false
      }
      entries.delete(key)
      Deferred.unsafeDone(entry.ended, Effect.void)
      return true
    }

    /** Makes room for a flow of this source. */
    const hasRoom = (source: string) => {
      const ofSource = Array.from(entries).filter(([, entry]) => entry.source === source)
      return ofSource.length >= maxFlowsOfSource
        ? endIdlest(ofSource)
        : entries.size < maxFlows || endIdlest(Array.from(entries))
    }

    const begin = (key: string, socket: dgram.Socket, from: dgram.RemoteInfo) => {
      const source = Source.fromAddress(from.address)
      if (!hasRoom(source)) {
        return undefined
      }
      const held = new Outbox()
      const entry: Entry = {
        source,
        flow: new Flows.Flow(clock),
        ended: Deferred.unsafeMake(FiberId.none),
        send: (datagram) => held.offer(datagram)
      }
      entries.set(key, entry)
      const fiber = run(carry(entry, held, (datagram) => Udp.send(socket, datagram, { to: from })))
      fiber.addObserver(() => {
        if (entries.get(key) === entry) {
          entries.delete(key)
        }
      })
      return entry
    }

    const hosts = yield* Listen.addressesOf(host)
    const [bound] = yield* Listen.atEach(hosts, port, (address) =>
      Udp.bind(address, (socket, datagram, from) => {
        const key = `${address.host} ${from.address} ${from.port}`
        const entry = entries.get(key) ?? begin(key, socket, from)
        entry?.flow.countToPeer(datagram)
        entry?.send(datagram)
      }))
    return bound.port
  })
