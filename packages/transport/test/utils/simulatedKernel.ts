/**
 * As much of Linux as a worker of the kernel transport calls, in memory: TCP sockets, pipes, splice(2), an epoll, and a clock
 * that only the test moves. The same calls in the same order have the same results.
 *
 * Where Linux does something that a program has to know, this does it too. Sources: tcp_recvmsg_locked, tcp_splice_read,
 * tcp_read_sock, tcp_check_urg, tcp_poll, tcp_reset in net/ipv4, and fs/eventpoll.c. The network takes no time: what a socket
 * sends arrives at once, as far as the other end has room for it.
 */
import type { TcpInfo } from "@tx3/sockets/TcpInfo"
import type { Clock, Descriptor, DescriptorCalls, Incoming, Owner, Pipe, Poll } from "../../src/internal/system.js"
import {
  again,
  epollErr,
  epollHup,
  epollIn,
  epollOut,
  epollRdHup,
  epollUrgent,
  mainThread,
  pipeBytes
} from "../../src/internal/system.js"

const errno = { brokenPipe: -32, connectionReset: -104, descriptorsUsedUp: -24, notConnected: -107 }

/** Every 7 s, as `TCP_RTO_MAX_MS` bounds it. */
const retransmitEveryMs = 7_000

/** What may make a socket ready. */
type Wake = "in" | "out" | "state"

type Waker = (wake: Wake) => void

/** Something that a descriptor can stand for. */
abstract class File {
  abstract readonly kind: "socket" | "listener" | "pipe" | "event"
  /** Those who want to know when one of its events may have become so. */
  readonly wakers = new Set<Waker>()

  /** Events that are so now. */
  mask(): number {
    return 0
  }

  onClose() {}

  wake(wake: Wake) {
    this.wakers.forEach((waker) => waker(wake))
  }
}

/** Bytes in order, with their place in the stream. */
class Bytes {
  private readonly chunks: Array<Uint8Array> = []
  size = 0
  /** Bytes that have been taken. */
  taken = 0

  put(chunk: Uint8Array) {
    if (chunk.length > 0) {
      this.chunks.push(Uint8Array.from(chunk))
      this.size += chunk.length
    }
  }

  /** Copies what begins so many bytes on. */
  copy(into: Uint8Array, skipped = 0) {
    let at = -skipped
    for (const chunk of this.chunks) {
      if (at >= into.length) {
        return
      }
      const from = Math.max(0, -at)
      if (from < chunk.length) {
        into.set(chunk.subarray(from, from + into.length - Math.max(0, at)), Math.max(0, at))
      }
      at += chunk.length
    }
  }

  take(count: number): Uint8Array {
    const bytes = new Uint8Array(count)
    this.copy(bytes)
    this.drop(count)
    return bytes
  }

  drop(count: number) {
    this.size -= count
    this.taken += count
    for (let left = count; left > 0;) {
      const first = this.chunks[0]!
      if (first.length > left) {
        this.chunks[0] = first.subarray(left)
        return
      }
      left -= first.length
      this.chunks.shift()
    }
  }

  clear() {
    this.drop(this.size)
  }
}

/** One end of a TCP connection. */
export class Endpoint extends File {
  readonly kind = "socket"
  other!: Endpoint
  readonly received = new Bytes()
  private readonly sending = new Bytes()
  /** `sk_err`: told once. */
  private error = 0
  /** Whether the other end's FIN has arrived, and this end's has been asked for and sent. */
  private gotEnd = false
  private ending = false
  private endSent = false
  /** Whether a reset has come or gone. */
  private dead = false
  /** Whether its program has closed it. */
  private orphaned = false
  /** `SOCK_NOSPACE`: its program has been told that there is no room. */
  private lacksRoom = false
  /** The place of an urgent byte that has not been read, and whether it has arrived. */
  private urgent: { readonly at: number; valid: boolean } | undefined
  private unacknowledgedSinceMs: number | undefined
  private heardMs: number

