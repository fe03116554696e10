/** The work of `tx3 ping`. */
import * as Ping from "@tx3/reach/Ping"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { connectingNode, destinationOf } from "../nodes.js"
import { tell } from "../tell.js"

export const run = ({ address, count, identity, interval, verbose }: {
  readonly address: string
  readonly count: number
  readonly identity: Option.Option<string>
  readonly interval: number
  readonly verbose: boolean
}) =>
  Effect.gen(function*() {
    const { connect } = yield* connectingNode(identity)
    const { destination } = yield* destinationOf([address])
    const [time, connection] = yield* Effect.timed(connect(destination))
    const connectedMs = Duration.toMillis(time)
    const times: Array<number> = []
    const roundTrip = Effect.gen(function*() {
      const time = yield* Ping.once(connection)
      times.push(time)
      if (verbose || process.stdout.isTTY) {
        yield* Console.log(`reply ${times.length} in ${time.toFixed(3)} ms`)
      }
    })
    const summary = Effect.suspend(() => {
      if (times.length === 0) {
        return Effect.void
      }
      const { mean, min, p99 } = Ping.summarize(times)
      const figures = [min, mean, p99].map((time) => time.toFixed(3)).join("/")
      return Console.log(`min/mean/p99 = ${figures} ms, ${times.length} replies from ${connection.remoteDigest}`)
    })
    yield* roundTrip.pipe(
      Effect.repeat(Schedule.intersect(Schedule.recurs(count - 1), Schedule.spaced(interval))),
      Effect.ensuring(summary),
      // The service of a tx3 expose does not echo, and the connection to it shows all the same that it can be reached.
      Effect.tapErrorTag("PingError", () =>
        tell(`connected to ${connection.remoteDigest} in ${connectedMs.toFixed(3)} ms`))
    )
  }).pipe(Effect.scoped)
