/**
 * The one module that acts on descriptors: sockets, epoll, pipes, through koffi and libc.
 *
 * The rules here, which everything else relies on:
 *
 * 1. The ledger, a byte for each descriptor number shared by all threads, names the one thread that may act on it. A
 *    number enters the ledger in the statement after its opening and leaves it in the one before its closing.
 * 2. Nothing here reads, writes or closes a descriptor that the ledger does not give to the calling thread: so none is
 *    closed twice, and a number that the system has given out again is safe from its former owner. Listeners, epolls and
 *    bells are the main thread's: the others use them, and it closes them when they have all stopped.
 * 3. A descriptor changes hands by `give`, called by its owner, before the message that tells the new one.
 * 4. A dead thread's descriptors are closed by the main thread: `closeAllOf`.
 * 5. An epoll event carries a key, never a number. A thread uses no key twice, so an event that was fetched before its
 *    socket was closed finds no entry.
 * 6. A pipe is empty and in the pool, or lent to one direction of one splice. One that still holds bytes when its
 *    splice ends is closed.
 */
import * as Koffi from "@tx3/sockets/Koffi"
import * as SocketCalls from "@tx3/sockets/SocketCalls"
import type { TcpInfo } from "@tx3/sockets/TcpInfo"
import { probeIntervalMs } from "@tx3/sockets/TcpInfo"
import { getSystemErrorName } from "node:util"
import { keepAliveProbes, keepAliveSeconds } from "./keepAlive.js"
import type { Descriptor, DescriptorCalls, Incoming, Owner, Pipe, Poll } from "./system.js"
import { epollIn, epollOut, epollRdHup, epollUrgent, noDescriptors, pipeBytes } from "./system.js"

/** In the ledger: of no thread, or not this transport's. */
const noOwner = 0

// Numbers of Linux on x86-64 and arm64. Source: include/uapi of the kernel, and netdb.h.

const epollExclusive = 2 ** 28
const epollEdgeTriggered = 2 ** 31

// Both go through koffi, which this module needs at once.
const socketCalls = SocketCalls.load()!

const koffi = Koffi.load()
const libc = koffi.load(null)

const addrinfo = koffi.struct({
  flags: "int",
  family: "int",
  type: "int",
  protocol: "int",
  addressLength: "uint32_t",
  address: "void *",
  canonicalName: "void *",
  next: "void *"
})

const c = {
  accept4: libc.func("int accept4(int fd, void *address, void *length, int flags)"),
  bind: libc.func("int bind(int fd, void *address, uint32_t length)"),
  close: libc.func("int close(int fd)"),
  connect: libc.func("int connect(int fd, void *address, uint32_t length)"),
  epollCreate: libc.func("int epoll_create1(int flags)"),
  epollCtl: libc.func("int epoll_ctl(int epoll, int operation, int fd, void *event)"),
  epollWait: libc.func("int epoll_wait(int epoll, void *events, int max, int timeout)"),
  eventfd: libc.func("int eventfd(uint32_t value, int flags)"),
  fcntl: libc.func("int fcntl(int fd, int command, ...)"),
  freeaddrinfo: libc.func("void freeaddrinfo(void *list)"),
  getaddrinfo: libc.func("getaddrinfo", "int", [
    "str",
    "str",
    koffi.pointer(addrinfo),
    koffi.out(koffi.pointer("void *"))
  ]),
  getnameinfo: libc.func(
    "int getnameinfo(void *address, uint32_t length, void *host, uint32_t hostLength, void *port, uint32_t portLength, int flags)"
  ),
  getsockname: libc.func("int getsockname(int fd, void *address, void *length)"),
  listen: libc.func("int listen(int fd, int backlog)"),
  pipe2: libc.func("int pipe2(void *fds, int flags)"),
  recv: libc.func("intptr_t recv(int fd, void *buffer, size_t length, int flags)"),
  send: libc.func("intptr_t send(int fd, void *buffer, size_t length, int flags)"),
  setsockopt: libc.func("int setsockopt(int fd, int level, int option, void *value, uint32_t length)"),
  shutdown: libc.func("int shutdown(int fd, int how)"),
  socket: libc.func("int socket(int family, int type, int protocol)"),
  splice: libc.func(
    "intptr_t splice(int from, void *fromOffset, int to, void *toOffset, size_t length, uint32_t flags)"
  ),
  write: libc.func("intptr_t write(int fd, void *buffer, size_t length)")
}

