import { assert, describe, it } from "@effect/vitest"
import { Address, Identity } from "@tx3/protocol"
import { RelayConfig } from "@tx3/relay"
import { ConfigProvider, Effect, Either, Layer } from "effect"

const bind = ["tx3-rst://192.0.2.1:38141"] as const

const from = (place: string, values: Record<string, unknown>): RelayConfig.SettingsSource => ({
  place: (key) => `${place}.${key}`,
  values
})

const decode = (...sources: ReadonlyArray<RelayConfig.SettingsSource>) => Either.getOrThrow(RelayConfig.decode(sources))

const problem = (...sources: ReadonlyArray<RelayConfig.SettingsSource>) =>
  Either.match(RelayConfig.decode(sources), {
    onLeft: ({ message }) => message,
    onRight: (settings) => assert.fail(`accepted ${JSON.stringify(settings)}`)
  })

const environment = (variables: Record<string, string>) =>
  Effect.withConfigProvider(RelayConfig.fromEnvironment, ConfigProvider.fromMap(new Map(Object.entries(variables))))

/** All but these are whole numbers that have the same bounds. */
const others = [
  "bind",
  "maxShareOfNode",
  "maxShareOfRelay",
  "advertise",
  "proxyProtocolFrom",
  "transport",
  "transportThreads",
  "logSources"
]
const numbers = Object.keys(RelayConfig.Settings.fields).filter((key) => !others.includes(key))

