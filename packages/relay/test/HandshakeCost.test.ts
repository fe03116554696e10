/** What a hostile node may cost the relay in TLS, during its handshake and afterwards. */
import { assert, describe, it } from "@effect/vitest"
import { Identity, Tls } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import { Effect } from "effect"
import type * as net from "node:net"
import * as records from "../../protocol/test/utils/records.js"
import { controlPreamble } from "./utils/clients.js"
import { withRelay } from "./utils/withRelay.js"

describe("Handshakes", () => {
  it.live("a registered node that floods its stream with KeyUpdates is ended as one that spoke", () =>
    withRelay({}, ({ address, has, relay }) =>
      Effect.gen(function*() {
        const tcp = yield* RelayTest.sendPreamble(address, controlPreamble(address))
        const { records: made, socket } = records.client(
          tcp.stream as net.Socket,
          Tls.clientOptions(Tls.secureContext(yield* Identity.generate))
        )
        const flood = yield* made
        yield* has({ control: 1 })
        tcp.stream.write(Buffer.concat(Array.from({ length: 30 }, () => flood.keyUpdate())))
        // Less than a KiB is the node's to use.
        yield* Effect.sleep(50)
        yield* has({ control: 1 })
        tcp.stream.write(Buffer.concat(Array.from({ length: 30 }, () => flood.keyUpdate())))
        yield* has({ control: 0 })
        assert.strictEqual((yield* relay.snapshot).totals.controlStreamsEnded.spoke, 1)
        socket.destroy()
      })))

  it.live("of one source come in a bounded rate, and others are served meanwhile", () =>
    withRelay({ maxControlStreamsPerIp: 1 }, ({ address, relay }) =>
      Effect.gen(function*() {
        const attempt = Effect.scoped(Effect.gen(function*() {
          const stranger = yield* RelayTest.sendPreamble(address, controlPreamble(address))
          yield* Effect.ignore(stranger.send(Buffer.from("GET / HTTP/1.1\r\n\r\n")))
          yield* stranger.receiveAll.pipe(Effect.ignore)
          return (yield* relay.snapshot).totals.rejections
        }))
        let last = yield* attempt
        for (let i = 0; i < 200 && last.maxHandshakesPerIp === 0; i++) {
          last = yield* attempt
        }
        assert.isAbove(last.maxHandshakesPerIp, 0)
        assert.isAtLeast(last.handshakeFailed, 20)
        yield* RelayTest.register(address, { localAddress: "127.0.0.2" })
      })))
})
