/**
 * `Transport` without sockets: connections are pairs of streams in memory, made by a `Dialer`. Nothing in it takes time,
 * so a whole relay runs on it under a TestClock. A pipe holds 16 KiB in each direction, then its writer waits, as a TCP
 * connection does whose other end does not read.
 */
import { CertDigest, Handshake, Identity, Preamble, Tls } from "@tx3/protocol"
import {
  ControlSessions,
  Limiter,
  Listener,
  PendingSplices,
  Relay,
  RelayConfig,
  RelayTest,
  Splices,
  Statistics
} from "@tx3/relay"
import { Transport } from "@tx3/transport"
import type { Scope } from "effect"
import { Context, Effect, Layer } from "effect"
import { Duplex } from "node:stream"
import type { Settings, TestRelay } from "./withRelay.js"
import { empty, testRelay, withoutDefects } from "./withRelay.js"

export class Dialer extends Context.Tag("test/Dialer")<Dialer, {
  /** A connection to the relay, from this address. */
  readonly connect: (remoteAddress?: string) => Effect.Effect<RelayTest.RawStream, never, Scope.Scope>
  /** Lets an accept fail. */
  readonly failAccept: Effect.Effect<void>
}>() {}

/** One end of a pipe in memory. */
class End extends Duplex {
  other!: End
  hungUp = false
  /** Takes nothing any more, as if nobody had read it for long. */
  stalled = false
  onHangUp: (() => void) | undefined
  /** Ends the write of the other end that waits for this end to read. */
  private taken: ((error?: Error) => void) | undefined

  static pair(): [End, End] {
    const [left, right] = [new End(), new End()]
    left.other = right
    right.other = left
    return [left, right]
  }

  constructor() {
    super({ allowHalfOpen: true, highWaterMark: 16 * 1024 })
    this.on("error", () => {})
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error) => void) {
    if (this.other.destroyed) {
      callback(new Error("EPIPE"))
    } else if (!this.other.stalled && this.other.push(chunk)) {
      callback()
    } else {
      this.other.taken = callback
    }
  }

  override _read() {
    this.release()
  }

  override _final(callback: () => void) {
    this.other.otherEnded()
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void) {
    this.release(new Error("EPIPE"))
    this.other.release(new Error("ECANCELED"))
    this.other.otherEnded()
    callback(error)
  }

  private release(error?: Error) {
    const taken = this.taken
    this.taken = undefined
    taken?.(error)
  }

  /** The other end has nothing more to say. */
  private otherEnded() {
    if (!this.hungUp) {
      this.hungUp = true
      this.push(null)
      this.onHangUp?.()
    }
  }
}

class MemoryConnection implements Transport.Connection {
  readonly remotePort = 1

  constructor(readonly socket: End, readonly remoteAddress: string) {}

  private stopLooking = () => {}

  readonly preamble = Effect.async<Uint8Array, Transport.HungUp>((resume) => {
    this.onPreamble((preamble) => resume(preamble === undefined ? new Transport.HungUp() : Effect.succeed(preamble)))
    return Effect.sync(() => this.onPreamble(undefined))
  })

  onPreamble(listener: ((preamble: Uint8Array | undefined) => void) | undefined) {
    this.stopLooking()
    if (listener === undefined) {
      return
    }
    const look = () => {
      const bytes: Buffer | null = this.socket.read(32)
      if (bytes?.length === 32) {
        this.stopLooking()
        listener(bytes)
      } else if (bytes !== null || this.socket.readableEnded || this.socket.destroyed) {
        this.stopLooking()
        listener(undefined)
      }
    }
    this.stopLooking = () => void this.socket.off("readable", look).off("end", look).off("close", look)
    this.socket.on("readable", look).on("end", look).on("close", look)
    look()
  }

  readonly onHangUp = (listener: (() => void) | undefined) => {
    this.socket.onHangUp = listener
    if (this.socket.hungUp) {
      listener?.()
    }
  }

  readonly toDuplex: Effect.Effect<Duplex, Transport.HungUp> = Effect.suspend(() =>
    this.socket.hungUp ? new Transport.HungUp() : Effect.succeed(this.socket)
  )

  readonly close = Effect.sync(() => this.closeNow())

  closeNow() {
    this.socket.destroy()
  }

  resetNow() {
    this.socket.destroy()
  }
}

const splice: typeof Transport.Transport.Service["splice"] = (left, right, _, onEnd) => {
  const carried = { fromLeft: 0, fromRight: 0 }
  const { socket: a } = left as MemoryConnection
  const { socket: b } = right as MemoryConnection
  let open = 2
  const onClose = () => {
    open--
    a.destroy()
    b.destroy()
    if (open === 0) {
      onEnd({ ...carried, outcome: "completed" })
    }
  }
  a.on("data", (bytes: Buffer) => {
    carried.fromLeft += bytes.length
  })
  b.on("data", (bytes: Buffer) => {
    carried.fromRight += bytes.length
  })
  a.on("close", onClose).pipe(b).on("close", onClose).pipe(a)
  return { carried: () => carried, limit: () => {} }
}

/** What is listened on in a network of relays, by host and port. Those of links have addresses that begin with 10. */
export type Network = Map<string, Transport.ListenOptions>