describe("RelayConfig", () => {
  it("has the protocol's defaults", () => {
    const { bind: addresses, ...settings } = decode(from("code", { bind }))
    assert.deepStrictEqual(addresses.map(String), [...bind])
    assert.deepStrictEqual(settings, {
      // protocol section 5
      maxInboundConnections: 20480,
      maxControlStreams: 320,
      maxControlStreamsPerIp: 4,
      maxRelaysPerControl: 64,
      connectionTimeoutMs: 20_000,
      // section 6: 2, 4, 8, 10
      maxInboundPerIp: 512,
      connectionRatePerIp: 100,
      maxShareOfNode: 0.875,
      peerRatePerIp: 100,
      maxShareOfRelay: 0.5,
      maxHandshakes: 640,
      maxHandshakesPerIp: 8,
      controlWriteTimeoutMs: 2_000,
      lingerTimeoutMs: 60_000,
      drainTimeoutMs: 10_000,
      transport: "auto",
      transportThreads: 1,
      logSources: "full"
    })
  })

  it("the later source wins, key by key", () => {
    const settings = decode(
      from("file", { bind, maxControlStreams: 1, maxHandshakes: 1, lingerTimeoutMs: 1 }),
      from("environment", { maxHandshakes: 2, lingerTimeoutMs: 2 }),
      from("flags", { lingerTimeoutMs: 3 })
    )
    assert.strictEqual(settings.maxControlStreams, 1)
    assert.strictEqual(settings.maxHandshakes, 2)
    assert.strictEqual(settings.lingerTimeoutMs, 3)
  })

  it("an error names the source that gave the value, its key there, and what it must be", () => {
    assert.strictEqual(
      problem(from("file", { bind, maxHandshakes: 1 }), from("environment", { maxHandshakes: 0 }), from("flags", {})),
      "environment.maxHandshakes: must be a whole number from 1 to 2147483647"
    )
    assert.strictEqual(
      problem(from("file", { bind, maxHandshakes: 0 }), from("environment", {})),
      "file.maxHandshakes: must be a whole number from 1 to 2147483647"
    )
  })

  it("every number must be a whole one that a timer can take", () => {
    assert.strictEqual(numbers.length, 15)
    for (const key of numbers) {
      for (const value of [0, -1, 1.5, NaN, Infinity, 2 ** 31, "5", "five", null, [5], {}, true]) {
        assert.strictEqual(
          problem(from("code", { bind, [key]: value })),
          `code.${key}: must be a whole number from 1 to 2147483647`
        )
      }
      const settings: Record<string, unknown> = decode(from("code", { bind, [key]: 1 }))
      assert.strictEqual(settings[key], 1)
      decode(from("code", { bind, [key]: 2 ** 31 - 1 }))
    }
  })

  it("without an idleTimeoutMs there is none", () => {
    assert.isUndefined(decode(from("code", { bind })).idleTimeoutMs)
    assert.isUndefined(decode(from("code", { bind, idleTimeoutMs: undefined })).idleTimeoutMs)
    assert.strictEqual(decode(from("code", { bind, idleTimeoutMs: 5 })).idleTimeoutMs, 5)
  })

  it("there is no setting of another name, and the error says which there are", () => {
    const message = problem(from("file", { bind }), from("flags", { maxControlStream: 5 }))
    assert.match(message, /^flags\.maxControlStream: there is no such setting; there are bind, maxInboundConnections, /)
  })

  it("bind must be addresses of a relay, at least one", () => {
    const must = "must be a list of at least one address, as [tx3-rst://0.0.0.0:38141]"
    for (const value of [undefined, null, [], "tx3-rst://192.0.2.1:1", 5]) {
      assert.strictEqual(problem(from("file", value === undefined ? {} : { bind: value })), `file.bind: ${must}`)
    }
    assert.include(problem(from("file", { bind: [...bind, "tx3-st://192.0.2.1:1"] })), "file.bind: ")
    assert.include(problem(from("file", { bind: [...bind, "tx3-st://192.0.2.1:1"] })), "tx3-rst://HOST:PORT")
    assert.include(problem(from("file", { bind: ["192.0.2.1:1"] })), "scheme")
    assert.include(problem(from("file", { bind: ["tx3-rst://192.0.2.1"] })), "port")
  })

  it("bind takes names, IPv6, several, and port 0", () => {
    const addresses = ["tx3-rst://relay.example:1", "tx3-rst://[::]:0", "tx3-rst://0.0.0.0:0"]
    assert.deepStrictEqual(decode(from("file", { bind: addresses })).bind.map(String), addresses)
    assert.instanceOf(decode(from("file", { bind })).bind[0], Address.Address)
  })

  it.effect("the environment has each key in capitals behind TX3_RELAY_, and addresses separated by commas", () =>
    Effect.gen(function*() {
      const source = yield* environment({
        TX3_RELAY_BIND: "tx3-rst://192.0.2.1:1, tx3-rst://[::1]:2",
        TX3_RELAY_MAX_INBOUND_CONNECTIONS: "11",
        TX3_RELAY_MAX_CONTROL_STREAMS_PER_IP: "12",
        TX3_RELAY_CONNECTION_TIMEOUT_MS: "13",
        TX3_RELAY_IDLE_TIMEOUT_MS: "14",
        MAX_HANDSHAKES: "15"
      })
      assert.deepStrictEqual(source.values, {
        bind: ["tx3-rst://192.0.2.1:1", "tx3-rst://[::1]:2"],
        maxInboundConnections: 11,
        maxControlStreamsPerIp: 12,
        connectionTimeoutMs: 13,
        idleTimeoutMs: 14
      })
      assert.strictEqual(source.place("maxRelaysPerControl"), "TX3_RELAY_MAX_RELAYS_PER_CONTROL")
      assert.strictEqual(decode(source).bind.length, 2)
    }))

  it.effect("every key can be set from the environment, and an error names the variable", () =>
    Effect.gen(function*() {
      for (const key of numbers) {
        const name = (yield* environment({})).place(key)
        assert.match(name, /^TX3_RELAY_[A-Z_]+$/)
        const settings: Record<string, unknown> = decode(from("file", { bind }), yield* environment({ [name]: "7" }))
        assert.strictEqual(settings[key], 7)
        for (const text of ["", "many", "1e3", "-1", "0x10", "7 "]) {
          assert.strictEqual(
            problem(from("file", { bind, [key]: 1 }), yield* environment({ [name]: text })),
            `${name}: must be a whole number from 1 to 2147483647`
          )
        }
      }
    }))

  it.effect("the transport and its threads", () =>
    Effect.gen(function*() {
      const source = yield* environment({ TX3_RELAY_TRANSPORT: "portable", TX3_RELAY_TRANSPORT_THREADS: "64" })
      const settings = decode(from("file", { bind, transport: "kernel" }), source)
      assert.strictEqual(settings.transport, "portable")
      assert.strictEqual(settings.transportThreads, 64)
      for (const transport of ["fast", "", "Kernel", 1, null]) {
        assert.strictEqual(
          problem(from("file", { bind, transport })),
          "file.transport: must be auto, kernel or portable"
        )
      }
      for (const transportThreads of [0, 65, -1, 1.5, "2", null]) {
        assert.strictEqual(
          problem(from("file", { bind, transportThreads })),
          "file.transportThreads: must be a whole number from 1 to 64"
        )
      }
    }))

  it.effect("proxyProtocolFrom: addresses and ranges, at least one, nobody by default", () =>
    Effect.gen(function*() {
      assert.isUndefined(decode(from("file", { bind })).proxyProtocolFrom)
      const ranges = ["192.0.2.1", "10.0.0.0/8", "2001:db8::1", "fd00::/8"] as const
      assert.deepStrictEqual(decode(from("file", { bind, proxyProtocolFrom: ranges })).proxyProtocolFrom, [...ranges])
      const source = yield* environment({ TX3_RELAY_PROXY_PROTOCOL_FROM: "192.0.2.1, 10.0.0.0/8" })
      assert.deepStrictEqual(decode(from("file", { bind }), source).proxyProtocolFrom, ["192.0.2.1", "10.0.0.0/8"])
      for (const proxyProtocolFrom of [[], "10.0.0.0/8", 5, null]) {
        assert.strictEqual(
          problem(from("file", { bind, proxyProtocolFrom })),
          "file.proxyProtocolFrom: must be a list of at least one IP address or CIDR range"
        )
      }
      for (const range of ["10/8", "010.0.0.0/8", "10.0.0.0/33", "10.0.0.0/", "fe80::1%eth0", "balancer.example", ""]) {
        assert.strictEqual(
          problem(from("file", { bind, proxyProtocolFrom: ["192.0.2.1", range] })),
          `file.proxyProtocolFrom: ${range} is not an IP address or a CIDR range`
        )
      }
    }))

  it.effect("layer: from code, with an identity of its own or a given one", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.generate
      const given = yield* Effect.provide(
        RelayConfig.RelayConfig,
        RelayConfig.layer({ bind, identity, maxHandshakes: 3 })
      )
      assert.strictEqual(given.identity.digest, identity.digest)
      assert.strictEqual(given.maxHandshakes, 3)
      const generated = yield* Effect.provide(RelayConfig.RelayConfig, RelayConfig.layer({ bind }))
      assert.notStrictEqual(generated.identity.digest, identity.digest)

      const error = yield* Effect.flip(Layer.build(RelayConfig.layer({ bind, maxHandshakes: 0 })).pipe(Effect.scoped))
      assert.strictEqual(
        error.message,
        "RelayConfig.layer: maxHandshakes: must be a whole number from 1 to 2147483647"
      )
    }))

  it.effect("layerFromEnvironment: from the environment alone", () =>
    Effect.gen(function*() {
      const build = (variables: Record<string, string>) =>
        Effect.provide(RelayConfig.RelayConfig, RelayConfig.layerFromEnvironment).pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
        )
      const config = yield* build({ TX3_RELAY_BIND: "tx3-rst://192.0.2.1:1", TX3_RELAY_DRAIN_TIMEOUT_MS: "5" })
      assert.strictEqual(config.drainTimeoutMs, 5)
      assert.strictEqual(
        (yield* Effect.flip(build({}))).message,
        "TX3_RELAY_BIND: must be a list of at least one address, as [tx3-rst://0.0.0.0:38141]"
      )
    }))
})
