/** Nodes, pairs of connections, and ways to watch them, for this package's tests. */
import { it } from "@effect/vitest"
import type * as RelayRegistration from "@tx3/node/RelayRegistration"
import type * as Tx3Connection from "@tx3/node/Tx3Connection"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as Handshake from "@tx3/protocol/Handshake"
import * as Identity from "@tx3/protocol/Identity"
import * as Tls from "@tx3/protocol/Tls"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash, randomBytes } from "node:crypto"
import * as net from "node:net"

/** A test on the real clock and real sockets, without the nodes' and relays' logs. */
export const live = <E>(name: string, test: () => Effect.Effect<unknown, E, Scope.Scope>) =>
  it.scopedLive(name, () => Effect.provide(test(), Logger.remove(Logger.defaultLogger)))

export const [alice, bob] = await Effect.runPromise(Effect.all([Identity.generate, Identity.generate]))

/** The next connection that comes in. */
export const taken = (node: Tx3Node.Tx3Node["Type"]) => Effect.map(Stream.runHead(node.connections), Option.getOrThrow)

/** The address a node can be connected to. */
export const addressOf = (node: Tx3Node.Tx3Node["Type"]) => node.addresses[0]!

/** Waits until a node's registration is in this state, however often it was lost before. */
export const untilState = (node: Tx3Node.Tx3Node["Type"], tag: RelayRegistration.State["_tag"]) =>
  node.registrations[0]!.state.changes.pipe(Stream.filter(({ _tag }) => _tag === tag), Stream.runHead)

/** Alice, listening; and both ends of a connection that bob opened to her. */
export const pair = Effect.gen(function*() {
  const listening = yield* Tx3Node.make({ bind: ["tx3-st://127.0.0.1:0"], identity: alice })
  const connecting = yield* Tx3Node.make({ identity: bob })
  const near = yield* connecting.connect(addressOf(listening))
  return { near, far: yield* taken(listening) }
})

/** A TCP connection that has said nothing. Errors on it are of no interest. */
export const silent = ({ host, port }: { readonly host: string; readonly port: number }) =>
  Effect.acquireRelease(
    Effect.async<net.Socket>((resume) => {
      const socket = net.connect({ host, port }).on("error", () => {})
      socket.once("connect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Bob over sockets of the test's own, which it can reset. */
export const rawBob = (address: AddressWithDigest) =>
  Effect.gen(function*() {
    const socket = yield* silent(address)
    return { socket, tls: (yield* Handshake.connect(socket, Tls.secureContext(bob))).socket }
  })

export const closed = (socket: net.Socket) =>
  Effect.async<void>((resume) => {
    // Without reading, a socket does not notice the end.
    socket.resume()
    if (socket.closed) {
      return resume(Effect.void)
    }
    socket.once("close", () => resume(Effect.void))
  })

export const payload = randomBytes(8 * 1024 * 1024)

export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

export const received = (connection: Tx3Connection.Tx3Connection) =>
  Effect.map(Stream.runCollect(connection.readable), (chunks) => Buffer.concat(Array.from(chunks)))

/** Sends it all in pieces and ends. */
export const sendAll = (connection: Tx3Connection.Tx3Connection, bytes: Uint8Array, pieceSize = 50_000) =>
  Stream.range(0, Math.ceil(bytes.length / pieceSize) - 1).pipe(
    Stream.map((index) => bytes.subarray(index * pieceSize, (index + 1) * pieceSize)),
    Stream.run(connection.writable),
    Effect.zipRight(connection.end)
  )

const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** Turns the event loop until a count has stood still for many turns. On loopback nothing comes later. */
export const atRest = (count: () => number) =>
  Effect.gen(function*() {
    let [still, last] = [0, count()]
    while (still < 200) {
      yield* turn
      still = count() === last ? still + 1 : 0
      last = count()
    }
    return last
  })

/** Turns the event loop until a condition holds. */
export const eventually = (condition: () => boolean) =>
  Effect.gen(function*() {
    while (!condition()) {
      yield* turn
    }
  })
