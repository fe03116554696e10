/**
 * `Transport` on Node's own sockets, for any platform.
 *
 * A connection here is a net.Socket that flows from its first moment into one of three places: a small buffer until
 * the relay has decided what it is, the other socket of a splice, or the reader of its Duplex. It ends with `close`,
 * or, once spliced, with its splice.
 *
 * @since 0.1.0
 */
import * as Preamble from "@tx3/protocol/Preamble"
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Net from "node:net"
import { dial } from "./internal/dialing.js"
import type { Named } from "./internal/portableHeader.js"
import { readHeader } from "./internal/portableHeader.js"
import { PortableSplice } from "./internal/portableSplice.js"
import { proxiesOf, refused } from "./internal/proxies.js"
import * as ProxyProtocol from "./internal/proxyProtocol.js"
import * as Tcp from "./internal/tcp.js"
import { UndecidedConnection } from "./internal/undecidedConnection.js"
import type { ListenOptions } from "./Transport.js"
import { AcceptError, HungUp, ListenError, Transport } from "./Transport.js"

/**
 * Bytes kept for a connection before it is read. Room for a preamble and a large TLS ClientHello; a peer has nothing
 * more to say before it is answered.
 */
const heldBytesMax = 64 * 1024

/** A connection is told of with its preamble, or after so long. */
const reportWithinMs = 5

/**
 * Connections of proxies, to one listener, whose header is awaited. As many as can be accepted in one turn of the event
 * loop, before any header is read.
 */
const headersAwaitedMax = Tcp.backlog
const tooManyAwaited = `was turned away: ${headersAwaitedMax} connections have sent no PROXY header yet`

const listen = (options: ListenOptions) =>
  Effect.flatMap(proxiesOf(options), (proxies) => listenBehind(proxies, options))

const listenBehind = (proxies: ProxyProtocol.Proxies | undefined, options: ListenOptions) => {
  const awaitedHeaders = new Set<() => void>()
  const close = (server: Net.Server) =>
    Effect.sync(() => {
      server.close()
      Array.from(awaitedHeaders).forEach((giveUp) => giveUp())
    })
  return Effect.acquireRelease(
    Effect.async<Net.Server, ListenError>((resume) => {
      const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        const { remoteAddress, remotePort } = socket
        if (remoteAddress === undefined || remotePort === undefined) {
          socket.destroy()
        } else if (proxies === undefined || !ProxyProtocol.isProxy(proxies, remoteAddress)) {
          new PortableConnection(socket, remoteAddress, remotePort, deliver)
        } else if (awaitedHeaders.size < headersAwaitedMax) {
          awaitHeader(socket, remoteAddress, remotePort, proxies.headerTimeoutMs)
        } else {
          socket.destroy()
          options.onAcceptError(refused(remoteAddress, tooManyAwaited))
        }
      })
      const awaitHeader = (socket: Net.Socket, remoteAddress: string, remotePort: number, timeoutMs: number) => {
        const over = (outcome: Named | string | undefined) => {
          awaitedHeaders.delete(giveUp)
          if (typeof outcome === "object") {
            const { host, port } = outcome.source ?? { host: remoteAddress, port: remotePort }
            new PortableConnection(socket, host, port, deliver, outcome.rest)
            return
          }
          socket.destroy()
          if (outcome !== undefined) {
            options.onAcceptError(refused(remoteAddress, outcome))
          }
        }
        const giveUp = readHeader(socket, timeoutMs, over)
        awaitedHeaders.add(giveUp)
      }
      const deliver = (connection: PortableConnection) =>
        server.listening ? options.onConnection(connection) : connection.closeNow()
      server.once("error", (cause) => resume(new ListenError({ host: options.host, port: options.port, cause })))
      server.listen(
        { backlog: Tcp.backlog, host: options.host, ipv6Only: options.ipv6Only, port: options.port },
        () => {
          server.removeAllListeners("error")
          server.on("error", (cause) => options.onAcceptError(new AcceptError({ cause })))
          resume(Effect.succeed(server))
        }
      )
      return close(server)
    }),
    close
  ).pipe(Effect.map((server) => {
    const { address, port } = server.address() as Net.AddressInfo
    return { host: address, port }
  }))
}

const noBytes = Buffer.alloc(0)

