import { assert, describe, it } from "@effect/vitest"
import { parser } from "@prometheus-io/lezer-promql"
import { OperatorMetrics } from "@tx3/operate"
import { AccessCallout, OperatorConfig } from "@tx3/policy"
import { RelayMetrics } from "@tx3/relay"
import * as packaging from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Either, Metric, MetricState } from "effect"
import { dirname, join } from "node:path"
import * as Yaml from "yaml"

const composeFile = "packaging/compose/compose.yml"
const alertsFile = "packaging/compose/alerts.yml"
const dashboardFile = "packaging/grafana/tx3-relay.json"

interface AnyMetric {
  readonly unsafeValue: (tags: []) => unknown
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number }
  readonly targets: ReadonlyArray<{ readonly expr: string }>
}

interface Dashboard {
  readonly panels: ReadonlyArray<Panel>
  readonly templating: { readonly list: ReadonlyArray<{ readonly name: string; readonly current: { value: string } }> }
}

interface Service {
  readonly cap_drop: ReadonlyArray<string>
  readonly image: string
  readonly security_opt: ReadonlyArray<string>
  readonly volumes: ReadonlyArray<string>
}

/** What a relay exports: of each metric its labels with their values. */
const exported = (() => {
  const limits = [...Object.keys(OperatorConfig.Settings.fields), "descriptors"]
  for (const metrics of Object.values({ ...RelayMetrics, ...OperatorMetrics, callouts: AccessCallout.callouts })) {
    const all: ReadonlyArray<AnyMetric> = "unsafeValue" in metrics
      ? [metrics]
      : typeof metrics === "function"
      ? limits.map(metrics)
      : Object.values<AnyMetric>(metrics)
    all.forEach((metric) => metric.unsafeValue([]))
  }
  const exported = new Map([["up", new Map<string, Set<string>>()]])
  for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
    const names = MetricState.isHistogramState(metricState) ? ["_bucket", "_sum", "_count"] : [""]
    for (const name of names.map((suffix) => metricKey.name + suffix)) {
      const labels = exported.get(name) ?? new Map<string, Set<string>>()
      exported.set(name, labels)
      metricKey.tags.forEach(({ key, value }) => labels.set(key, (labels.get(key) ?? new Set()).add(value)))
    }
  }
  return exported
})()

/** What Prometheus and its histograms add. */
const addedLabels = ["instance", "job", "le"]

/** What of a query is about nothing that a relay exports. */
const problemsOf = (query: string): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const names: Array<string> = []
  // Grafana puts a duration there, which the grammar wants to see.
  const text = query.replaceAll("$__rate_interval", "5m")
  const of = (node: { readonly from: number; readonly to: number }) => text.slice(node.from, node.to)
  const tree = parser.parse(text)
  tree.iterate({
    enter: ({ node, type }) => {
      if (type.isError) {
        problems.push(`no PromQL: ${text}`)
      } else if (type.name === "VectorSelector") {
        const name = of(node.getChild("Identifier")!)
        names.push(name)
        const labels = exported.get(name)
        if (labels === undefined) {
          problems.push(`no metric: ${name}`)
          return
        }
        for (const matcher of node.getChild("LabelMatchers")?.getChildren("UnquotedLabelMatcher") ?? []) {
          const label = of(matcher.getChild("LabelName")!)
          const value: string = JSON.parse(of(matcher.getChild("StringLiteral")!))
          if (addedLabels.includes(label)) {
            continue
          }
          const values = Array.from(labels.get(label) ?? [])
          const unknown = value.split("|").filter((part) =>
            !values.some((value) => new RegExp(`^(${part})$`).test(value))
          )
          problems.push(...unknown.map((part) => `no series: ${name}{${label}="${part}"}`))
        }
      }
    }
  })
  tree.iterate({
    enter: ({ node, type }) => {
      const isGrouping = type.name === "LabelName" && node.parent?.name === "GroupingLabels"
      if (
        isGrouping &&
        ![...addedLabels, ...names.flatMap((name) => [...exported.get(name)?.keys() ?? []])].includes(of(node))
      ) {
        problems.push(`no label: ${of(node)} in ${text}`)
      }
    }
  })
  return names.length === 0 ? [...problems, `no metric in ${text}`] : problems
}

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly annotations: { readonly summary: string; readonly runbook: string }
}

const rules: ReadonlyArray<Rule> = Yaml.parse(packaging.read(alertsFile)).groups
  .flatMap(({ rules }: { readonly rules: ReadonlyArray<Rule> }) => rules)

