/**
 * Rounds of a fuzzer: each runs a relay of its own with raw nodes and peers, whose splices do whatever a seed says, and
 * checks every byte. What a round holds, its relay, sockets and nodes, ends with it.
 *
 * What must hold, whatever happens: a receiver gets a prefix of what was sent; a clean end comes only behind all of it;
 * without a reset or a stop of the relay, both ends get everything and a clean end; the relay's counts agree with what
 * was sent and received, and nothing is left open.
 */
import { CertDigest, Identity } from "@tx3/protocol"
import { Access, Bandwidth, Relay, RelayEvents, RelayTest } from "@tx3/relay"
import { Reset } from "@tx3/sockets"
import { sendUrgentByte, urgentByte, withoutUrgent } from "@tx3/testing/libc"
import { Rate } from "@tx3/transport"
import { Effect, Exit, Layer, Scope } from "effect"
import { randomBytes } from "node:crypto"
import * as Net from "node:net"
import { generator as numbers } from "../../../transport/test/utils/random.js"
import { eventually, openDescriptors } from "../../../transport/test/utils/system.js"

/** The choices of a seed. */
const generator = (seed: number) => {
  const next = numbers(seed)
  return {
    below: (bound: number) => Math.floor(next() * bound),
    chance: (part: number) => next() < part,
    /** Small ones as often as large ones. */
    size: (most: number) => Math.floor(most ** next())
  }
}

type Random = ReturnType<typeof generator>

const blockBytes = 256 * 1024
const block = Buffer.concat([randomBytes(blockBytes).map((byte) => byte === urgentByte[0] ? 0 : byte)])
const blocks = Buffer.concat([block, block])

/** Part of the bytes that go one way through a splice. */
const expected = (way: number, from: number, length: number) => {
  const start = (way * 104_729 + from) % blockBytes
  return blocks.subarray(start, start + length)
}

/** What one end of a splice does. */
interface Behaviour {
  readonly bytes: number
  readonly pieceMax: number
  readonly urgent: boolean
  /** Part of the pieces after which it rests. */
  readonly rests: number
  /** Part of the reads after which it pauses. */
  readonly pauses: number
  /** It resets when it has sent, or received, so many bytes. */
  readonly resetAtSent: number | undefined
  readonly resetAtReceived: number | undefined
}

const behaviour = (random: Random): Behaviour => {
  const bytes = random.chance(0.1) ? 0 : random.size(3 * 1024 * 1024)
  const resets = random.chance(0.15)
  return {
    bytes,
    // Not more than some hundred pieces, so that a round is short.
    pieceMax: Math.min(blockBytes, Math.ceil(bytes / 50) + random.size(blockBytes - 1)),
    urgent: random.chance(0.15),
    rests: random.chance(0.5) ? 0 : 0.2,
    pauses: random.chance(0.6) ? 0 : 0.3,
    resetAtSent: resets && random.chance(0.5) ? random.below(bytes + 1) : undefined,
    resetAtReceived: resets && random.chance(0.5) ? random.size(1024 * 1024) : undefined
  }
}

class End {
  sent = 0
  urgentSent = 0
  received = 0
  ended = false
  hasReset = false
  ending: "end" | "reset" | undefined
  problem: string | undefined
  readonly closed: Promise<void>

  constructor(
    readonly socket: Net.Socket,
    readonly behaviour: Behaviour,
    /** Which bytes it sends, and which it is to receive. */
    private readonly out: number,
    private readonly into: number,
    private readonly random: Random
  ) {
    socket.on("data", this.onData)
      .on("end", this.onEnd)
      .on("error", () => this.ending ??= "reset")
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()))
  }

  private readonly onEnd = () => {
    const { bytes, isReset } = Reset.behindEnd(this.socket)
    if (bytes.length > 0) {
      this.onData(bytes)
    }
    this.ending ??= isReset ? "reset" : "end"
  }

  private reset() {
    this.hasReset = true
    this.socket.resetAndDestroy()
  }

  private readonly onData = (chunk: Buffer) => {
    // Urgent bytes are left out of the comparison: the receiver may or may not get them (RFC 6093).
    const bytes = withoutUrgent(chunk)
    if (!expected(this.into, this.received, bytes.length).equals(bytes)) {
      this.problem ??= `other bytes than were sent, within ${bytes.length} from ${this.received} on`
    }
    this.received += bytes.length
    if (this.behaviour.resetAtReceived !== undefined && this.received >= this.behaviour.resetAtReceived) {
      this.reset()
    } else if (this.random.chance(this.behaviour.pauses)) {
      this.socket.pause()
      setTimeout(() => this.socket.resume(), 1 + this.random.below(5))
    }
  }

  /** Sends what is left, piece by piece, each when the system has taken the one before, and then its end. */
  readonly start = () => {
    const { bytes, pieceMax, resetAtSent, rests, urgent } = this.behaviour
    if (this.socket.destroyed) {
      return
    }
    if (resetAtSent !== undefined && this.sent >= resetAtSent) {
      this.reset()
      return
    }
    if (urgent && this.random.chance(0.2)) {
      const onError = () => {
        this.ending ??= "reset"
      }
      this.urgentSent += process.platform === "linux" && sendUrgentByte(this.socket, onError) ? 1 : 0
    }
    if (this.sent === bytes) {
      this.ended = true
      this.socket.end()
      return
    }
    const piece = expected(this.out, this.sent, Math.min(bytes - this.sent, 1 + this.random.below(pieceMax)))
    this.sent += piece.length
    this.socket.write(piece, (error) => {
      if (!error) {
        if (this.random.chance(rests)) {
          setTimeout(this.start, this.random.below(5))
        } else {
          setImmediate(this.start)
        }
      }
    })
  }
}

