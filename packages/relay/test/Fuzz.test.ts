/**
 * Random splices through a real relay, byte-checked: the same ones in each run of the tests. `npm run fuzz` makes others for
 * some seconds, or again those of the seed that a failure names.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { randomInt } from "node:crypto"
import { kinds, round } from "./utils/fuzz.js"
import { transport, withoutDefects } from "./utils/withRelay.js"

const chosen = process.env["TX3_FUZZ_TRANSPORT"] ?? "all"
const names = Object.keys(kinds).filter((name) =>
  kinds[name]!.transport === transport && (chosen === "all" || chosen === name)
)
const wanted = process.env["TX3_FUZZ_SECONDS"]
/** Of each of the three kinds. */
const seconds = Number(wanted ?? 0) / (chosen === "all" ? 3 : 1)
const roundsMin = wanted === undefined ? 8 : 1
const firstSeed = Number(process.env["TX3_FUZZ_SEED"] ?? (wanted === undefined ? 917_818_653 : randomInt(2 ** 31)))

describe.skipIf(names.length === 0)("Fuzz", () => {
  for (const name of names) {
    it.live(
      `${name}: splices of all kinds lose no byte, lie about no end and leave nothing behind`,
      () =>
        Effect.gen(function*() {
          const until = Date.now() + seconds * 1_000
          let [seed, splices, unmet] = [firstSeed, 0, 0]
          let bytes = 0
          do {
            const done = yield* round(seed++, kinds[name]!)
            splices += done.splices
            unmet += done.unmet
            bytes += done.bytes
          } while (seed < firstSeed + roundsMin || Date.now() < until)
          if (wanted !== undefined) {
            const mebibytes = Math.round(bytes / 1024 ** 2)
            process.stdout.write(
              `${name}: seeds ${firstSeed} to ${seed - 1}, ${splices} splices, ${mebibytes} MiB, ${unmet} peers unmet\n`
            )
          }
          assert.isAbove(splices, 0)
        }).pipe(withoutDefects),
      seconds * 1_000 + 120_000
    )
  }
})