  constructor(
    private readonly kernel: SimulatedKernel,
    private readonly receiveMax: number,
    private readonly sendMax: number
  ) {
    super()
    this.heardMs = kernel.nowMs
  }

  // The program's side.

  receive(into: Uint8Array, most: number, peeks = false): number {
    const { received } = this
    // A byte that recv(2) leaves out: the urgent one.
    let skipped = 0
    if (this.urgent?.valid === true && this.urgent.at === received.taken && received.size > 0) {
      skipped = 1
      if (!peeks) {
        received.drop(1)
        this.urgent = undefined
      }
    }
    const behind = peeks ? skipped : 0
    const available = received.size - behind
    if (available === 0) {
      if (skipped > 0 && !peeks) {
        this.other.transmit()
      }
      return this.nothingToRead()
    }
    const untilUrgent = this.urgent === undefined || behind > 0 ? Infinity : this.urgent.at - received.taken
    // recv(2) does not stop in front of bytes that have come, but for urgent ones: tcp_recvmsg_locked.
    const count = Math.min(available, most, untilUrgent)
    received.copy(into.subarray(0, count), behind)
    if (!peeks) {
      received.drop(count)
      this.other.transmit()
    }
    return count
  }

  private nothingToRead() {
    return this.gotEnd ? 0 : this.error !== 0 ? this.takeError() : this.dead ? 0 : again
  }

  private takeError() {
    const { error } = this
    this.error = 0
    return error
  }

  /** What splice(2) would move, which is nothing at urgent data; that looks like an end behind a FIN. */
  spliceInto(pipe: SimulatedPipe, most: number): number {
    const { received } = this
    const untilUrgent = this.urgent === undefined ? Infinity : this.urgent.at - received.taken
    const count = Math.min(received.size, most, pipe.room, untilUrgent)
    if (count === 0) {
      return received.size > 0 && untilUrgent > 0 ? again : this.nothingToRead()
    }
    const moved = this.kernel.moves(count)
    pipe.bytes.put(received.take(moved))
    this.other.transmit()
    return moved
  }

  /** Room for bytes to send, or the negative errno. */
  private room() {
    if (this.error !== 0) {
      return this.takeError()
    }
    if (this.dead || this.ending) {
      return errno.brokenPipe
    }
    const room = this.sendMax - this.sending.size
    if (room <= 0) {
      this.lacksRoom = true
      return again
    }
    return room
  }

  send(bytes: Uint8Array): number {
    const room = this.room()
    if (room <= 0) {
      return room
    }
    const count = this.kernel.moves(Math.min(room, bytes.length))
    this.sending.put(bytes.subarray(0, count))
    this.transmit()
    return count
  }

  spliceFrom(pipe: SimulatedPipe, most: number): number {
    const room = this.room()
    if (room <= 0) {
      return room
    }
    const count = this.kernel.moves(Math.min(room, most, pipe.bytes.size))
    this.sending.put(pipe.bytes.take(count))
    this.transmit()
    return count
  }

  /** Sends one byte as urgent data. */
  sendUrgent(byte: number) {
    const at = this.sending.taken + this.sending.size
    this.sending.put(Uint8Array.of(byte))
    if (!this.kernel.isCut(this)) {
      this.other.learnOfUrgent(at)
    }
    this.transmit()
  }

  shutdown(): number {
    const result = this.dead || this.gotEnd && this.endSent ? errno.notConnected : 0
    this.ending = true
    this.transmit()
    // shutdown(2) itself is an event.
    this.wake("state")
    return result
  }

  /** Closes it: with a reset if there is something that its program has not read, else as `shutdown`. */
  override onClose() {
    this.orphaned = true
    if (this.received.size > 0) {
      this.sendReset()
    } else if (!this.dead) {
      this.ending = true
      this.transmit()
    }
  }

  sendReset() {
    if (!this.dead) {
      this.dead = true
      this.sending.clear()
      this.received.clear()
      if (!this.kernel.isCut(this)) {
        this.other.learnOfReset()
      }
    }
  }

