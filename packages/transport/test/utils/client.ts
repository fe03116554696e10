/** A TCP client on node:net that remembers what happened to it. */
import { Reset } from "@tx3/sockets"
import { descriptorOf } from "@tx3/sockets/SocketCalls"
import { boundReceiveBuffer, msgDontWait, send, sendUrgentByte, urgentByte } from "@tx3/testing/libc"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import * as Net from "node:net"

/** How the other end finished: with a FIN or with a reset. */
export type Ending = "end" | "reset"

const patienceMs = 60_000
const sliceBytes = 64 * 1024
/** The receive buffer of a client that does not read. */
const stalledBufferBytes = 256 * 1024

export class Client {
  /** Set by the first of a FIN and an error. */
  ending: Ending | undefined
  closed = false
  /** Bytes of `stream` that the kernel has taken. */
  accepted = 0
  private readonly unread: Array<Buffer> = []
  private unreadBytes = 0
  private readonly waiting = new Set<() => void>()

  constructor(readonly socket: Net.Socket, reading: boolean) {
    socket.on("end", () =>
      this.note(() => {
        const { bytes, isReset } = Reset.behindEnd(socket)
        this.keep(bytes)
        this.ending ??= isReset ? "reset" : "end"
      }))
      .on("error", () => this.note(() => this.ending = "reset"))
      .on("close", () => this.note(() => this.closed = true))
    if (reading) {
      this.startReading()
    }
  }

  startReading() {
    this.socket.on("data", (chunk: Buffer) => this.note(() => this.keep(chunk)))
    this.socket.resume()
  }

  private keep(chunk: Buffer) {
    this.unread.push(chunk)
    this.unreadBytes += chunk.length
  }

  private note(what: () => void) {
    what()
    for (const check of this.waiting) {
      check()
    }
  }

  until(awaited: string, condition: () => boolean) {
    return Effect.async<void>((resume) => {
      const check = () => condition() && resume(Effect.void)
      this.waiting.add(check)
      check()
      return Effect.sync(() => this.waiting.delete(check))
    }).pipe(
      Effect.timeoutFail({
        duration: patienceMs,
        onTimeout: () =>
          new Error(`not within ${patienceMs} ms: ${awaited}; unread ${this.unreadBytes}, ending ${this.ending}`)
      }),
      Effect.orDie
    )
  }

  /** The next bytes, exactly so many. */
  read(count: number): Effect.Effect<Buffer> {
    return this.until(`${count} bytes`, () => this.unreadBytes >= count || this.ending !== undefined).pipe(
      Effect.flatMap(() =>
        this.unreadBytes < count
          ? Effect.die(new Error(`${this.ending} after ${this.unreadBytes} of ${count} bytes`))
          : Effect.sync(() => this.take(count))
      )
    )
  }

  /** Everything up to the end, and what kind of end it was. */
  readonly readAll: Effect.Effect<{ readonly bytes: Buffer; readonly ending: Ending }> = Effect.suspend(() =>
    this.until("the end", () => this.ending !== undefined).pipe(
      Effect.map(() => ({ bytes: this.take(this.unreadBytes), ending: this.ending! }))
    )
  )

  /** All that has come. */
  rest(): Buffer {
    return this.take(this.unreadBytes)
  }

  private take(count: number) {
    const all = Buffer.concat(this.unread.splice(0))
    if (all.length > count) {
      this.unread.push(all.subarray(count))
    }
    this.unreadBytes = all.length - count
    return all.subarray(0, count)
  }

  /** Writes slice after slice, each when the kernel has taken the one before. */
  stream(bytes: Buffer) {
    const slice = bytes.subarray(0, sliceBytes)
    if (slice.length > 0) {
      this.socket.write(slice, (error) => {
        if (!error) {
          this.accepted += slice.length
          this.stream(bytes.subarray(slice.length))
        }
      })
    }
  }

  reset() {
    this.socket.resetAndDestroy()
  }

  /** For a client that has read a FIN: only writing shows that the connection has been reset since. */
  readonly wasReset: Effect.Effect<void> = Effect.suspend(() =>
    this.until("the reset", () => {
      if (this.socket.writable) {
        this.socket.write("")
      }
      return this.ending === "reset"
    })
  )

  readonly isClosed: Effect.Effect<void> = Effect.suspend(() => this.until("the close", () => this.closed))
}

/** Bytes among which an urgent one can be told. */
export const ordinary = (size: number) => Buffer.from(payload(size).map((byte) => byte === urgentByte[0] ? 0 : byte))

/** Sends bytes and behind them an urgent one, through the socket's descriptor, of which Node writes nothing meanwhile. */
export const sendUrgent = ({ socket }: Client, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.gen(function*() {
    let rest = Buffer.from(bytes)
    while (rest.length > 0) {
      const sent = send(descriptorOf(socket)!, rest, rest.length, msgDontWait)
      rest = rest.subarray(Math.max(0, sent))
      yield* sent < 0 ? Effect.sleep(1) : Effect.void
    }
    while (!sendUrgentByte(socket)) {
      yield* Effect.sleep(1)
    }
  })

/**
 * Connected until the scope closes; fails with the system's error. A client that does not read has a small receive buffer, so
 * that its sender stalls.
 */
export const connect = (
  to: { readonly host: string; readonly port: number; readonly localAddress?: string },
  reading = true
) =>
  Effect.acquireRelease(
    Effect.async<Client, NodeJS.ErrnoException>((resume) => {
      const { host, localAddress, port } = to
      const socket = Net.connect({ allowHalfOpen: true, host, localAddress, noDelay: true, port })
      const client = new Client(socket, reading)
      socket.once("connect", () => {
        if (!reading) {
          boundReceiveBuffer(socket, stalledBufferBytes)
        }
        resume(Effect.succeed(client))
      })
        .once("error", (cause: NodeJS.ErrnoException) => resume(Effect.fail(cause)))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const randomness = randomBytes(65 * 1024 * 1024)
let taken = 0

/** Random bytes, others at each call. */
export const payload = (size: number): Buffer => {
  if (size >= randomness.length) {
    return Buffer.alloc(size, randomness)
  }
  taken = (taken + 4_099) % (randomness.length - size)
  return randomness.subarray(taken, taken + size)
}
