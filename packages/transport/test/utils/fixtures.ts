/** A listener, connections that have arrived at it, and splices of two of them; all end with the scope. */
import { Transport } from "@tx3/transport"
import type { Scope } from "effect"
import { Deferred, Effect, Queue } from "effect"
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert } from "vitest"
import type { Client } from "./client.js"
import { connect, payload } from "./client.js"
import { eventually, kernelSocket, openSockets, turns } from "./system.js"

export const megabyte = 1_000_000
export const mebibyte = 1024 * 1024

/** Bytes that a splice or a connection may keep in this process, one way. */
export const keptMax = 2 * mebibyte

const largestBuffer = (direction: "rmem" | "wmem") =>
  Number(readFileSync(`/proc/sys/net/ipv4/tcp_${direction}`, "latin1").trim().split(/\s+/)[2])

/**
 * More bytes than the sockets between a sender and a reader that does not read can hold: two send buffers and a receive buffer
 * as large as this system lets them grow, the reader's own (see `connect`), a pipe and what Node reads ahead.
 */
export const heap = largestBuffer("rmem") + 2 * largestBuffer("wmem") + 4 * mebibyte

export interface Listening extends Transport.Bound {
  readonly connections: Queue.Dequeue<Transport.Connection>
  /** Held from a client's connecting to the taking of its connection. */
  readonly arrival: Effect.Semaphore
}

/** Every socket that was opened in the scope has to be closed with it. Comes first, so that it looks last. */
export const noLeak: Effect.Effect<void, never, Scope.Scope> = Effect.suspend(() => {
  const before = openSockets()
  return Effect.addFinalizer(() => eventually(`${before} open sockets`, () => openSockets() === before))
})

/** Listens and hands connections through a queue; closes them all in the end. */
export const listening = (
  options: Partial<Transport.ListenOptions> = {}
): Effect.Effect<Listening, Transport.ListenError, Transport.Transport | Scope.Scope> =>
  Effect.gen(function*() {
    const transport = yield* Transport.Transport
    const connections = yield* Queue.unbounded<Transport.Connection>()
    const accepted: Array<Transport.Connection> = []
    yield* Effect.addFinalizer(() => Effect.forEach(accepted, ({ close }) => close))
    const bound = yield* transport.listen({
      host: "127.0.0.1",
      port: 0,
      ipv6Only: false,
      onConnection: (connection) => {
        accepted.push(connection)
        connections.unsafeOffer(connection)
      },
      onAcceptError: (error) => {
        throw error
      },
      ...options
    })
    return { ...bound, arrival: Effect.unsafeMakeSemaphore(1), connections }
  })

/** The two ends of one connection: the test's and the transport's. */
export interface Link {
  readonly client: Client
  readonly connection: Transport.Connection
}

/** A client that has just been accepted. */
export const accepted = (listener: Listening, reading = true): Effect.Effect<Link, never, Scope.Scope> =>
  connect(listener, reading).pipe(
    Effect.orDie,
    Effect.zip(Queue.take(listener.connections)),
    listener.arrival.withPermits(1),
    Effect.map(([client, connection]) => ({ client, connection })),
    Effect.filterOrDie(
      ({ client, connection }) => connection.remotePort === client.socket.localPort,
      () => new Error("took another client's connection")
    )
  )

/** A client whose preamble has been read; `behind` came in the same segment. */
export const arrived = (
  listener: Listening,
  options: { readonly behind?: Uint8Array; readonly reading?: boolean } = {}
): Effect.Effect<Link, Transport.HungUp, Scope.Scope> =>
  Effect.gen(function*() {
    const link = yield* accepted(listener, options.reading)
    link.client.socket.write(Buffer.concat([payload(32), options.behind ?? Buffer.alloc(0)]))
    yield* link.connection.preamble
    return link
  })

export interface Spliced extends Transport.Splice {
  readonly left: Link
  readonly right: Link
  readonly report: Effect.Effect<Transport.SpliceReport>
}