  override mask() {
    let mask = 0
    const halves = (this.gotEnd || this.dead ? 1 : 0) + (this.ending || this.dead ? 1 : 0)
    if (halves === 2) {
      mask |= epollHup
    }
    if (this.gotEnd || this.dead) {
      mask |= epollIn | epollRdHup
    }
    const isAtUrgent = this.urgent !== undefined && this.urgent.at === this.received.taken
    if (this.received.size > (isAtUrgent ? 1 : 0)) {
      mask |= epollIn
    }
    if (this.ending || this.dead || this.hasRoom()) {
      mask |= epollOut
    }
    if (this.urgent?.valid === true) {
      mask |= epollUrgent
    }
    return this.error === 0 ? mask : mask | epollErr
  }

  /** `sk_stream_is_writeable`: a third of all. */
  private hasRoom() {
    return this.sendMax - this.sending.size >= this.sending.size / 2
  }

  unacknowledged() {
    return this.sending.size
  }

  /** Bytes that its program has given it to send. */
  get given() {
    return this.sending.taken + this.sending.size
  }

  tcpInfo(): TcpInfo {
    const { nowMs } = this.kernel
    const silentMs = nowMs - this.heardMs
    const isCut = this.kernel.isCut(this)
    return {
      retransmits: isCut && this.unacknowledgedSinceMs !== undefined
        ? Math.floor((nowMs - this.unacknowledgedSinceMs) / retransmitEveryMs)
        : 0,
      probes: 0,
      backoff: 0,
      unacked: this.sending.size > 0 ? 1 : 0,
      lastDataMs: silentMs,
      lastAckMs: isCut ? silentMs : 0,
      bytesAcked: this.sending.taken,
      notSentBytes: 0,
      sendWindow: this.other.receiveMax - this.other.received.size
    }
  }

  // The network's side.

  /** Sends what the other end has room for, and the end behind it. */
  transmit() {
    if (this.dead) {
      return
    }
    if (this.kernel.isCut(this)) {
      this.unacknowledgedSinceMs ??= this.sending.size > 0 ? this.kernel.nowMs : undefined
      return
    }
    const { other } = this
    if (other.orphaned && this.sending.size > 0) {
      // Nobody will read them.
      other.dead = true
      this.learnOfReset()
      return
    }
    const count = Math.min(this.sending.size, other.receiveMax - other.received.size)
    if (count > 0) {
      other.learnOfBytes(this.sending.take(count))
      this.heardMs = this.kernel.nowMs
      if (this.lacksRoom && this.hasRoom()) {
        this.lacksRoom = false
        this.wake("out")
      }
    }
    if (this.ending && this.sending.size === 0 && !this.endSent) {
      this.endSent = true
      other.learnOfEnd()
      if (this.gotEnd) {
        this.wake("state")
      }
    }
  }

  private learnOfBytes(bytes: Uint8Array) {
    this.received.put(bytes)
    this.heardMs = this.kernel.nowMs
    if (this.urgent !== undefined && this.urgent.at < this.received.taken + this.received.size) {
      this.urgent.valid = true
    }
    this.wake("in")
  }

  private learnOfUrgent(at: number) {
    const { received, urgent } = this
    const next = received.taken + received.size
    if (at < next || urgent !== undefined && at <= urgent.at) {
      return
    }
    // An urgent byte is one of the others when another follows it before it is read; but for the next to be read.
    if (urgent !== undefined && urgent.at === received.taken && received.size > 0) {
      received.drop(1)
    }
    this.urgent = { at, valid: false }
  }

  private learnOfEnd() {
    this.gotEnd = true
    this.heardMs = this.kernel.nowMs
    this.wake("state")
  }

  private learnOfReset() {
    if (this.dead || this.gotEnd && this.endSent) {
      return
    }
    this.dead = true
    this.error = this.gotEnd ? errno.brokenPipe : errno.connectionReset
    this.sending.clear()
    this.wake("state")
  }
}

class SimulatedPipe {
  readonly bytes = new Bytes()

  constructor(private readonly capacity: number) {}

