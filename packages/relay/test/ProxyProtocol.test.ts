/** A relay behind proxies that send the PROXY protocol: whom it sees then. */
import { assert, describe, it } from "@effect/vitest"
import { Address, CertDigest } from "@tx3/protocol"
import { Access, Bandwidth, RelayEvents, RelayTest } from "@tx3/relay"
import { Effect, HashMap, Layer, Logger } from "effect"
import * as Net from "node:net"
import { carries, refusedToRegister } from "./utils/clients.js"
import { withRelay } from "./utils/withRelay.js"

/** A proxy in front of the relay that says of whoever comes that they are this one. */
const proxy = (relay: Address.Address, source: string) =>
  Effect.acquireRelease(
    Effect.async<{ readonly address: Address.Address; readonly sockets: Set<Net.Socket>; readonly server: Net.Server }>(
      (resume) => {
        const sockets = new Set<Net.Socket>()
        const server = Net.createServer({ allowHalfOpen: true }, (client) => {
          const upstream = Net.connect({ allowHalfOpen: true, host: relay.host, port: relay.port })
          const end = () => [client, upstream].forEach((socket) => socket.destroy())
          for (const socket of [client, upstream]) {
            sockets.add(socket)
            socket.on("error", end).on("close", (hadError) => {
              sockets.delete(socket)
              if (hadError || upstream.destroyed) {
                end()
              }
            })
          }
          upstream.write(`PROXY TCP${Net.isIPv6(source) ? `6 ${source} ::1` : `4 ${source} 127.0.0.1`} 1 2\r\n`)
          client.pipe(upstream).pipe(client)
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as Net.AddressInfo
          resume(Effect.succeed({ address: new Address.Address({ ...relay, port }), server, sockets }))
        })
      }
    ),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        sockets.forEach((socket) => socket.destroy())
      })
  ).pipe(Effect.map(({ address }) => address))

const everybody = { proxyProtocolFrom: ["127.0.0.0/8"] } as const

describe("proxyProtocolFrom", () => {
  it.live("limits count whom the proxy names, not the proxy", () =>
    withRelay({ ...everybody, maxInboundPerIp: 2 }, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        const [one, sameOne, other] = [
          yield* proxy(address, "192.0.2.1"),
          yield* proxy(address, "192.0.2.1"),
          yield* proxy(address, "192.0.2.2")
        ]
        yield* RelayTest.connect(one)
        yield* RelayTest.connect(sameOne)
        yield* has({ preamble: 2 })
        yield* Effect.flatMap(RelayTest.connect(one), (surplus) => surplus.closed)
        yield* Effect.flatMap(RelayTest.connect(sameOne), (surplus) => surplus.closed)
        yield* rejected("maxInboundPerIp", 2)

        yield* RelayTest.connect(other)
        yield* RelayTest.connect(other)
        yield* has({ preamble: 4 })
        yield* rejected("maxInboundPerIp", 2)
      })))

  it.live("IPv6 sources through one proxy count by their /64", () =>
    withRelay({ ...everybody, maxControlStreamsPerIp: 1 }, ({ address, has, rejected }) =>
      Effect.gen(function*() {
        yield* RelayTest.register(yield* proxy(address, "2001:db8:1:2::1"))
        yield* refusedToRegister(yield* proxy(address, "2001:db8:1:2:ffff::1"))
        yield* rejected("maxControlStreamsPerIp", 1)
        yield* RelayTest.register(yield* proxy(address, "2001:db8:1:3::1"))
        yield* has({ control: 2 })
      })))

  it.live("nodes register and are spliced through proxies; events and logs name whom those name", () => {
    const events: Array<RelayEvents.RelayEvent> = []
    const lines: Array<Record<string, unknown>> = []
    const logger = Logger.make<unknown, void>(({ annotations, message }) => {
      lines.push({ message: String(message), ...Object.fromEntries(HashMap.toEntries(annotations)) })
    })
    return withRelay(
      { ...everybody, maxControlStreamsPerIp: 1 },
      ({ address, has, rejected }) =>
        Effect.gen(function*() {
          const nodes = yield* proxy(address, "192.0.2.1")
          const node = yield* RelayTest.register(nodes)
          const peer = yield* RelayTest.sendPreamble(
            yield* proxy(address, "::ffff:192.0.2.2"),
            CertDigest.toBytes(node.identity.digest)
          )
          const accepted = yield* node.accept
          yield* carries(peer, accepted, "through two proxies")
          yield* carries(accepted, peer, "and back")
          yield* has({ control: 1, spliced: 2 })
          yield* refusedToRegister(nodes)
          yield* rejected("maxControlStreamsPerIp", 1)
        }),
      Layer.mergeAll(
        Access.layerOpen,
        Bandwidth.layerUnlimited,
        Layer.succeed(RelayEvents.RelayEvents, { publish: (event) => events.push(event) })
      )
    ).pipe(
      Effect.provide(Logger.add(logger)),
      Effect.tap(() => {
        assert.deepStrictEqual(
          events.flatMap((event) => event._tag === "Carried" ? [] : [[event._tag, event.source]]).sort(),
          [
            ["ControlStreamBegan", "192.0.2.1"],
            ["ControlStreamEnded", "192.0.2.1"],
            ["Rejected", "192.0.2.1"],
            ["SpliceBegan", "192.0.2.2"],
            ["SpliceEnded", "192.0.2.2"]
          ]
        )
        const sources = lines.filter(({ source }) => source !== undefined).map((
          { message, source }
        ) => [message, source])
        assert.deepInclude(sources, ["connection turned away by a limit", "192.0.2.1"])
        assert.isTrue(sources.every(([, source]) => source !== "127.0.0.1"))
      })
    )
  })

  it.live("a proxy without a header is an accept error that the log names; whoever is no proxy has no header", () => {
    const errors: Array<unknown> = []
    const logger = Logger.make<unknown, void>(({ annotations, message }) => {
      if (String(message) === "accept failed") {
        errors.push(HashMap.toEntries(annotations).find(([key]) => key === "error")?.[1])
      }
    })
    return withRelay({ proxyProtocolFrom: ["127.0.0.2"] }, ({ address, rejected, relay }) =>
      Effect.gen(function*() {
        const proxied = yield* RelayTest.sendPreamble(address, new Uint8Array(32), { localAddress: "127.0.0.2" })
        yield* proxied.closed
        yield* RelayTest.eventually(Effect.map(relay.snapshot, ({ totals }) => totals.acceptErrors === 1))
        assert.strictEqual((yield* relay.snapshot).totals.accepted, 0)
        const line = Buffer.from("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n")
        yield* Effect.flatMap(RelayTest.sendPreamble(address, line), (stranger) => stranger.closed)
        yield* rejected("unknownPreamble", 1)
        assert.deepStrictEqual(errors, [
          "accept failed: the proxy 127.0.0.2 sent something else than a PROXY header"
        ])
      })).pipe(Effect.provide(Logger.add(logger)))
  })
})