/** `EADDRNOTAVAIL`. */
const noSuchAddress = -99
/** `EINPROGRESS`. */
const inProgress = -115

const ai = { passive: 0x1, numericHost: 0x4, numericService: 0x400 }
const ni = { numericHost: 0x1, numericService: 0x2 }
const addressFamily = { any: 0, inet: 2, inet6: 10 }
const sockStream = 1
const ipprotoIpv6 = 41
const ipv6V6Only = 26
const ipprotoTcp = 6
const tcp = { noDelay: 1, keepIdle: 4, keepInterval: 5, keepCount: 6 }
const solSocket = 1
const so = { reuseAddress: 2, keepAlive: 9, linger: 13 }
const shutWrite = 1
const msgPeek = 0x2
const msgNoSignal = 0x4000
const epollAdd = 1
const epollDelete = 2
const epollModify = 3
/** Of sockets, pipes and eventfds alike. */
const nonBlocking = 0o4000
/** Of epolls, too. */
const closeOnExec = 0o2000000
/** F_SETPIPE_SZ. */
const setPipeSize = 1031
/** SPLICE_F_MOVE | SPLICE_F_NONBLOCK. */
const spliceFlags = 0x1 | 0x2

/** The result of a call, or the negative of its errno. */
const orErrno = (result: number) => result < 0 ? -koffi.errno() : result

/** A failed system call, as Node reports them. */
export const systemError = (syscall: string, negativeErrno: number): NodeJS.ErrnoException => {
  const code = getSystemErrorName(negativeErrno)
  return Object.assign(new Error(`${syscall} ${code}`), { code, errno: negativeErrno, syscall })
}

const orThrow = (syscall: string, result: number) => {
  if (result < 0) {
    throw systemError(syscall, -koffi.errno())
  }
  return result
}

const intOption = Buffer.alloc(4)
const setOption = (fd: number, level: number, option: number, value: number) => {
  intOption.writeInt32LE(value)
  orThrow("setsockopt", c.setsockopt(fd, level, option, intOption, intOption.length))
}

/** Sets the options that listeners pass on to the sockets that they accept, and that dialed sockets have themselves. */
const setTcpOptions = (fd: number) => {
  setOption(fd, ipprotoTcp, tcp.noDelay, 1)
  setOption(fd, ipprotoTcp, tcp.keepIdle, keepAliveSeconds)
  setOption(fd, ipprotoTcp, tcp.keepInterval, keepAliveSeconds)
  setOption(fd, ipprotoTcp, tcp.keepCount, keepAliveProbes)
  setOption(fd, solSocket, so.keepAlive, 1)
  socketCalls.setProbeInterval(fd, probeIntervalMs)
}

/** The fields of an addrinfo that a socket is opened and bound or connected with. */
interface ResolvedAddress {
  readonly address: unknown
  readonly addressLength: number
  readonly family: number
}

/** struct linger { on, 0 seconds }: close(2) sends a reset. */
const lingerZero = Buffer.from(Int32Array.of(1, 0).buffer)

const socketAddress = Buffer.alloc(128)
const socketAddressLength = new Uint32Array(1)
const hostText = Buffer.alloc(64)
const portText = Buffer.alloc(8)

/** In a sockaddr_in6: the first twelve bytes of an address of IPv4 that is mapped into IPv6 (RFC 4291, section 2.5.5.2). */
const mapped = Buffer.from("00000000000000000000ffff", "hex")

/** The host and port in `socketAddress`, numeric. The system is asked only for addresses of IPv6. */
const nameOfSocketAddress = () => {
  const port = socketAddress.readUInt16BE(2)
  if (socketAddress.readUInt16LE(0) === addressFamily.inet) {
    return { host: socketAddress.subarray(4, 8).join("."), port }
  }
  return mapped.equals(socketAddress.subarray(8, 20))
    ? { host: `::ffff:${socketAddress.subarray(20, 24).join(".")}`, port }
    : nameOfIpv6()
}