  get room() {
    return this.capacity - this.bytes.size
  }
}

class PipeEnd extends File {
  readonly kind = "pipe"

  constructor(readonly pipe: SimulatedPipe) {
    super()
  }
}

export class Bell extends File {
  readonly kind = "event"
  rung = false

  override mask() {
    return this.rung ? epollIn : 0
  }

  ring() {
    this.rung = true
    this.wake("in")
  }
}

class SimulatedListener extends File {
  readonly kind = "listener"
  readonly backlog: Array<{ readonly socket: Endpoint; readonly host: string; readonly port: number }> = []

  constructor(private readonly kernel: SimulatedKernel) {
    super()
  }

  override mask() {
    return this.backlog.length > 0 ? epollIn : 0
  }

  /** One of those who wait, as `EPOLLEXCLUSIVE` asks for. */
  override wake(wake: Wake) {
    const wakers = Array.from(this.wakers)
    wakers[this.kernel.choose(wakers.length)]?.(wake)
  }

  override onClose() {
    for (const { socket } of this.backlog.splice(0)) {
      socket.sendReset()
    }
  }
}

const piece = new Uint8Array(64 * 1024)

/** The remote end of a connection, as a test plays it. It has room for everything that it wants to send. */
export class Peer {
  readonly socket: Endpoint
  private readonly got: Array<Uint8Array> = []
  private reads = true
  private isReading = false
  /** How the other end finished. */
  ending: "end" | "reset" | undefined

  constructor(private readonly kernel: SimulatedKernel, receiveMax: number) {
    this.socket = new Endpoint(kernel, receiveMax, Infinity)
    this.socket.wakers.add(() => this.readOn())
  }

  private readOn() {
    // What it takes makes room for more, which wakes it.
    if (this.isReading) {
      return
    }
    this.isReading = true
    while (this.reads && this.ending === undefined) {
      const count = this.kernel.unlimited(() => this.socket.receive(piece, piece.length))
      if (count === again) {
        break
      }
      if (count > 0) {
        this.got.push(piece.slice(0, count))
      } else {
        this.ending = count === 0 ? "end" : "reset"
      }
    }
    this.isReading = false
    // A reset may follow an end.
    if (this.ending === "end" && (this.socket.mask() & epollErr) !== 0) {
      this.ending = "reset"
    }
  }

  send(bytes: Uint8Array) {
    // A failure is told of once: to the call that finds it.
    if (this.kernel.unlimited(() => this.socket.send(bytes)) < 0) {
      this.ending ??= "reset"
    }
  }

  sendUrgent(byte: number) {
    this.socket.sendUrgent(byte)
  }

  end() {
    this.socket.shutdown()
  }

  reset() {
    this.socket.sendReset()
  }

  pause() {
    this.reads = false
  }

  resume() {
    this.reads = true
    this.readOn()
  }

  /** Reads so many bytes, of one that is paused. */
  read(count: number) {
    const piece = new Uint8Array(count)
    const taken = this.kernel.unlimited(() => this.socket.receive(piece, count))
    if (taken > 0) {
      this.got.push(piece.slice(0, taken))
    } else if (taken !== again) {
      this.ending ??= taken === 0 ? "end" : "reset"
    }
  }

  /** All that has been read, and not taken. */
  get bytes(): Buffer {
    return Buffer.concat(this.got)
  }

  /** What has been read since the last time. */
  take(): Buffer {
    return Buffer.concat(this.got.splice(0))
  }
}

interface Opened {
  readonly file: File
  owner: Owner
}

interface Interest {
  readonly file: File
  readonly waker: Waker
  readonly key: number
  bits: number
  readonly edgeTriggered: boolean
}

/** What a socket holds each way, and how many descriptors there are. */
export interface Limits {
  readonly descriptorsMax: number
  readonly receiveMax: number
  readonly sendMax: number
  readonly pipesMax: number
  readonly pipeMax: number
}

const defaults: Limits = {
  descriptorsMax: 1024,
  receiveMax: 64 * 1024,
  sendMax: 64 * 1024,
  pipesMax: 8,
  pipeMax: pipeBytes
}