/** Checks in the end that the report has been given, once. */
export const splice = (
  left: Link,
  right: Link,
  options: Partial<Transport.SpliceOptions> = {}
): Effect.Effect<Spliced, never, Transport.Transport | Scope.Scope> =>
  Effect.gen(function*() {
    const transport = yield* Transport.Transport
    const report = yield* Deferred.make<Transport.SpliceReport>()
    let reports = 0
    let returned = false
    const running = transport.splice(
      left.connection,
      right.connection,
      { lingerTimeoutMs: 60_000, idleTimeoutMs: undefined, rates: [], ...options },
      (given) => {
        reports++
        Deferred.unsafeDone(report, returned ? Effect.succeed(given) : Effect.dieMessage("a report before the return"))
      }
    )
    returned = true
    yield* Effect.addFinalizer(() =>
      left.connection.close.pipe(
        Effect.zipRight(eventually("a report", () => reports > 0)),
        Effect.zipRight(turns()),
        Effect.zipRight(
          Effect.suspend(() => reports === 1 ? Effect.void : Effect.die(new Error(`${reports} reports`)))
        )
      )
    )
    return {
      left,
      right,
      carried: () => running.carried(),
      limit: (rates) => running.limit(rates),
      report: Deferred.await(report).pipe(
        Effect.timeoutFail({ duration: "60 seconds", onTimeout: () => new Error("no report within 60 s") }),
        Effect.orDie
      )
    }
  })

/** Two clients of one listener, joined. */
export const spliced = (
  options: Partial<Transport.SpliceOptions> & { readonly leftReads?: boolean; readonly rightReads?: boolean } = {}
): Effect.Effect<
  Spliced,
  Transport.ListenError | Transport.HungUp,
  Transport.Transport | Scope.Scope
> =>
  Effect.gen(function*() {
    const { leftReads = true, rightReads = true, ...spliceOptions } = options
    const listener = yield* listening()
    const left = yield* arrived(listener, { reading: leftReads })
    const right = yield* arrived(listener, { reading: rightReads })
    return yield* splice(left, right, spliceOptions)
  })

/** Waits until a client that streams gets rid of nothing more. */
export const stalled = (client: Client): Effect.Effect<void> =>
  Effect.gen(function*() {
    let [accepted, still] = [-1, 0]
    yield* eventually("a stalled sender", () => {
      still = client.accepted === accepted ? still + 1 : 0
      accepted = client.accepted
      return accepted > 0 && still >= 50
    })
  })

const pumped = payload(256 * 1024)

/** One client sends as fast as it can, until the scope closes, and the other, which has not read yet, forgets. */
export const pump = (from: Client, to: Client): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const state = { running: true }
      const send = () => {
        if (state.running) {
          from.socket.write(pumped, (error) => error ?? send())
        }
      }
      to.socket.resume()
      send()
      return state
    }),
    (state) =>
      Effect.sync(() => {
        state.running = false
      })
  )

/** A splice that a process of its own fills from both sides, as fast as it can. */
export const bulkSplice = (
  listener: Listening
): Effect.Effect<Transport.Splice, Transport.HungUp, Transport.Transport | Scope.Scope> =>
  Effect.gen(function*() {
    const transport = yield* Transport.Transport
    yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [bulkFile, String(listener.port)], { stdio: "ignore" })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const [left, right] = [yield* Queue.take(listener.connections), yield* Queue.take(listener.connections)]
    yield* left.preamble
    yield* right.preamble
    return transport.splice(left, right, { idleTimeoutMs: undefined, lingerTimeoutMs: 60_000, rates: [] }, () => {})
  })

const bulkFile = fileURLToPath(new URL("bulk.mjs", import.meta.url))

/** Bytes that a splice has taken from its left side and that are in this process, not in a socket's buffer. */
export const insideFromLeft = ({ carried, right }: Spliced): number => {
  const { localPort, remotePort } = right.client.socket
  const sending = kernelSocket(remotePort!, localPort!)!.sending
  const unread = kernelSocket(localPort!, remotePort!)!.unread
  return carried().fromLeft - sending - unread - right.client.socket.bytesRead
}

/** For splices that are pumped through. */
export const greedy = { leftReads: false, rightReads: false }

/** Both clients of a splice send as fast as they can, until the scope closes. */
export const pumpBothWays = ({ left, right }: Spliced) =>
  Effect.zipRight(pump(left.client, right.client), pump(right.client, left.client))

/** Waits until a hang-up has been noticed. */
export const hungUp = ({ connection }: Link) =>
  Effect.async<void>((resume) => connection.onHangUp(() => resume(Effect.void)))

/** The two ends of a splice, this one first. */
export const sides = ({ left, right }: Spliced, first: "left" | "right") =>
  first === "left" ? [left, right] as const : [right, left] as const

/** Six bytes there and six back. */
export const echoes = (one: Link, other: Link) =>
  Effect.gen(function*() {
    one.client.socket.write("there!")
    assert.strictEqual((yield* other.client.read(6)).toString(), "there!")
    other.client.socket.write("back.!")
    assert.strictEqual((yield* one.client.read(6)).toString(), "back.!")
  })

/** What a splice has carried, both ways. */
export const sum = ({ fromLeft, fromRight }: Transport.Carried) => fromLeft + fromRight

/** Timers that keep this process alive. */
export const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length

export const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")