/** A peer's header behind its preamble: which splice it is, in bytes that are never urgent. */
const headerOf = (number: number) => Buffer.of(number >> 7 & 0x7f, number & 0x7f)

class FuzzedSplice {
  peer: End | undefined
  node: End | undefined

  constructor(
    readonly number: number,
    readonly left: Behaviour,
    readonly right: Behaviour,
    private readonly random: Random
  ) {}

  peerOn(socket: Net.Socket) {
    this.peer = new End(socket, this.left, 2 * this.number, 2 * this.number + 1, this.random)
    // The relay has turned it away.
    socket.once("end", () => this.node === undefined && socket.destroy())
    return this.peer
  }

  nodeOn(socket: Net.Socket) {
    this.node = new End(socket, this.right, 2 * this.number + 1, 2 * this.number, this.random)
    this.peer!.start()
    this.node.start()
    return this.node
  }

  problem(stopped: boolean): string | undefined {
    const { node, peer } = this
    if (peer === undefined) {
      return undefined
    }
    if (node === undefined) {
      return peer.received > 0 ? "bytes for a peer that no node has met" : undefined
    }
    const disturbed = stopped || peer.hasReset || node.hasReset
    for (const [to, from, name] of [[peer, node, "peer"], [node, peer, "node"]] as const) {
      const of = `${to.received} of ${from.behaviour.bytes} bytes (${from.sent} sent)`
      if (to.problem !== undefined) {
        return `the ${name} received ${to.problem}`
      }
      if (to.ending === "end" && (!from.ended || to.received !== from.behaviour.bytes)) {
        return `the ${name} got a clean end after ${of}`
      }
      if (!disturbed && to.ending !== "end") {
        return `the ${name} got ${to.ending ?? "no end"} after ${of}, and nothing has happened`
      }
    }
    return undefined
  }
}

/** What a round did. */
export interface Round {
  readonly splices: number
  readonly unmet: number
  readonly resets: number
  readonly bytes: number
}

export interface Kind {
  readonly transport: "kernel" | "portable"
  readonly transportThreads: number
}

const listing = () => openDescriptors().map(({ link, number }) => `${number} ${link.replace(/\d+/g, "")}`).sort().join()

const splicesMax = 48
const stuckAfterMs = 40_000