const nameOf = ({ host, port }: Transport.Bound) => `${host} ${port}`

const dialIn = (network: Network): typeof Transport.Transport.Service["dial"] => ({ first, host, port }) =>
  Effect.suspend(() => {
    const listener = network.get(nameOf({ host, port }))
    if (listener === undefined) {
      const cause = Object.assign(new Error("refused"), { code: "ECONNREFUSED" })
      return new Transport.DialError({ host, port, cause })
    }
    const [near, far] = End.pair()
    near.write(first)
    listener.onConnection(new MemoryConnection(far, "10.0.0.254"))
    return Effect.acquireRelease(Effect.succeed(new MemoryConnection(near, host)), ({ close }) => close)
  })

const layer = (network: Network) =>
  Layer.effectContext(Effect.sync(() => {
    const listeners = new Set<Transport.ListenOptions>()
    const listener = () => Array.from(listeners).find(({ host }) => !host.startsWith("10."))!
    const transport: typeof Transport.Transport.Service = {
      kind: "portable",
      ownDescriptors: 0,
      dial: dialIn(network),
      listen: (options) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            listeners.add(options)
            network.set(nameOf(options), options)
            return { host: options.host, port: options.port }
          }),
          () =>
            Effect.sync(() => {
              listeners.delete(options)
              network.delete(nameOf(options))
            })
        ),
      splice
    }
    const dialer: typeof Dialer.Service = {
      connect: (remoteAddress = "192.0.2.1") =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const [near, far] = End.pair()
            listener().onConnection(new MemoryConnection(far, remoteAddress))
            return near
          }),
          (near) => Effect.sync(() => near.destroy())
        ).pipe(Effect.map(RelayTest.rawStream)),
      failAccept: Effect.sync(() => listener().onAcceptError(new Transport.AcceptError({ cause: new Error("EMFILE") })))
    }
    return Context.make(Transport.Transport, transport).pipe(Context.add(Dialer, dialer))
  }))

/** The whole relay, on connections in memory. */
export const memoryRelayLayer = (settings: Settings, policies = Relay.openPolicies, network: Network = new Map()) =>
  Relay.layerNoDependencies.pipe(
    Layer.provide(Listener.layer),
    Layer.provide([ControlSessions.layer, PendingSplices.layer, Splices.layer]),
    Layer.provide([Limiter.layer, Statistics.layer]),
    Layer.provide(policies),
    Layer.provideMerge(layer(network)),
    Layer.provideMerge(
      RelayConfig.layer({
        bind: ["tx3-rst://192.0.2.9:38141"],
        connectionRatePerIp: 1_000_000,
        maxShareOfNode: 1,
        ...settings
      })
    )
  )

/** A registered node. */
export interface MemoryNode {
  /** Its digest, as a preamble. */
  readonly digest: Uint8Array
  readonly control: RelayTest.RawStream
  /** From now on its connection takes nothing from the relay. */
  readonly stall: Effect.Effect<void>
}

/** The relay and the other ends of its connections. */
export interface MemoryRelay extends TestRelay {
  readonly dialer: typeof Dialer.Service
  /** A connection that has sent these bytes. */
  readonly send: (
    bytes: Uint8Array,
    remoteAddress?: string
  ) => Effect.Effect<RelayTest.RawStream, RelayTest.Ended, Scope.Scope>
  readonly register: Effect.Effect<
    MemoryNode,
    RelayTest.Ended | Handshake.HandshakeError,
    Scope.Scope
  >
  readonly registerAs: (identity: Identity.Identity, remoteAddress?: string) => MemoryRelay["register"]
}

export const memoryRelay: Effect.Effect<MemoryRelay, never, Dialer | Relay.Relay> = Effect.gen(function*() {
  const dialer = yield* Dialer
  const relay = yield* testRelay
  const send = (bytes: Uint8Array, remoteAddress?: string) =>
    Effect.tap(dialer.connect(remoteAddress), (stream) => stream.send(bytes))
  const registerAs = Effect.fnUntraced(function*(identity: Identity.Identity, remoteAddress?: string) {
    const tcp = yield* send(CertDigest.toBytes(relay.relay.digest), remoteAddress)
    const { socket } = yield* Handshake.connect(tcp.stream, Tls.secureContext(identity))
    const control = RelayTest.rawStream(socket)
    yield* control.receive(Preamble.allClear.length)
    const stall = Effect.sync(() => {
      ;(tcp.stream as End).stalled = true
    })
    return { digest: CertDigest.toBytes(identity.digest), control, stall }
  })
  return {
    ...relay,
    dialer,
    send,
    register: Effect.flatMap(Identity.generate, (identity) => registerAs(identity)),
    registerAs
  }
})

/** `withRelay` without sockets: for `it.effect`, under whose clock nothing happens but what the test lets happen. */
export const withMemoryRelay = <A, E>(
  settings: Settings,
  body: (relay: MemoryRelay) => Effect.Effect<A, E, Scope.Scope>,
  policies = Relay.openPolicies
) =>
  Effect.gen(function*() {
    const result = yield* Effect.scoped(Effect.flatMap(memoryRelay, body))
    yield* empty
    return result
  }).pipe(Effect.provide(memoryRelayLayer(settings, policies)), withoutDefects)
