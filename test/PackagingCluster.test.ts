import { assert, describe, it } from "@effect/vitest"
import { OperatorConfig } from "@tx3/policy"
import * as packaging from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { ConfigProvider, Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import * as Yaml from "yaml"

const composeFile = "packaging/compose/cluster.yml"

interface Service {
  readonly cap_drop: ReadonlyArray<string>
  readonly environment?: Readonly<Record<string, string>>
  readonly image: string
  readonly network_mode: string
  readonly security_opt: ReadonlyArray<string>
  readonly volumes: ReadonlyArray<string>
}

const { services, volumes }: {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
} = Yaml.parse(packaging.read(composeFile).replaceAll(/\$\{NATS_PASSWORD:[^}]*\}/g, "s3cret"), { merge: true })

const members = ["relay-a", "relay-b", "relay-c"].map((name) => services[name]!)

const balancer = packaging.read("packaging/compose/cluster/haproxy.cfg")

/** The page's block of a language, without the indentation of the list it stands in. */
const blockOf = (language: string) =>
  packaging.blocks(packaging.read("docs/cluster.md").replace(/^ {3}/gm, ""), language)[0]!

const checked = (
  name: string,
  text: string,
  check: (file: string) => { readonly code: number | null; readonly said: string }
) => {
  const folder = mkdtempSync(join(tmpdir(), "tx3-cluster-"))
  try {
    const file = join(folder, name)
    writeFileSync(file, text)
    const { code, said } = check(file)
    assert.strictEqual(code, 0, said)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe("the cluster's compose file", () => {
  it("mounts what there is, names versions, and takes what rights it can", () => {
    for (const [name, service] of Object.entries(services)) {
      for (const mount of service.volumes) {
        const [from, , mode] = mount.split(":")
        if (!from!.startsWith(".")) {
          assert.property(volumes, from!)
        } else {
          assert.strictEqual(mode, "ro", mount)
          assert.isTrue(from === "./relay" || packaging.exists(join(dirname(composeFile), from!)), mount)
        }
      }
      assert.isTrue(service.image === "tx3-relay" || /:\d+\.\d+\.\d+$/.test(service.image), name)
      assert.deepStrictEqual(service.cap_drop, ["ALL"], name)
      assert.deepStrictEqual(service.security_opt, ["no-new-privileges:true"], name)
      assert.strictEqual(service.network_mode, "host", name)
    }
  })

  it.effect("has three members whose settings a relay takes, each behind HAProxy, with a port of its own for everything", () =>
    Effect.gen(function*() {
      const ports: Array<string> = []
      for (const { environment = {} } of members) {
        const source = yield* OperatorConfig.fromEnvironment.pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment))))
        )
        const { bind, cluster, metrics, proxyProtocolFrom } = yield* OperatorConfig.decode([source])
        assert.deepStrictEqual(proxyProtocolFrom, ["127.0.0.1"])
        const [relay, health] = [bind[0]!.port, new URL(metrics!).port]
        assert.include(balancer, ` 127.0.0.1:${relay} port ${health}\n`)
        ports.push(`${relay}`, health, cluster!.listen)
      }
      assert.strictEqual(new Set(ports).size, 9)
      assert.include(packaging.read("packaging/compose/cluster/nats.conf"), "listen: \"127.0.0.1:4222\"")
    }))

  withPrograms(["haproxy"], () => {
    it("has a balancer's file that HAProxy takes, and so has docs/cluster.md", () => {
      const check = (file: string) => packaging.judge("haproxy", "-c", "-f", file)
      checked("haproxy.cfg", balancer, check)
      const timeouts = "defaults\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n"
      checked("haproxy.cfg", timeouts + blockOf("haproxy"), check)
    })
  })

  withPrograms(["nats-server"], () => {
    it("has a file that NATS takes, and so has docs/cluster.md", () => {
      const nats = packaging.read("packaging/compose/cluster/nats.conf")
      const check = (file: string) => packaging.judge("env", "RELAY_PASSWORD=s3cret", "nats-server", "-t", "-c", file)
      checked("nats.conf", nats, check)
      checked("nats.conf", blockOf("conf"), check)
      const authorization = (text: string) => /^authorization \{.*?^\}/ms.exec(text)![0]
      assert.strictEqual(authorization(nats), authorization(blockOf("conf")))
    })
  })
})
