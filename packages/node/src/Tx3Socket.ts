/**
 * @effect/platform's `Socket` to a node, in place of `NodeSocket.layerNet`: what talks through a `Socket`, as an @effect/rpc
 * client does, reaches a machine behind a NAT. Each `run` opens a connection, which ends with it; nothing is open before.
 */
import * as Socket from "@effect/platform/Socket"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { read, write } from "./internal/socket.js"
import { ConnectionError } from "./NodeError.js"
import type { Tx3Connection } from "./Tx3Connection.js"
import * as Tx3Node from "./Tx3Node.js"

/**
 * A `Socket` whose `run` connects to a node. It fails with the reason `Open`, or `OpenTimeout`, and the `ConnectError` as
 * its cause where that cannot be done, and may be run again, as @effect/rpc's clients do to reconnect. Handlers begin in the
 * order of their chunks, up to 64 at a time; when so many are not done, nothing more is read, and the other end has to wait.
 * Writers wait until the connection is open, and after a `run` has ended for the next. A chunk that is written while the
 * connection is being lost is lost with it; `run` fails then.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (destination: Tx3Node.Destination): Effect.Effect<Socket.Socket, never, Tx3Node.Tx3Node> =>
  Effect.map(Tx3Node.Tx3Node, (node) => {
    const open = Effect.unsafeMakeLatch(false)
    let current: Tx3Connection | undefined

    const connected = Effect.tap(connect(node, destination), (connection) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          current = connection
          open.unsafeOpen()
        }),
        () =>
          Effect.sync(() => {
            current = undefined
            open.unsafeClose()
          })
      ))

    const writeWhenOpen = (chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> =>
      Effect.suspend(() =>
        current === undefined
          ? Effect.zipRight(open.await, writeWhenOpen(chunk))
          : Effect.catchIf(write(current, chunk), isLoss, () => Effect.void)
      )

    const run: Socket.Socket["run"] = (handler, options) =>
      Effect.scoped(
        Effect.flatMap(connected, (connection) =>
          Effect.zipRight(options?.onOpen ?? Effect.void, read(connection.readable, handler)))
      )

    return Socket.Socket.of({
      [Socket.TypeId]: Socket.TypeId,
      run,
      runRaw: run,
      writer: Effect.acquireRelease(
        Effect.succeed(writeWhenOpen),
        () => Effect.sync(() => void current?.duplex.end())
      )
    })
  })

const isLoss = (error: Socket.SocketError) =>
  error.reason === "Write" && error.cause instanceof ConnectionError &&
  (error.cause.reason === "lost" || error.cause.reason === "truncated")

const connect = (node: Tx3Node.Tx3Node["Type"], destination: Tx3Node.Destination) =>
  Effect.mapError(
    node.connect(destination),
    (cause) => new Socket.SocketGenericError({ reason: cause._tag === "TimedOut" ? "OpenTimeout" : "Open", cause })
  )

/**
 * A `Socket` to this address, or to several of one node, with the identity of `options`; by default a new one.
 * The node that it takes is not listening anywhere.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  destination: Tx3Node.Destination,
  options: Pick<Tx3Node.Options, "identity"> = {}
): Layer.Layer<Socket.Socket> => Layer.provide(layerWithoutNode(destination), Layer.orDie(Tx3Node.layer(options)))

/**
 * The same through a node that there is.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutNode = (
  destination: Tx3Node.Destination
): Layer.Layer<Socket.Socket, never, Tx3Node.Tx3Node> => Layer.effect(Socket.Socket, make(destination))
