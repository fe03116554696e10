/** The work of `tx3 listen`. */
import { endStdout } from "@tx3/command/EndStdout"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as Pipe from "@tx3/reach/Pipe"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { listeningNode, placesOf } from "../nodes.js"
import { qrCodes } from "../qrCode.js"
import { tell } from "../tell.js"

export const run = ({ allowTruncated, echo, identity, keep, place, qr }: {
  readonly allowTruncated: boolean
  readonly echo: boolean
  readonly identity: Option.Option<string>
  readonly keep: boolean
  readonly place: Option.Option<string>
  readonly qr: boolean
}) =>
  Effect.gen(function*() {
    const { addresses, connections, serve } = yield* listeningNode(
      identity,
      yield* placesOf(Option.toArray(place), "an address: tx3 listen RELAY"),
      {
        allowTruncated,
        requireRegistration: true
      }
    )
    if (echo) {
      yield* Console.log(addresses.join("\n"))
      yield* qrCodes(qr, addresses)
      return yield* serve((connection) => Effect.catchAll(Pipe.echo(connection), () => connection.reset))
    }
    yield* Effect.forEach(addresses, (address) => tell(`listening at ${address}`))
    yield* qrCodes(qr, addresses)
    const pipe = (connection: Tx3Connection, options?: Parameters<typeof Pipe.run>[2]) =>
      Effect.zipRight(tell(`connected with ${connection.remoteDigest}`), Pipe.run(connection, process, options))
    yield* keep
      ? takeEach(connections, (connection) =>
        Effect.catchTag(pipe(connection), "ConnectionError", (error) =>
          Effect.zipRight(connection.reset, tell(error.message))))
      : takeEach(Stream.take(connections, 1), (connection) =>
        pipe(connection, { endStdout }))
  }).pipe(Effect.scoped)

/** The connections that come in, each closed when its handler is done, in order if it succeeds. */
const takeEach = <E, R>(
  connections: Stream.Stream<Tx3Connection>,
  handler: (connection: Tx3Connection) => Effect.Effect<void, E, R>
) =>
  Stream.runForEach(
    connections,
    (connection) =>
      Effect.onExit(handler(connection), (exit) => Exit.isSuccess(exit) ? connection.close : connection.reset)
  )
