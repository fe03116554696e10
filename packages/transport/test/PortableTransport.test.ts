import { describe, it } from "@effect/vitest"
import { DescriptorLimit, PortableTransport } from "@tx3/transport"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { assert } from "vitest"
import { payload } from "./utils/client.js"
import { insideFromLeft, noLeak, spliced, stalled } from "./utils/fixtures.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("PortableTransport", PortableTransport.layer)

describe("PortableTransport alone", () => {
  it.scopedLive("keeps a read and the streams' buffers of a stalled direction, not more", () =>
    Effect.gen(function*() {
      yield* noLeak
      const pair = yield* spliced({ rightReads: false })
      pair.left.client.stream(payload(32 * 1024 * 1024))
      yield* stalled(pair.left.client)
      assert.isBelow(insideFromLeft(pair), 256 * 1024)
    }).pipe(Effect.provide(PortableTransport.layer)))
})

describe("DescriptorLimit", () => {
  it.effect("is what ulimit -n shows", () =>
    Effect.gen(function*() {
      const limit = yield* Effect.flatten(DescriptorLimit.descriptorLimit)
      // Node raises its own soft limit, which a child inherits.
      assert.strictEqual(limit, Number(execFileSync("bash", ["-c", "ulimit -n"]).toString()))
    }))
})
