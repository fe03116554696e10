import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ClusterFiles, OperatorConfig } from "@tx3/policy"
import { temporaryFolder } from "@tx3/testing/builtPrograms"
import { ConfigProvider, Effect, Either, Redacted } from "effect"
import { chmodSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const bind = ["tx3-rst://127.0.0.1:0"]
const least = { listen: "tx3-link://10.0.0.5:38143", nats: ["nats://10.0.0.1:4222"] }

const decode = (cluster: unknown) =>
  OperatorConfig.decode([{ place: (key) => `relay.yml: ${key}`, values: { bind, cluster } }])

const problemOf = (cluster: unknown) => Either.getOrThrow(Either.flip(decode(cluster))).message

const withEnvironment = (variables: Record<string, string>, cluster: unknown) =>
  Effect.map(
    Effect.withConfigProvider(
      OperatorConfig.fromEnvironment,
      ConfigProvider.fromMap(new Map(Object.entries(variables)))
    ),
    (environment) =>
      OperatorConfig.decode([{ place: (key) => `relay.yml: ${key}`, values: { bind, cluster } }, environment])
  )

describe("cluster", () => {
  it("is off unless it is set", () => {
    assert.isUndefined(Either.getOrThrow(decode(undefined)).cluster)
    assert.deepStrictEqual(Either.getOrThrow(decode(least)).cluster, least as never)
    assert.deepStrictEqual(OperatorConfig.placeOfLink("tx3-link://[fd00::1]:7"), { host: "fd00::1", port: 7 })
  })

  it("says what is wrong, where, and never a password", () => {
    const problems: ReadonlyArray<readonly [unknown, string]> = [
      [{ nats: least.nats }, "relay.yml: cluster.listen: is missing"],
      [{ ...least, listen: "10.0.0.5:38143" }, "relay.yml: cluster.listen: must be tx3-link://HOST:PORT"],
      [{ ...least, nats: [] }, "relay.yml: cluster.nats: is missing"],
      [{ ...least, nats: "nats://a:1" }, "relay.yml: cluster.nats: must be a list of at least one nats://HOST:PORT"],
      [
        { ...least, nats: ["nats://u:secret@/x"] },
        "relay.yml: cluster.nats: must be nats://HOST:PORT or tls://HOST:PORT"
      ],
      [{ ...least, nats: ["http://x:1"] }, "relay.yml: cluster.nats: must be nats://HOST:PORT or tls://HOST:PORT"],
      [{ ...least, name: "a.b" }, "relay.yml: cluster.name: must be 1 to 64 letters, digits, - and _"],
      [{ ...least, tls: { cert: "c.pem" } }, "relay.yml: cluster.tls: cert and key go together"],
      [{ ...least, more: 1 }, "relay.yml: cluster.more: there is no such setting here"],
      [
        { ...least, listen: "tx3-link://0.0.0.0:38143" },
        "relay.yml: cluster.advertise: must be tx3-link://HOST:PORT that other members can dial, since listen is on all " +
        "addresses"
      ]
    ]
    assert.deepStrictEqual(problems.map(([cluster]) => problemOf(cluster)), problems.map(([, problem]) => problem))
    assert.strictEqual(OperatorConfig.withoutSecrets("[\"nats://u:p@h:4222\"]"), "[\"nats://…@h:4222\"]")
  })

  it.effect("is completed by the environment, and an error names the place that it came from", () =>
    Effect.gen(function*() {
      const listen = { TX3_RELAY_CLUSTER_LISTEN: "tx3-link://10.0.0.6:1", TX3_RELAY_CLUSTER_TLS_CA: "ca.pem" }
      assert.deepStrictEqual(
        Either.getOrThrow(yield* withEnvironment(listen, least)).cluster,
        { ...least, listen: "tx3-link://10.0.0.6:1", tls: { ca: "ca.pem" } } as never
      )
      const nats = { TX3_RELAY_CLUSTER_NATS: "nats://a:1, nats://b:2", TX3_RELAY_CLUSTER_NAME: "7" }
      assert.deepStrictEqual(
        Either.getOrThrow(yield* withEnvironment({ ...nats, ...listen }, undefined)).cluster,
        {
          listen: "tx3-link://10.0.0.6:1",
          name: "7",
          nats: ["nats://a:1", "nats://b:2"],
          tls: { ca: "ca.pem" }
        } as never
      )
      const problem = (variables: Record<string, string>, cluster: unknown) =>
        Effect.map(withEnvironment(variables, cluster), (decoded) => Either.getOrThrow(Either.flip(decoded)).message)
      assert.include(yield* problem({ TX3_RELAY_CLUSTER_LISTEN: "x" }, least), "TX3_RELAY_CLUSTER_LISTEN: must be")
      assert.include(yield* problem(listen, { ...least, name: "." }), "relay.yml: cluster.name: must be")
    }))

  it.scoped("reads its files, unless others may read a secret in them", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const file = (name: string, mode: number) => {
        const path = join(folder, name)
        writeFileSync(path, `text of ${name}`)
        chmodSync(path, mode)
        return path
      }
      const read = (more: object) => ClusterFiles.read({ ...Either.getOrThrow(decode(least)).cluster!, ...more })
      const { credentials, tls } = yield* read({
        credentials: file("creds", 0o400),
        tls: { ca: file("ca.pem", 0o644), cert: file("cert.pem", 0o644), key: file("key.pem", 0o600) }
      })
      assert.strictEqual(Redacted.value(credentials!), "text of creds")
      assert.deepStrictEqual([tls?.ca, tls?.cert], ["text of ca.pem", "text of cert.pem"])
      const open = yield* Effect.flip(read({ credentials: file("open", 0o644) }))
      assert.include(open.message, "cluster.credentials: ")
      assert.include(open.message, "others than its owner may read the secret in it")
      const missing = yield* Effect.flip(read({ tls: { ca: join(folder, "none") } }))
      assert.include(missing.message, `cluster.tls.ca: ${join(folder, "none")} cannot be read`)
    }).pipe(Effect.provide(NodeContext.layer)))
})