export class SimulatedKernel {
  readonly limits: Limits
  /** Milliseconds since it was made. Only `pass` moves them. */
  nowMs = 0
  readonly clock: Clock = { nowMs: () => this.nowMs, nowNs: () => this.nowMs * 1e6 }
  /** How many of the bytes that send(2) or splice(2) could move it moves, 1 at least. */
  partly: (bytes: number) => number = (bytes) => bytes
  /** Which of so many that could be woken is. */
  choose: (count: number) => number = () => 0
  /** The other ends of sockets that were connected, in that order. */
  readonly dialed: Array<Peer> = []
  /** What the next calls of accept(2) fail with. */
  readonly acceptErrors: Array<number> = []
  private readonly opened = new Map<number, Opened>()
  private readonly cut = new Set<Endpoint>()
  /** Called with each descriptor that is closed. */
  readonly onClosed: Array<(descriptor: Descriptor) => void> = []

  constructor(limits: Partial<Limits> = {}) {
    this.limits = { ...defaults, ...limits }
  }

  /** Lets time go by. */
  pass(ms: number) {
    this.nowMs += ms
  }

  moves(bytes: number): number {
    return bytes <= 1 ? bytes : Math.min(bytes, Math.max(1, this.partly(bytes)))
  }

  /** The calls that a test makes are not partial. */
  unlimited<A>(call: () => A): A {
    const { partly } = this
    this.partly = (bytes) => bytes
    try {
      return call()
    } finally {
      this.partly = partly
    }
  }

  /** Nothing gets through between a peer and this machine any more. */
  cutOff({ socket }: Peer) {
    for (const end of [socket, socket.other]) {
      this.cut.add(end)
      end.transmit()
    }
  }

  isCut(endpoint: Endpoint) {
    return this.cut.has(endpoint)
  }

  /** Opens a descriptor, with the lowest number there is. */
  open(file: File, owner: Owner): Descriptor | number {
    for (let number = 3; number < this.limits.descriptorsMax; number++) {
      if (!this.opened.has(number)) {
        this.opened.set(number, { file, owner })
        return number
      }
    }
    return errno.descriptorsUsedUp
  }

  close(descriptor: Descriptor) {
    const { file } = this.opened.get(descriptor)!
    this.opened.delete(descriptor)
    this.onClosed.forEach((listener) => listener(descriptor))
    file.onClose()
  }

  /** What a descriptor stands for, if this owner may act on it. */
  file(descriptor: Descriptor, owner: Owner): File {
    const opened = this.opened.get(descriptor)
    if (opened === undefined || opened.owner !== owner) {
      throw new Error(`descriptor ${descriptor} belongs to ${opened?.owner ?? "nobody"}, not to ${owner}`)
    }
    return opened.file
  }

  fileOf(descriptor: Descriptor): File | undefined {
    return this.opened.get(descriptor)?.file
  }

  give(descriptor: Descriptor, to: Owner) {
    this.opened.get(descriptor)!.owner = to
  }

  ownerOf(descriptor: Descriptor): Owner | undefined {
    return this.opened.get(descriptor)?.owner
  }

  /** Kinds of the descriptors that are open, of one owner or of all. */
  openKinds(owner?: Owner): ReadonlyArray<File["kind"]> {
    return Array.from(this.opened.values())
      .filter((opened) => owner === undefined || opened.owner === owner)
      .map(({ file }) => file.kind)
      .sort()
  }

  /** Ends what a thread has left open, as the main thread does. */
  closeAllOf(owner: Owner) {
    for (const [descriptor, { file, owner: its }] of Array.from(this.opened)) {
      if (its === owner) {
        if (file instanceof Endpoint) {
          file.sendReset()
        }
        this.close(descriptor as Descriptor)
      }
    }
  }

  listen(): Descriptor {
    return this.open(new SimulatedListener(this), mainThread) as Descriptor
  }