const nameOfIpv6 = () => {
  const flags = ni.numericHost | ni.numericService
  if (
    c.getnameinfo(
      socketAddress,
      socketAddressLength[0],
      hostText,
      hostText.length,
      portText,
      portText.length,
      flags
    ) !== 0
  ) {
    throw new Error("getnameinfo cannot read a socket's address")
  }
  return {
    host: hostText.toString("latin1", 0, hostText.indexOf(0)),
    port: Number(portText.toString("latin1", 0, portText.indexOf(0)))
  }
}

/** A ledger with a place for every descriptor number that the process can have. */
export const makeLedger = (descriptors: number) => new SharedArrayBuffer(descriptors)

/** The calls of one thread on the descriptors that it owns. */
export class Descriptors implements DescriptorCalls {
  private readonly ledger: Uint8Array
  private readonly idlePipes: Array<Pipe> = []
  private lentPipes = 0

  constructor(
    ledger: SharedArrayBuffer,
    private readonly owner: Owner,
    /** Pipes that may be lent at a time. */
    private readonly pipesMax: number
  ) {
    this.ledger = new Uint8Array(ledger)
  }

  /** Enters a number into the ledger; a failed call's, or one beyond the ledger, comes out as the negative errno. */
  private entered(fd: number): Descriptor | number {
    if (fd < 0) {
      return -koffi.errno()
    }
    if (fd >= this.ledger.length) {
      c.close(fd)
      return noDescriptors[0]!
    }
    this.ledger[fd] = this.owner
    return fd
  }

  private opened(syscall: string, fd: number): Descriptor {
    const descriptor = this.entered(fd)
    if (descriptor < 0) {
      throw systemError(syscall, descriptor)
    }
    return descriptor as Descriptor
  }

  private own(descriptor: Descriptor): number {
    if (this.ledger[descriptor] !== this.owner) {
      throw new Error(`descriptor ${descriptor} belongs to ${this.ledger[descriptor]}, not to ${this.owner}`)
    }
    return descriptor
  }

  /** Passes a descriptor on. */
  give(descriptor: Descriptor, to: Owner) {
    this.ledger[this.own(descriptor)] = to
  }

  /** Passes a descriptor to an owner outside of this transport, which is not checked any more. */
  giveAway(descriptor: Descriptor): number {
    this.give(descriptor, noOwner)
    return descriptor
  }

  close(descriptor: Descriptor) {
    this.ledger[this.own(descriptor)] = noOwner
    c.close(descriptor)
  }

  /** Closes a socket so that the remote end sees a reset. */
  reset(socket: Descriptor) {
    c.setsockopt(this.own(socket), solSocket, so.linger, lingerZero, lingerZero.length)
    this.close(socket)
  }

  /** Ends what a thread that is no more has left open. */
  closeAllOf(dead: Owner) {
    for (let fd = this.ledger.indexOf(dead); fd >= 0; fd = this.ledger.indexOf(dead, fd + 1)) {
      this.ledger[fd] = this.owner
      this.reset(fd as Descriptor)
    }
  }

  /**
   * A listening socket. Accepted sockets inherit what is set on it: TCP_NODELAY, keep-alive, and a bound of the time
   * between two probes, where the kernel has one.
   */
  listen(host: string, port: number, ipv6Only: boolean, backlog: number): Incoming {
    return this.socketFor(host, port, (fd, { address, addressLength, family }, socket) => {
      try {
        setOption(fd, solSocket, so.reuseAddress, 1)
        if (family === addressFamily.inet6) {
          setOption(fd, ipprotoIpv6, ipv6V6Only, ipv6Only ? 1 : 0)
        }
        setTcpOptions(fd)
        orThrow("bind", c.bind(fd, address, addressLength))
        orThrow("listen", c.listen(fd, backlog))
        socketAddressLength[0] = socketAddress.length
        orThrow("getsockname", c.getsockname(fd, socketAddress, socketAddressLength))
        return { socket, ...nameOfSocketAddress() }
      } catch (cause) {
        this.close(socket)
        throw cause
      }
    })
  }

  /** Opens a socket for a numeric address, and uses both. */
  private socketFor<A>(
    host: string,
    port: number,
    use: (fd: number, address: ResolvedAddress, socket: Descriptor) => A
  ): A {
    const list: [unknown] = [null]
    const hints = {
      flags: ai.passive | ai.numericHost | ai.numericService,
      family: addressFamily.any,
      type: sockStream,
      protocol: 0,
      addressLength: 0
    }
    if (c.getaddrinfo(host, String(port), hints, list) !== 0) {
      throw systemError("getaddrinfo", noSuchAddress)
    }
    try {
      const address = koffi.decode(list[0], addrinfo) as ResolvedAddress
      const fd = c.socket(address.family, sockStream | nonBlocking | closeOnExec, 0)
      return use(fd, address, this.opened("socket", fd))
    } finally {
      c.freeaddrinfo(list[0])
    }
  }

