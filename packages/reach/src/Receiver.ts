/**
 * Takes files from many senders at a time, so that a slow or silent one keeps no other from sending. Its transfers end with
 * the scope that `run` is called in.
 *
 * @since 0.1.0
 */
import type { FileError } from "@tx3/files/FileError"
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Allows } from "./AllowList.js"
import * as FileTransfer from "./FileTransfer.js"

/** Connections at a time, those among them that have offered nothing yet. */
const maxTransfers = 16

/** The same of one sender. */
const maxOfOneSender = 4

type Failure = ConnectionError | FileError | FileTransfer.TransferError

/** What is known of an offer: how many follow it, and whether it may go on when it is interrupted. */
type Offered = Parameters<NonNullable<FileTransfer.ReceiveOptions["onOffer"]>>[0]

/** A connection that has a place. */
interface Transfer {
  readonly sender: CertDigest
  /** What it has offered. */
  offer: Offered | undefined
  fiber: Fiber.RuntimeFiber<void> | undefined
}

/**
 * Takes files until a signal ends it, or, without `keep`, until one has arrived, with those that its sender said would follow, and
 * no other is on its way. A failure ends it only then, and only after an offer: a stranger who says nothing, or nonsense, ends
 * nothing. Nor does an interruption, after which the sender may go on.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (options: {
  readonly connections: Stream.Stream<Tx3Connection>
  readonly keep: boolean
  /** None where every peer may send. */
  readonly allows: Allows | undefined
  readonly tell: (text: string) => Effect.Effect<void>
  /** Told of what strangers cause, which can be often. */
  readonly tellOfStranger: (text: string) => Effect.Effect<void>
  readonly receive: (connection: Tx3Connection, onOffer: (offer: Offered) => void) => Effect.Effect<void, Failure>
}): Effect.Effect<void, Failure, Scope.Scope> =>
  Effect.gen(function*() {
    const { allows, connections, keep, receive, tell, tellOfStranger } = options
    const transfers = new Set<Transfer>()
    const end = yield* Deferred.make<void, Failure>()
    let hasArrived = false

    const isLast = (transfer: Transfer) =>
      !keep && transfer.offer !== undefined &&
      !Array.from(transfers).some((other) => other !== transfer && other.offer !== undefined)

    const take = (connection: Tx3Connection, transfer: Transfer) =>
      Effect.gen(function*() {
        if (allows !== undefined && !(yield* allows(connection.remoteDigest))) {
          yield* FileTransfer.refuse(connection, `${connection.remoteDigest} is not allowed to send here`)
          yield* tellOfStranger(`refused ${connection.remoteDigest}, who is not allowed to send`)
          return
        }
        const onOffer = (offer: Offered) => {
          transfer.offer = offer
        }
        yield* receive(connection, onOffer).pipe(
          Effect.matchEffect({
            onFailure: (error) =>
              transfer.offer?.mayResume === true && FileTransfer.isInterruption(error)
                ? tell("a transfer was interrupted; what came is kept, and the sender may go on")
                : isLast(transfer) && !hasArrived
                ? Deferred.fail(end, error)
                : transfer.offer !== undefined
                ? tell(error.message)
                : tellOfStranger(error.message),
            onSuccess: () =>
              Effect.sync(() => {
                hasArrived ||= transfer.offer?.more === 0
              })
          })
        )
        if (hasArrived && isLast(transfer)) {
          yield* Deferred.succeed(end, undefined)
        }
      })

    const busy = (connection: Tx3Connection) =>
      FileTransfer.refuse(connection, "busy with other files; try again later").pipe(
        Effect.ensuring(connection.close),
        Effect.forkScoped
      )

    yield* Stream.runForEach(connections, (connection) =>
      Effect.gen(function*() {
        const sender = connection.remoteDigest
        if (Array.from(transfers).filter((other) => other.sender === sender).length >= maxOfOneSender) {
          yield* busy(connection)
          return
        }
        if (transfers.size >= maxTransfers) {
          const silent = Array.from(transfers).find(({ offer }) => offer === undefined)
          if (silent?.fiber === undefined) {
            yield* busy(connection)
            return
          }
          yield* Fiber.interrupt(silent.fiber)
        }
        const transfer: Transfer = { sender, offer: undefined, fiber: undefined }
        transfers.add(transfer)
        transfer.fiber = yield* take(connection, transfer).pipe(
          Effect.ensuring(Effect.sync(() => transfers.delete(transfer))),
          Effect.onExit((exit) => Exit.isSuccess(exit) ? connection.close : connection.reset),
          Effect.forkScoped
        )
      })).pipe(Effect.raceFirst(Deferred.await(end)))
  })
