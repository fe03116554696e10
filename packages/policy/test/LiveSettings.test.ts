/**
 * Settings that cannot be put to use.
 */
import { assert, describe, it } from "@effect/vitest"
import { LiveSettings } from "@tx3/policy"
import { RelayConfig } from "@tx3/relay"
import { Effect } from "effect"
import { liveSettings, logTo, reload } from "./utils/operated.js"

describe("LiveSettings", () => {
  it.scoped("if one of those who follow cannot use what is new, all go on with what there was", () => {
    let maxHandshakes = 1
    return Effect.gen(function*() {
      const live = yield* LiveSettings.LiveSettings
      const config = yield* RelayConfig.RelayConfig
      const seen: Array<number> = []
      yield* live.follow((settings) => void seen.push(settings.maxHandshakes))
      yield* live.follow((settings) => {
        if (settings.maxHandshakes === 2) {
          throw new Error("two is too many")
        }
      })
      maxHandshakes = 2
      const error = yield* Effect.flip(reload)
      assert.include(error.message, "two is too many")
      assert.strictEqual(live.current().maxHandshakes, 1)
      assert.strictEqual(config.maxHandshakes, 1)
      assert.deepStrictEqual(seen, [1, 2, 1])
      maxHandshakes = 3
      yield* reload
      assert.strictEqual(config.maxHandshakes, 3)
    }).pipe(Effect.provide([liveSettings(() => ({ maxHandshakes })), logTo([])]))
  })
})
