/**
 * Whether this machine may have another way to the world now: its addresses have changed, or it has slept. Nothing tells a
 * program of either on every system, so it is looked for while somebody waits for it, and only then.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as os from "node:os"

/** The machine's interfaces. The system's, unless a test replaces them. */
export class Interfaces extends Context.Reference<Interfaces>()("@tx3/node/internal/Interfaces", {
  defaultValue: () => os.networkInterfaces
}) {}

const lookEveryMs = 1_000

/** So much more time of day than time that this process has run has gone by after a sleep, and after no small correction. */
const sleptMs = 10_000

/** Waits until the network may have changed. */
export const changed: Effect.Effect<void> = Effect.gen(function*() {
  const interfaces = yield* Interfaces
  const addresses = addressesOf(interfaces())
  const ahead = yield* timeOfDayAhead
  while (true) {
    yield* Effect.sleep(lookEveryMs)
    if (addressesOf(interfaces()) !== addresses || (yield* timeOfDayAhead) - ahead > sleptMs) {
      return
    }
  }
})

/** The clock that tells the time of day goes on while a machine sleeps, and the one that measures time does not. */
const timeOfDayAhead = Effect.zipWith(
  Clock.currentTimeMillis,
  Clock.currentTimeNanos,
  (timeOfDay, running) => timeOfDay - Number(running / 1_000_000n)
)

const addressesOf = (interfaces: ReturnType<typeof os.networkInterfaces>) =>
  Object.values(interfaces).flatMap((infos) => infos ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => address)
    .sort().join(" ")