  /** A socket that connects, with the options of a listener's; or the negative errno. */
  connect(host: string, port: number): Descriptor | number {
    try {
      return this.socketFor(host, port, (fd, { address, addressLength }, socket) => {
        setTcpOptions(fd)
        const result = orErrno(c.connect(fd, address, addressLength))
        if (result === 0 || result === inProgress) {
          return socket
        }
        this.close(socket)
        return result
      })
    } catch (error) {
      const { errno } = error as NodeJS.ErrnoException
      if (errno === undefined) {
        throw error
      }
      return errno
    }
  }

  /** A connection, or the negative errno. */
  accept(listener: Descriptor): Incoming | number {
    socketAddressLength[0] = socketAddress.length
    const socket = this.entered(c.accept4(listener, socketAddress, socketAddressLength, nonBlocking | closeOnExec))
    return socket < 0 ? socket : { socket: socket as Descriptor, ...nameOfSocketAddress() }
  }

  /** Bytes read into the buffer, 0 at the end, or the negative errno. */
  receive(socket: Descriptor, into: Uint8Array, most = into.length): number {
    return orErrno(c.recv(this.own(socket), into, most, 0))
  }

  /** The same, and the bytes stay in the socket. */
  peek(socket: Descriptor, into: Uint8Array): number {
    return orErrno(c.recv(this.own(socket), into, into.length, msgPeek))
  }

  /** Bytes sent, or the negative errno. */
  send(socket: Descriptor, bytes: Uint8Array, length: number): number {
    return orErrno(c.send(this.own(socket), bytes, length, msgNoSignal))
  }

  /** Sends the end of the stream. */
  shutdown(socket: Descriptor): number {
    return orErrno(c.shutdown(this.own(socket), shutWrite))
  }

  /** The kernel's information on a connection; undefined if it gives none. */
  tcpInfo(socket: Descriptor): TcpInfo | undefined {
    return socketCalls.tcpInfo(this.own(socket))
  }

  /** Bytes sent to a socket that its other end has not acknowledged. */
  unacknowledged(socket: Descriptor): number {
    return socketCalls.unacknowledgedBytes(this.own(socket)) ?? 0
  }

  /** A pipe for bytes on their way; undefined when as many are lent as may be, or there is no descriptor for it. */
  lendPipe(): Pipe | undefined {
    if (this.lentPipes >= this.pipesMax) {
      return undefined
    }
    const pipe = this.idlePipes.pop() ?? this.openPipe()
    if (pipe !== undefined) {
      this.lentPipes++
    }
    return pipe
  }

  private openPipe(): Pipe | undefined {
    const ends = new Int32Array(2)
    if (c.pipe2(ends, nonBlocking | closeOnExec) < 0) {
      return undefined
    }
    const [from, to] = [this.entered(ends[0]!) as Descriptor, this.entered(ends[1]!) as Descriptor]
    if (from < 0 || to < 0) {
      for (const end of [from, to].filter((end) => end >= 0)) {
        this.close(end)
      }
      return undefined
    }
    // The kernel limits the pipes of an unprivileged user (pipe-user-pages-soft). Beyond that the default size remains.
    c.fcntl(to, setPipeSize, "int", pipeBytes)
    return { from, to, bytes: 0 }
  }

  takePipeBack(pipe: Pipe) {
    this.lentPipes--
    if (pipe.bytes === 0 && this.idlePipes.length < idlePipesMax) {
      this.idlePipes.push(pipe)
    } else {
      this.close(pipe.from)
      this.close(pipe.to)
    }
  }

  /**
   * Moves what a socket has received into an empty pipe: bytes moved, 0 at the end, or the negative errno. splice(2) does
   * not get past urgent data: there it moves nothing, and says so as at an end or as if nothing had come. `receive` does.
   */
  fill(pipe: Pipe, from: Descriptor, most = pipeBytes): number {
    const moved = orErrno(c.splice(this.own(from), null, this.own(pipe.to), null, most, spliceFlags))
    if (moved > 0) {
      pipe.bytes += moved
    }
    return moved
  }