  /** A peer connects; it waits in the backlog until it is accepted. */
  connect(listener: Descriptor, host = "192.0.2.1", port = 4001): Peer {
    const { peer, socket } = this.connection()
    const listening = this.fileOf(listener) as SimulatedListener
    listening.backlog.push({ socket, host, port })
    listening.wake("in")
    return peer
  }

  /** The two ends of a connection. */
  connection(): { readonly peer: Peer; readonly socket: Endpoint } {
    const { receiveMax, sendMax } = this.limits
    const peer = new Peer(this, receiveMax)
    const socket = new Endpoint(this, receiveMax, sendMax)
    peer.socket.other = socket
    socket.other = peer.socket
    return { peer, socket }
  }
}

/** The calls of one thread. */
export class SimulatedDescriptors implements DescriptorCalls {
  private lent = 0

  constructor(
    private readonly kernel: SimulatedKernel,
    private readonly owner: Owner
  ) {}

  private socket(descriptor: Descriptor): Endpoint {
    const file = this.kernel.file(descriptor, this.owner)
    if (!(file instanceof Endpoint)) {
      throw new Error(`descriptor ${descriptor} is a ${file.kind}, not a socket`)
    }
    return file
  }

  private pipe(descriptor: Descriptor): SimulatedPipe {
    return (this.kernel.file(descriptor, this.owner) as PipeEnd).pipe
  }

  accept(listener: Descriptor): Incoming | number {
    const { backlog } = this.kernel.fileOf(listener) as SimulatedListener
    const error = this.kernel.acceptErrors.shift()
    if (error !== undefined) {
      return error
    }
    // accept(2) takes a descriptor before it looks whether somebody waits.
    const number = this.kernel.open(backlog[0]?.socket ?? new Bell(), this.owner)
    if (number < 0) {
      return number
    }
    const incoming = backlog.shift()
    if (incoming === undefined) {
      this.kernel.close(number as Descriptor)
      return again
    }
    return { socket: number as Descriptor, host: incoming.host, port: incoming.port }
  }

  /** Connects at once. */
  connect(): Descriptor | number {
    const { peer, socket } = this.kernel.connection()
    const number = this.kernel.open(socket, this.owner)
    if (number >= 0) {
      this.kernel.dialed.push(peer)
    }
    return number
  }

  receive(socket: Descriptor, into: Uint8Array, most = into.length): number {
    return this.socket(socket).receive(into, most)
  }

  peek(socket: Descriptor, into: Uint8Array): number {
    return this.socket(socket).receive(into, into.length, true)
  }

  send(socket: Descriptor, bytes: Uint8Array, length: number): number {
    return this.socket(socket).send(bytes.subarray(0, length))
  }

  shutdown(socket: Descriptor): number {
    return this.socket(socket).shutdown()
  }

  fill(pipe: Pipe, from: Descriptor, most: number): number {
    const moved = this.socket(from).spliceInto(this.pipe(pipe.to), most)
    pipe.bytes += Math.max(0, moved)
    return moved
  }

  drain(pipe: Pipe, to: Descriptor): number {
    const moved = this.socket(to).spliceFrom(this.pipe(pipe.from), pipe.bytes)
    pipe.bytes -= Math.max(0, moved)
    return moved
  }

  lendPipe(): Pipe | undefined {
    if (this.lent >= this.kernel.limits.pipesMax) {
      return undefined
    }
    const end = new PipeEnd(new SimulatedPipe(this.kernel.limits.pipeMax))
    const from = this.kernel.open(end, this.owner)
    if (from < 0) {
      return undefined
    }
    const to = this.kernel.open(end, this.owner)
    if (to < 0) {
      this.kernel.close(from as Descriptor)
      return undefined
    }
    this.lent++
    return { from: from as Descriptor, to: to as Descriptor, bytes: 0 }
  }

  /** No pipe is kept, so that one that is used after this is noticed. */
  takePipeBack({ from, to }: Pipe) {
    this.lent--
    this.close(from)
    this.close(to)
  }

  close(descriptor: Descriptor) {
    this.kernel.file(descriptor, this.owner)
    this.kernel.close(descriptor)
  }

