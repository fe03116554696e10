import { assert, describe, it } from "@effect/vitest"
import { Figure, Markdown, Plots } from "../src/index.js"
import { figures, results } from "./utils/results.js"

describe("Markdown", () => {
  it("shows each goal with its bound, its median and its spread", () => {
    const table = Markdown.goals(results({ figures }))
    assert.include(table, "| kernel: memory per idle splice | 4 KB | 4.10 KB | 3.90 – 4.20 | **not met** |")
    assert.include(
      table,
      "| kernel: CPU per GB, 1 splice, against HAProxy with splice | 0.6× | 0.40× | 0.40 – 0.60 | met |"
    )
  })

  it("shows each figure with its ratios to HAProxy and to the floor", () => {
    const tables = Markdown.figures(results({ figures }))
    assert.include(tables, "| figure | unit | kernel | portable | floor | haproxy |")
    assert.include(
      tables,
      "| CPU per GB, 4 splices | s/GB | 0.200 (0.40, 0.20) | 1.000 (2.00, 1.00) | 1.000 (2.00, 1.00) | 0.500 (1.00, 0.50) |"
    )
    assert.include(tables, "| memory per idle splice | KB | 4.10 (–, –) | – | – | – |")
  })

  it("shows a rate's error with its sign, and judges it without", () => {
    const measured = results({ figures })
    assert.include(
      Markdown.goals(measured),
      "| portable: error of a rate, 20 MB/s in all, 4 splices | 5 % | 1.00 % | 1.00 – 6.00 | met |"
    )
    assert.include(
      Markdown.figures(measured),
      "| carried too much (below 0: too little) of 5 MB/s per splice, 1 splice | % | 0.50 (–, –) | -1.00 (–, –) | – | – |"
    )
    assert.include(Markdown.page(measured, []), "a rate of 1,000 GB/s in all")
  })

  it("shows starts and memory at rest against the empty program", () => {
    const measured = results({ figures })
    const tables = Markdown.figures(measured)
    for (
      const row of [
        "| wall time, `node -e 0` | ms | 50 | 40 – 100 | – |",
        "| wall time, `tx3 --version` | ms | 100 | 80 – 500 | 2.00× |",
        "| peak memory, `tx3 --version` | MB | 65.0 | 60.0 – 70.0 | +23.0 MB |",
        "| wall time, `tx3-relay` until its address list is complete | ms | 200 | 180 – 400 | 4.00× |",
        "| memory at rest, `tx3 expose` | MB | 71.0 | 70.0 – 80.0 | – |"
      ]
    ) {
      assert.include(tables, row)
    }
    assert.include(
      Markdown.goals(measured),
      "| `tx3 --version`: peak memory, above that of `node -e 0` | 25 MB | 23.00 MB | 19.00 – 27.00 | met |"
    )
    assert.include(Markdown.page(measured, []), "resident 3 s after the relay's admin server listens")
    const unfloored = figures.filter(({ id }) => id !== Figure.peakMemory("node").id)
    assert.include(
      Markdown.figures(results({ figures: unfloored })),
      "| peak memory, `tx3 --version` | MB | 65.0 | 60.0 – 70.0 | – |"
    )
  })

  it("shows each attack with its rate, and times before and beside it", () => {
    const measured = results({ figures })
    assert.include(
      Markdown.figures(measured),
      "| silent connections | kernel | 5,000 | 2.0 → 8.0 (4.0×) | 2.0 → 8.0 (4.0×) | 0.0 % | 2.0 → 8.0 (4.0×) | 2.0 → 8.0 (4.0×) | 0.0 % |"
    )
    assert.include(
      Markdown.goals(measured),
      "| kernel: set-up, p99, beside the worst attack from one address (silent connections), against before | 5× | 4.00× | 2.00 – 6.00 | met |"
    )
    assert.include(Markdown.page(measured, []), "each begin every 40 ms")
  })

  it("says what failed and what is not installed", () => {
    const page = Markdown.page(
      results({
        figures: figures.slice(0, 1).map(({ subjects, ...figure }) => ({
          ...figure,
          subjects: { kernel: subjects["kernel"]! }
        })),
        subjects: [
          { name: "kernel", description: "ours", isInstalled: true },
          { name: "floor", description: "plain", isInstalled: true },
          { name: "nginx", description: "not installed", isInstalled: false }
        ],
        failures: [{ subject: "floor", round: 2, what: "set-ups", problem: "it died; its log: /tmp/x" }]
      }),
      [{ file: "plot.svg", title: "A plot" }]
    )
    assert.include(page, "| CPU per GB, 1 splice | s/GB | 0.200 (–, –) | failed | not installed |")
    assert.include(page, "- `floor`, round 2, set-ups: it died; its log: /tmp/x")
    assert.include(page, "![A plot](plot.svg)")
  })

  it("replaces what is between the marks of a page, and nothing else", () => {
    const text = "before\n<!-- bench:start -->\nold\n<!-- bench:end -->\nafter\n"
    const once = Markdown.insertGoals(text, results({ figures }))
    assert.match(once, /^before\n<!-- bench:start -->\n\nMeasured on 2026-01-02 on a CPU, 2 cores/)
    assert.match(once, /\|\n\n<!-- bench:end -->\nafter\n$/)
    assert.notInclude(once, "old")
    assert.strictEqual(Markdown.insertGoals(once, results({ figures })), once)
    assert.strictEqual(Markdown.insertGoals("no marks", results({ figures })), "no marks")
  })

  it("has plots of what was measured", () => {
    const plots = Plots.draw(results({ figures }))
    assert.deepStrictEqual(plots.map(({ file }) => file), [
      "cpu-per-gb.svg",
      "round-trip.svg",
      "set-up-cpu.svg",
      "memory.svg",
      "beside-idle.svg"
    ])
    for (const { svg, title } of plots) {
      assert.match(svg, /^<svg /)
      assert.include(svg, title)
    }
  })
})