class PortableConnection extends UndecidedConnection {
  /** The splice that took the socket; from then on only it closes the socket. */
  splice: PortableSplice | undefined
  private readonly held: Array<Buffer> = []
  private heldBytes = 0
  private closed = false

  constructor(
    private readonly socket: Net.Socket,
    readonly remoteAddress: string,
    readonly remotePort: number,
    /** Takes the connection when its preamble has come, or is late; undefined: it has none, and its owner has it. */
    deliver: ((connection: PortableConnection) => void) | undefined,
    /** The bytes of the preamble that have been read. */
    begun: Buffer = noBytes
  ) {
    super()
    Tcp.keepAlive(socket)
    socket.on("data", this.hold).on("end", this.onEnd).on("close", this.onClose).on("error", Tcp.ignoreError)
    if (deliver === undefined) {
      return
    }
    const report = () => {
      clearTimeout(timer)
      this.awaitDecision(undefined)
      deliver(this)
    }
    // As a rule the preamble comes at once. Reported together with the connection, it costs no wait.
    const timer = setTimeout(report, reportWithinMs)
    this.awaitDecision(report)
    if (begun.length > 0) {
      this.hold(begun)
    }
  }

  private readonly hold = (chunk: Buffer) => {
    this.held.push(chunk)
    this.heldBytes += chunk.length
    if (this.heldBytes >= heldBytesMax) {
      this.socket.pause()
    }
    this.checkDecision()
  }

  private readonly onEnd = () => this.hangUp()

  private readonly onClose = () => {
    this.closed = true
    this.hangUp()
  }

  protected get hasPreamble() {
    return this.heldBytes >= Preamble.length
  }

  protected takePreamble() {
    const bytes = this.held.length === 1 ? this.held[0]! : Buffer.concat(this.held)
    const rest = bytes.subarray(Preamble.length)
    this.held.length = 0
    this.heldBytes = rest.length
    if (rest.length > 0) {
      this.held.push(rest)
    }
    return bytes.subarray(0, Preamble.length)
  }

  /** Gives the socket, and what has been read of it, to its next owner. */
  release() {
    this.ignoreHangUp()
    this.socket.off("data", this.hold).off("end", this.onEnd).off("close", this.onClose)
    return { closed: this.closed, held: this.held.splice(0), socket: this.socket }
  }

  get toDuplex(): Effect.Effect<Net.Socket, HungUp> {
    return Effect.suspend(() => {
      if (this.hungUp) {
        return new HungUp()
      }
      const { held, socket } = this.release()
      socket.pause()
      for (const chunk of held.reverse()) {
        socket.unshift(chunk)
      }
      Tcp.limitSilence(socket)
      return Effect.succeed(socket)
    })
  }

  closeNow() {
    if (this.splice === undefined) {
      this.ignoreHangUp()
      this.socket.destroy()
    } else {
      this.splice.end("closed")
    }
  }

  resetNow() {
    if (this.splice === undefined && !this.closed) {
      this.ignoreHangUp()
      this.socket.resetAndDestroy()
    } else {
      this.closeNow()
    }
  }
}

/** A connection that this end opened. It has no preamble. */
class PortableDialed extends PortableConnection {
  protected override get hasPreamble() {
    return true
  }

  protected override takePreamble() {
    return noBytes
  }
}

const connect = dial(({ first, host, port }, { connected, failed }) => {
  const socket = Net.connect({ allowHalfOpen: true, host, noDelay: true, port })
  socket.on("error", failed).once("connect", () => {
    socket.off("error", failed)
    connected(new PortableDialed(socket, host, port, undefined))
  })
  socket.write(first)
  return () => socket.off("error", failed).on("error", Tcp.ignoreError).destroy()
})

const splice: typeof Transport.Service["splice"] = (left, right, options, onEnd) => {
  const [portableLeft, portableRight] = [left as PortableConnection, right as PortableConnection]
  const splice = new PortableSplice(portableLeft.release(), portableRight.release(), options, onEnd)
  portableLeft.splice = splice
  portableRight.splice = splice
  return splice
}

/**
 * A transport on this process's own sockets. It needs nothing but Node, has no descriptors of its own, and never fails.
 * On Linux with koffi it also finds dead ends that have bytes to acknowledge, and receivers that drain the kernel's queue.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Transport> = Layer.effect(
  Transport,
  Effect.as(DeadPeers.explain, { dial: connect, kind: "portable" as const, listen, ownDescriptors: 0, splice })
)