  /** Moves what a pipe holds to a socket: bytes moved, or the negative errno. */
  drain(pipe: Pipe, to: Descriptor): number {
    const moved = orErrno(c.splice(this.own(pipe.from), null, this.own(to), null, pipe.bytes, spliceFlags))
    if (moved > 0) {
      pipe.bytes -= moved
    }
    return moved
  }

  /** Opens the epoll that a thread waits with, and a bell for the other threads. */
  openPoll(): { readonly bell: Descriptor; readonly poll: Descriptor } {
    const bell = this.opened("eventfd", c.eventfd(0, nonBlocking | closeOnExec))
    try {
      return { bell, poll: this.opened("epoll_create1", c.epollCreate(closeOnExec)) }
    } catch (cause) {
      this.close(bell)
      throw cause
    }
  }

  /** A descriptor that is good for nothing but being closed when another is needed; undefined if there is none. */
  spare(): Descriptor | undefined {
    const spare = this.entered(c.eventfd(0, closeOnExec))
    return spare < 0 ? undefined : spare as Descriptor
  }
}

/** Pipes kept when nothing is under way: enough for two directions of eight splices that move at the same time. */
const idlePipesMax = 16

/** struct epoll_event is packed on x86-64 only. Source: epoll_event in the kernel's eventpoll.h. */
const [eventInts, keyAt] = process.arch === "x64" ? [3, 1] as const : [4, 2] as const

const one = Buffer.from(BigUint64Array.of(1n).buffer)

/** Rings a thread's bell, from any thread: its `wait` returns. */
export const ring = (bell: Descriptor) => {
  c.write(bell, one, 8)
}

const event = new Int32Array(4)
const control = (poll: Descriptor, operation: number, descriptor: Descriptor, key: number, bits: number) => {
  event[0] = bits
  event[keyAt] = key % 2 ** 32
  event[keyAt + 1] = Math.floor(key / 2 ** 32)
  return orErrno(c.epollCtl(poll, operation, descriptor, event))
}

const watchFor = (operation: number, poll: Descriptor, descriptor: Descriptor, key: number, bits: number) => {
  const result = control(poll, operation, descriptor, key, bits)
  if (result < 0) {
    throw systemError("epoll_ctl", result)
  }
}

const connectionEvents = epollIn | epollUrgent | epollRdHup | epollEdgeTriggered

/** Ends the events of a descriptor, but for those that have been fetched. */
export const unwatch = (poll: Descriptor, descriptor: Descriptor) => {
  control(poll, epollDelete, descriptor, 0, 0)
}

const eventsMax = 256
const events = new Int32Array(eventInts * eventsMax)

/** EINTR. */
const interrupted = -4

/** The epoll of the calling thread, and its bell. */
export class Epoll implements Poll {
  constructor(
    private readonly poll: Descriptor,
    private readonly bell: Descriptor
  ) {}

  watchConnection(socket: Descriptor, key: number): number {
    return control(this.poll, epollAdd, socket, key, connectionEvents)
  }

  watchRoomToo(socket: Descriptor, key: number) {
    watchFor(epollModify, this.poll, socket, key, connectionEvents | epollOut)
  }

  watchListener(listener: Descriptor, key: number) {
    watchFor(epollAdd, this.poll, listener, key, epollIn | epollExclusive)
  }

  watchBell(key: number) {
    // Each ring is an edge, so nothing has to read what the bell counts.
    watchFor(epollAdd, this.poll, this.bell, key, epollIn | epollEdgeTriggered)
  }

  unwatch(descriptor: Descriptor) {
    unwatch(this.poll, descriptor)
  }

  wait(timeoutMs: number, onEvent: (key: number, bits: number) => void) {
    const count = orErrno(c.epollWait(this.poll, events, eventsMax, timeoutMs))
    if (count < 0 && count !== interrupted) {
      throw systemError("epoll_wait", count)
    }
    for (let at = 0; at < count * eventInts; at += eventInts) {
      onEvent((events[at + keyAt]! >>> 0) + (events[at + keyAt + 1]! >>> 0) * 2 ** 32, events[at]!)
    }
  }
}
