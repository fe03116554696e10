/**
 * Detects a change of network: the machine's addresses have changed, or it has slept. No event reports this on every system, so
 * this module polls every second, only while a caller waits.
 */
import * as Interfaces from "@tx3/sockets/Interfaces"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as os from "node:os"

const lookEveryMs = 1_000

/** So much more time of day than time that this process has run has gone by after a sleep, and after no small correction. */
const sleptMs = 10_000

/** Waits until the network may have changed. Where the interfaces cannot be listed, only a sleep is noticed. */
export const changed: Effect.Effect<void> = Effect.gen(function*() {
  const before = yield* addresses
  const ahead = yield* timeOfDayAhead
  while (true) {
    yield* Effect.sleep(lookEveryMs)
    const now = yield* addresses
    const differ = before !== undefined && now !== undefined && before !== now
    if (differ || (yield* timeOfDayAhead) - ahead > sleptMs) {
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

const addresses = Effect.match(Interfaces.list, { onFailure: () => undefined, onSuccess: addressesOf })
