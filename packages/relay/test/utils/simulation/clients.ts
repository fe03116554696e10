/**
 * The other ends of a simulated relay's connections, and what they check: whatever one of them receives of another is a prefix of
 * what that has sent, and an end without a reset comes behind all of it.
 */
import type { Descriptor } from "../../../../transport/src/internal/system.js"
import type { Peer, SimulatedKernel } from "../../../../transport/test/utils/simulatedKernel.js"

/** Not in any stream but as urgent data, which a receiver may get or not. */
export const urgentByte = 0xff

const headerBytes = 4
/** Digits of a client's number in its stream's header. */
const base = 250
const firstByte = 0x7a

/** A byte of the stream of a client: its number at first, then a pattern that no other stream has. */
const byteOf = (client: number, at: number) =>
  at === 0
    ? firstByte
    : at < headerBytes
    ? Math.floor(client / base ** (headerBytes - 1 - at)) % base
    : (at * 7 + client * 13 + (at >> 7)) % 251

const firstPort = 1_024

export class Client {
  readonly port: number
  /** Bytes of its stream that it has sent, urgent ones left out, and has received of the other's. */
  sent = 0
  received = 0
  /** The number of the client whose stream it receives. */
  from: number | undefined
  private readonly header: Array<number> = []
  hasEnded = false
  isReading = true
  /** Whether it has reset its connection, or closed it in a way that may. */
  isGone = false
  /** Bytes that come before the other's stream, which nobody checks here. */
  before = Buffer.alloc(0)

  constructor(
    readonly number: number,
    readonly role: "peer" | "node" | "stranger" | "dialed back",
    /** The digest of the node that it wants to reach, or is of. */
    readonly node: string,
    private readonly peer: Peer
  ) {
    this.port = firstPort + number
  }

  get ending() {
    return this.peer.ending
  }

  /** Bytes that are no part of its stream. */
  sendRaw(bytes: Uint8Array) {
    this.peer.send(bytes)
  }

  send(count: number) {
    if (!this.hasEnded && !this.isGone) {
      const bytes = new Uint8Array(count)
      for (let at = 0; at < count; at++) {
        bytes[at] = byteOf(this.number, this.sent + at)
      }
      this.sent += count
      this.peer.send(bytes)
    }
  }

  sendUrgent() {
    if (!this.hasEnded && !this.isGone && this.sent >= headerBytes) {
      this.peer.sendUrgent(urgentByte)
    }
  }

  end() {
    if (!this.isGone) {
      this.hasEnded = true
      this.peer.end()
    }
  }

  reset() {
    this.isGone = true
    this.peer.reset()
  }

  /** Closes it as a program does that ends: with a reset if there is something to read, with an end otherwise. */
  close() {
    this.isGone = true
    this.hasEnded ||= this.peer.socket.received.size === 0
    this.peer.socket.onClose()
  }

  pause() {
    this.isReading = false
    this.peer.pause()
  }

  resume() {
    this.isReading = true
    this.peer.resume()
  }

  read(count: number) {
    this.peer.read(count)
  }

  /** The bytes that the relay has taken of this client, and has given to it. */
  get taken() {
    return this.peer.socket.other.received.taken
  }

  get given() {
    return this.peer.socket.other.given
  }

  /** What a control stream says. */
  takeRaw(): Buffer {
    this.before = Buffer.concat([this.before, this.peer.take()])
    return this.before
  }

  /** Checks what has come. Returns what is wrong with it. */
  check(): string | undefined {
    for (const byte of this.peer.take()) {
      if (byte === urgentByte) {
        continue
      }
      if (this.received < headerBytes) {
        this.header.push(byte)
        if (this.received === headerBytes - 1) {
          const [first, ...digits] = this.header
          this.from = digits.reduce((number, digit) => number * base + digit, 0)
          if (first !== firstByte) {
            return `${this.name} receives a stream that begins with ${Buffer.from(this.header).toString("hex")}`
          }
        }
      } else if (byte !== byteOf(this.from!, this.received)) {
        return `${this.name} receives a wrong byte at ${this.received} of the stream of client ${this.from}`
      }
      this.received++
    }
    return undefined
  }

  get name() {
    return `${this.role} ${this.number}`
  }
}

/** Connects clients to a listener, and keeps them. */
export class Clients {
  readonly all: Array<Client> = []

  constructor(
    private readonly kernel: SimulatedKernel,
    private readonly listening: () => Descriptor | undefined
  ) {}

  connect(role: Client["role"], node: string, host: string): Client {
    const number = this.all.length
    const client = new Client(number, role, node, this.peer(host, firstPort + number))
    this.all.push(client)
    return client
  }

  /** One that nobody listens for is refused. */
  private peer(host: string, port: number): Peer {
    const listening = this.listening()
    if (listening !== undefined && this.kernel.fileOf(listening) !== undefined) {
      return this.kernel.connect(listening, host, port)
    }
    const { peer, socket } = this.kernel.connection()
    socket.sendReset()
    return peer
  }

  byPort(port: number): Client | undefined {
    return this.all[port - firstPort]
  }

  /** Checks what all of them have received. */
  check(): string | undefined {
    for (const client of this.all) {
      if (client.role === "peer" || client.role === "dialed back") {
        const problem = client.check() ?? this.checkPair(client)
        if (problem !== undefined) {
          return problem
        }
      }
    }
    return undefined
  }

  private checkPair(client: Client): string | undefined {
    const other = this.otherOf(client)
    if (other === undefined) {
      return client.from === undefined ? undefined : `${client.name} receives a stream of nobody's, ${client.from}`
    }
    if (client.role === other.role) {
      return `${client.name} is spliced with ${other.name}`
    }
    if (client.node !== other.node) {
      return `${client.name}, for node ${client.node}, is spliced with ${other.name} of node ${other.node}`
    }
    if (client.from !== undefined && other.from !== undefined && other.from !== client.number) {
      return `${client.name} receives of ${other.name}, which receives of client ${other.from}`
    }
    if (client.received > other.sent) {
      return `${client.name} has received ${client.received} bytes of ${other.name}, which has sent ${other.sent}`
    }
    if (client.ending === "end" && !client.isGone && !(other.hasEnded && client.received === other.sent)) {
      return `${client.name} sees an end behind ${client.received} bytes of ${other.name}, which has sent ${other.sent}` +
        (other.hasEnded ? "" : " and not ended")
    }
    return undefined
  }

  /** Checks, when nobody can do anything, that all who read have what was sent to them. */
  checkSettled(): string | undefined {
    for (const to of this.all) {
      const from = to.isReading && !to.isGone && to.ending === undefined ? this.otherOf(to) : undefined
      if (from !== undefined && !from.isGone && from.ending === undefined) {
        if (to.received !== from.sent) {
          return `${to.name} reads, and has ${to.received} of the ${from.sent} bytes that ${from.name} has sent`
        }
        if (from.hasEnded) {
          return `${from.name} has ended, and ${to.name} sees no end`
        }
      }
    }
    return undefined
  }

  /** The other end of a client's splice, as far as one of both has received something. */
  otherOf(client: Client): Client | undefined {
    return client.from === undefined
      ? this.all.find(({ from }) => from === client.number)
      : this.all[client.from]
  }
}