  reset(socket: Descriptor) {
    this.socket(socket).sendReset()
    this.close(socket)
  }

  give(descriptor: Descriptor, to: Owner) {
    this.kernel.file(descriptor, this.owner)
    this.kernel.give(descriptor, to)
  }

  spare(): Descriptor | undefined {
    const spare = this.kernel.open(new Bell(), this.owner)
    return spare < 0 ? undefined : spare as Descriptor
  }

  tcpInfo(socket: Descriptor): TcpInfo | undefined {
    return this.socket(socket).tcpInfo()
  }

  unacknowledged(socket: Descriptor): number {
    return this.socket(socket).unacknowledged()
  }
}

const connectionBits = epollIn | epollUrgent | epollRdHup

/** Errors and hang-ups are told of whether they are asked for or not. */
const always = epollErr | epollHup

/** An epoll. It does not wait, and remembers for how long it would have. */
export class SimulatedPoll implements Poll {
  /** For how long the worker wants to wait: -1, until an event. */
  waitsMs = 0
  /** Descriptors that more events than this wait for are told of in the next turn. */
  eventsMax = 256
  readonly bell = new Bell()
  private readonly interests = new Map<Descriptor | "bell", Interest>()
  private readonly ready = new Set<Interest>()

  constructor(private readonly kernel: SimulatedKernel) {
    // An epoll forgets a descriptor that is closed.
    kernel.onClosed.push((descriptor) => this.unwatch(descriptor))
  }

  /** Whether the next wait has an event. */
  get hasEvents() {
    return Array.from(this.ready).some((interest) => this.bitsOf(interest) !== 0)
  }

  ring() {
    this.bell.ring()
  }

  watchBell(key: number) {
    this.watch("bell", this.bell, key, epollIn, true)
  }

  watchListener(listener: Descriptor, key: number) {
    this.watch(listener, this.kernel.fileOf(listener)!, key, epollIn, false)
  }

  watchConnection(socket: Descriptor, key: number): number {
    this.watch(socket, this.kernel.fileOf(socket)!, key, connectionBits, true)
    return 0
  }

  watchRoomToo(socket: Descriptor, key: number) {
    const interest = this.interests.get(socket)
    if (interest === undefined || interest.key !== key) {
      throw new Error(`descriptor ${socket} is not watched by key ${key}`)
    }
    interest.bits = connectionBits | epollOut
    this.ready.add(interest)
  }

  private watch(descriptor: Descriptor | "bell", file: File, key: number, bits: number, edgeTriggered: boolean) {
    if (this.interests.has(descriptor)) {
      throw new Error(`descriptor ${descriptor} is watched already`)
    }
    const waker: Waker = (wake) => {
      if (wake !== "out" || (interest.bits & epollOut) !== 0) {
        this.ready.add(interest)
      }
    }
    const interest: Interest = { file, key, bits, edgeTriggered, waker }
    this.interests.set(descriptor, interest)
    this.ready.add(interest)
    file.wakers.add(waker)
  }

  unwatch(descriptor: Descriptor) {
    const interest = this.interests.get(descriptor)
    if (interest !== undefined) {
      this.interests.delete(descriptor)
      this.ready.delete(interest)
      interest.file.wakers.delete(interest.waker)
    }
  }

  private bitsOf({ bits, file }: Interest) {
    return file.mask() & (bits | always)
  }

  wait(timeoutMs: number, onEvent: (key: number, bits: number) => void) {
    this.waitsMs = timeoutMs
    const fetched: Array<readonly [key: number, bits: number]> = []
    for (const interest of Array.from(this.ready)) {
      if (fetched.length === this.eventsMax) {
        break
      }
      this.ready.delete(interest)
      const bits = this.bitsOf(interest)
      if (bits !== 0) {
        fetched.push([interest.key, bits])
        if (!interest.edgeTriggered) {
          this.ready.add(interest)
        }
      }
    }
    for (const [key, bits] of fetched) {
      onEvent(key, bits)
    }
  }
}
