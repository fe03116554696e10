import { assert, describe, it } from "@effect/vitest"
import { Identity } from "@tx3/protocol"
import { Proxy } from "@tx3/sockets"
import { Effect } from "effect"
import { httpProxy } from "../../node/test/utils/httpProxy.js"
import { withRelay } from "../../node/test/utils/relays.js"
import { Probe } from "../src/index.js"

describe("Probe", () => {
  it.scopedLive("makes its three connections through the proxy there is", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { port, targets } = yield* httpProxy
        const server = yield* Proxy.parse(`http://me:pass%25word@127.0.0.1:${port}`)
        const identity = yield* Identity.generate
        const times = yield* Effect.provideService(Probe.run(relay, identity, 20_000), Proxy.Proxy, () => server)
        assert.hasAllKeys(times, [...Probe.steps])
        assert.deepStrictEqual(targets, Array.from({ length: 3 }, () => `${relay.host}:${relay.port}`))
      })
    ))

  it.scopedLive("names the step that a proxy does not allow, and the proxy", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { port } = yield* httpProxy
        const server = yield* Proxy.parse(`http://127.0.0.1:${port}`)
        const identity = yield* Identity.generate
        const error = yield* Probe.run(relay, identity, 20_000).pipe(
          Effect.provideService(Proxy.Proxy, () => server),
          Effect.flip
        )
        assert.strictEqual(error.step, "controlStream")
        assert.match(error.problem, new RegExp(`^the proxy http://127\\.0\\.0\\.1:${port} .*(407|password)`))
      })
    ))
})