withPrograms(["promtool"], () => {
  describe("the alerts", () => {
    it("are rules that Prometheus takes", () => {
      const { code, said } = packaging.judge(
        "promtool",
        "check",
        "config",
        packaging.pathOf("packaging/compose/prometheus.yml")
      )
      assert.strictEqual(code, 0, said)
      assert.include(said, `SUCCESS: ${rules.length} rules found`)
    })

    withPrograms(["promtool"], () => {
      it("come when there is something, and not before", () => {
        const { code, said } = packaging.judge(
          "promtool",
          "test",
          "rules",
          packaging.pathOf("test/fixtures/alerts.test.yml")
        )
        assert.strictEqual(code, 0, said)
        const tested = packaging.read("test/fixtures/alerts.test.yml")
        assert.deepStrictEqual(rules.filter(({ alert }) => !tested.includes(`alertname: ${alert}\n`)), [])
      })
    })

    it("are about what a relay exports", () => {
      assert.deepStrictEqual(rules.flatMap(({ expr }) => problemsOf(expr)), [])
    })

    it("each have a section in the guide", () => {
      const guide = packaging.read("docs/operating.md")
      const anchors = Array.from(
        guide.matchAll(/^#+ (.*)$/gm),
        ([, title]) => title!.toLowerCase().replaceAll(" ", "-")
      )
      for (const { alert, annotations } of rules) {
        assert.strictEqual(annotations.runbook, `docs/operating.md#${alert.toLowerCase()}`)
        assert.include(anchors, alert.toLowerCase())
      }
    })
  })
})

describe("the dashboard", () => {
  const dashboard: Dashboard = JSON.parse(packaging.read(dashboardFile))
  const panels = dashboard.panels.filter(({ type }) => type !== "row")

  it("is about what a relay exports", () => {
    const queries = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
    assert.isAtLeast(queries.length, panels.length)
    assert.deepStrictEqual(queries.flatMap(problemsOf), [])
  })

  it("shows everything that a relay exports", () => {
    const text = JSON.stringify(panels)
    const names = Array.from(exported.keys()).filter((name) => name.startsWith("tx3_relay_"))
      .filter((name) => !/_(sum|count)$/.test(name))
    assert.deepStrictEqual(names.filter((name) => !text.includes(`${name}{`)), [])
  })

  it("asks the data source that is set up for it, for variables it has", () => {
    const variables = dashboard.templating.list.map(({ name }) => name)
    const used = Array.from(JSON.stringify(panels).matchAll(/\$\{?(\w+)/g), ([, name]) => name!)
    assert.deepStrictEqual(used.filter((name) => name !== "__rate_interval" && !variables.includes(name)), [])
    const sources = Yaml.parse(
      packaging.read("packaging/compose/grafana/provisioning/datasources/prometheus.yml")
    ).datasources
    assert.strictEqual(sources[0].uid, dashboard.templating.list[0]!.current.value)
  })

  it("has no two panels in one place, or of one number", () => {
    const places = panels.map(({ gridPos: { h, w, x, y } }) => ({ bottom: y + h, left: x, right: x + w, top: y }))
    for (const [at, a] of places.entries()) {
      const others = places.slice(at + 1).filter((b) =>
        a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
      )
      assert.deepStrictEqual(others, [])
    }
    assert.strictEqual(
      new Set(dashboard.panels.map(({ id }) => id)).size,
      dashboard.panels.length
    )
  })
})

describe("the compose file", () => {
  const { services, volumes } = Yaml.parse(packaging.read(composeFile), { merge: true })

  it("mounts what there is, read-only, and volumes it declares", () => {
    const mounts: ReadonlyArray<string> = Object.values<Service>(services).flatMap((service) => service.volumes)
    for (const mount of mounts) {
      const [from, , mode] = mount.split(":")
      if (from!.startsWith(".")) {
        assert.strictEqual(mode, "ro", mount)
        // The operator makes ./relay, with the relay's file and identity.
        assert.isTrue(from === "./relay" || packaging.exists(join(dirname(composeFile), from!)), mount)
      } else {
        assert.property(volumes, from!)
      }
    }
    const { context, dockerfile } = services.relay.build
    assert.isTrue(packaging.exists(join(dirname(composeFile), context, dockerfile)))
  })

  it("has Grafana look for dashboards where it mounts ours", () => {
    const { providers: [{ options: { path } }] } = Yaml.parse(
      packaging.read("packaging/compose/grafana/provisioning/dashboards/files.yml")
    )
    const mounts: ReadonlyArray<string> = services.grafana.volumes
    assert.include(mounts, `../grafana/tx3-relay.json:${path}/tx3-relay.json:ro`)
  })

  withPrograms(["git"], () => {
    it("mounts only what is in the repository", () => {
      const ignored = packaging.judge("git", "-C", packaging.root, "status", "--ignored", "--short", "packaging")
      assert.strictEqual(ignored.said.replace("!! packaging/compose/relay/\n", "").includes("!! "), false, ignored.said)
    })
  })

  it("names a version of each image that is not made here, and takes what rights it can", () => {
    for (const [name, service] of Object.entries<Service>(services)) {
      assert.isTrue(name === "relay" || /:v?\d+\.\d+\.\d+$/.test(service.image), name)
      assert.deepStrictEqual(service.cap_drop, ["ALL"], name)
      assert.deepStrictEqual(service.security_opt, ["no-new-privileges:true"], name)
    }
  })

  it("lets Prometheus ask where the relay serves metrics without a token", () => {
    const { scrape_configs: [{ job_name, static_configs: [{ targets }] }] } = Yaml.parse(
      packaging.read("packaging/compose/prometheus.yml")
    )
    assert.strictEqual(job_name, "tx3-relay")
    const compose = Yaml.parse(packaging.read("packaging/compose/compose.yml"))
    const { TX3_RELAY_METRICS: metrics } = compose.services.relay.environment
    assert.deepStrictEqual(targets, [metrics.replace("http://", "")])
    const settings = OperatorConfig.decode([
      { place: (key) => key, values: { bind: ["tx3-rst://127.0.0.1:0"], metrics } }
    ])
    assert.strictEqual(Either.getOrThrow(settings).metrics, metrics)
  })
})