/** One relay, its nodes and peers. Dies with what was wrong, with the seed that makes it happen again. */
export const round = (seed: number, kind: Kind): Effect.Effect<Round> =>
  Effect.gen(function*() {
    const before = listing()
    const random = generator(seed)
    const splices = Array.from({ length: 8 + random.below(splicesMax - 8) }, (_, number) =>
      new FuzzedSplice(number, behaviour(random), behaviour(random), generator(seed * 1_000 + number)))
    const rate = random.chance(0.3) ? Rate.make(4_000_000 + random.below(40_000_000)) : undefined
    const stopsEarly = random.chance(0.25)
    const few = random.chance(0.15)
    const settings: NonNullable<Parameters<typeof RelayTest.layer>[0]> = {
      ...kind,
      maxShareOfNode: 1,
      // A peer that meets nobody is turned away after so long.
      connectionTimeoutMs: 3_000,
      drainTimeoutMs: stopsEarly ? random.below(300) : 60_000,
      ...few ? { maxInboundConnections: 24 } : {}
    }
    const policies = Layer.mergeAll(
      Access.layerOpen,
      Layer.succeed(Bandwidth.Bandwidth, {
        join: () => ({ rates: rate === undefined ? [] : [rate], leave: () => {} })
      }),
      RelayEvents.layerSilent
    )
    const relayScope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(RelayTest.layer(settings, policies), relayScope)
    const sockets: Array<Net.Socket> = []
    let stopped = false

    const connect = (host: string, port: number) => {
      const socket = Net.connect({ allowHalfOpen: true, host, noDelay: true, port })
      sockets.push(socket.on("error", () => {}))
      return socket
    }

    const fuzz = Effect.gen(function*() {
      const relay = yield* Relay.Relay
      const { host, port } = relay.addresses[0]!

      const dialBack = (token: Uint8Array) => {
        const socket = connect(host, port)
        socket.write(token)
        let header = Buffer.alloc(0)
        const onReadable = () => {
          const more = socket.read(2 - header.length) as Buffer | null
          header = more === null ? header : Buffer.concat([header, more])
          if (header.length === 2) {
            socket.off("readable", onReadable).off("end", hangUp)
            const end = splices[header[0]! << 7 | header[1]!]!.nodeOn(socket)
            end.socket.resume()
          }
        }
        const hangUp = () =>
          socket.destroy()
        socket.on("readable", onReadable).on("end", hangUp)
      }
      const register = (identity: Identity.Identity) =>
        Effect.gen(function*() {
          const node = yield* RelayTest.register(relay.addresses[0]!, { identity })
          yield* Effect.forkScoped(Effect.ignore(Effect.forever(Effect.map(node.control.receive(32), dialBack))))
        })

      const identities = [yield* Identity.generate, yield* Identity.generate]
      for (const identity of identities) {
        yield* register(identity)
      }
      for (const splice of splices) {
        const identity = identities[random.below(2)]!
        const socket = connect(host, port)
        socket.write(Buffer.concat([CertDigest.toBytes(identity.digest), headerOf(splice.number)]))
        splice.peerOn(socket)
        if (random.chance(0.1)) {
          yield* Effect.ignore(register(identities[random.below(2)]!))
        }
        if (random.chance(0.3)) {
          yield* Effect.sleep(random.below(20))
        }
      }
      const met = () => splices.filter(({ node }) => node !== undefined)
      const overs = () => Promise.all(splices.flatMap(({ node, peer }) => [node?.closed, peer?.closed]))
      if (stopsEarly) {
        yield* Effect.sleep(random.below(200))
        stopped = true
        yield* Scope.close(relayScope, Exit.void)
      }
      // A splice whose peer came while its node was replaced may meet nobody: then the relay ends its peer.
      yield* Effect.promise(async () => {
        for (let count = -1; count !== met().length;) {
          count = met().length
          await overs()
        }
      }).pipe(Effect.timeoutOption(stuckAfterMs))
      const { totals } = yield* relay.snapshot
      return totals
    }).pipe(Effect.scoped, Effect.provide(context))

    const totals = yield* Effect.orDie(fuzz)
    if (!stopped) {
      sockets.forEach((socket) => socket.destroy())
      yield* Effect.provide(RelayTest.empty, context).pipe(Effect.timeout(stuckAfterMs), Effect.orDie)
      yield* Scope.close(relayScope, Exit.void)
    }
    sockets.forEach((socket) => socket.destroy())

    for (const splice of splices) {
      const problem = splice.problem(stopped)
      if (problem !== undefined) {
        return yield* Effect.dieMessage(`splice ${splice.number}: ${problem}`)
      }
    }
    const ends = splices.flatMap(({ node, peer }) => node === undefined ? [] : [[peer!, node, 2] as const])
    if (!stopped) {
      for (
        const [name, counted, pairs] of [
          ["peers", totals.bytesFromPeers, ends.map(([peer, node, header]) => [peer, node, header] as const)],
          ["nodes", totals.bytesFromNodes, ends.map(([peer, node]) => [node, peer, 0] as const)]
        ] as const
      ) {
        const sum = (of: (pair: typeof pairs[number]) => number) => pairs.reduce((total, pair) => total + of(pair), 0)
        const least = sum(([, to, header]) => to.received + header)
        const most = sum(([from, , header]) => from.sent + from.urgentSent + header)
        if (counted < least || counted > most) {
          return yield* Effect.dieMessage(`counted ${counted} bytes from ${name}, not ${least} to ${most}`)
        }
      }
    }
    yield* eventually("all descriptors to be closed", () => listing() === before)
    return {
      splices: ends.length,
      unmet: splices.length - ends.length,
      resets: ends.filter(([peer, node]) => peer.hasReset || node.hasReset).length,
      bytes: ends.reduce((total, [peer, node]) => total + peer.received + node.received, 0)
    }
  }).pipe(
    Effect.orDie,
    Effect.catchAllDefect((defect) =>
      Effect.dieMessage(
        `${kind.transport}, ${kind.transportThreads} threads, seed ${seed}: ${defect}; again: ` +
          `npm run fuzz -- --transport ${nameOf(kind)} --seed ${seed} --seconds 1`
      )
    )
  )

export const kinds: Record<string, Kind> = {
  kernel: { transport: "kernel", transportThreads: 1 },
  kernel2: { transport: "kernel", transportThreads: 2 },
  portable: { transport: "portable", transportThreads: 1 }
}

const nameOf = (kind: Kind) => Object.keys(kinds).find((name) => kinds[name] === kind)!
