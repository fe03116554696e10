/**
 * The plots of a run, as SVG.
 */
import * as echarts from "echarts"
import * as Figure from "./Figure.js"
import type { Plot } from "./Markdown.js"
import type * as Results from "./Results.js"

/** Okabe and Ito's palette, which people tell apart who see fewer colours. */
const palette = ["#0072b2", "#56b4e9", "#999999", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#000000"]

interface Chart extends Plot {
  readonly axis: string
  /** Side by side, each with an axis of its own that begins at zero. */
  readonly panels: ReadonlyArray<ReadonlyArray<Bars>>
}

interface Bars {
  readonly label: string
  readonly figure: Figure.Figure
}

const splices = (level: number) => level === 1 ? "1 splice" : `${level} splices`

const charts = ({ idle, inFlight, roundTripSplices, splices: levels }: Results.Results): ReadonlyArray<Chart> => [
  {
    file: "cpu-per-gb.svg",
    title: "Relay CPU per GB carried",
    axis: "CPU seconds per GB",
    panels: [levels.map((level) => ({ label: splices(level), figure: Figure.cpuPerGb(level) }))]
  },
  {
    file: "round-trip.svg",
    title: "Round trip of 64 bytes, median and 99th percentile",
    axis: "microseconds",
    panels: roundTripSplices.map((level) => [
      { label: `${splices(level)}, median`, figure: Figure.roundTrip(level) },
      { label: `${splices(level)}, p99`, figure: Figure.roundTripP99(level) }
    ])
  },
  {
    file: "set-up-cpu.svg",
    title: "Relay CPU per splice set up and closed",
    axis: "CPU milliseconds per splice",
    panels: [inFlight.map((level) => ({ label: `${level} in flight`, figure: Figure.setUpCpu(level) }))]
  },
  {
    file: "set-up-time.svg",
    title: "From connect to the first byte back, by splices in flight",
    axis: "milliseconds",
    panels: inFlight.map((level) => [
      { label: `${level}, median`, figure: Figure.setUpTime(level) },
      { label: `${level}, p99`, figure: Figure.setUpTimeP99(level) }
    ])
  },
  {
    file: "memory.svg",
    title: "Memory per idle splice and per control stream",
    axis: "KB",
    panels: [
      [{ label: "idle splice", figure: Figure.spliceMemory }],
      [{ label: "control stream", figure: Figure.controlMemory }]
    ]
  },
  {
    file: "beside-idle.svg",
    title: "CPU per GB of 4 splices, and round trip of one, beside idle splices",
    axis: "CPU seconds per GB (left), microseconds (right)",
    panels: [Figure.cpuPerGb, Figure.roundTrip].map((figure, panel) =>
      idle.map((count) => ({
        label: `${count.toLocaleString("en")} idle`,
        figure: figure(panel === 0 ? Figure.besideSplices : 1, count)
      }))
    )
  }
]

const width = 900
const left = 75
const gap = 60

const render = (results: Results.Results, { axis, panels, title }: Chart) => {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width, height: 400 })
  const valueOf = (subject: string, { id }: Figure.Figure) =>
    results.figures.find((figure) => figure.id === id)?.subjects[subject]?.median ?? null
  const panelWidth = (width - left - 20 - gap * (panels.length - 1)) / panels.length
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    color: palette,
    textStyle: { fontFamily: "sans-serif" },
    title: { text: title, left: 12, top: 8, textStyle: { fontSize: 16 } },
    legend: { top: 38, left: 12, itemGap: 16 },
    grid: panels.map((_, panel) => ({
      left: left + panel * (panelWidth + gap),
      width: panelWidth,
      top: 85,
      bottom: 40
    })),
    xAxis: panels.map((bars, gridIndex) => ({
      type: "category",
      gridIndex,
      data: bars.map(({ label }) => label),
      axisTick: { show: false }
    })),
    yAxis: panels.map((_, gridIndex) => ({
      type: "value",
      gridIndex,
      min: 0,
      ...gridIndex === 0 ? { name: axis, nameLocation: "middle", nameGap: 50 } : {}
    })),
    series: panels.flatMap((bars, panel) =>
      results.subjects.filter(({ isInstalled }) => isInstalled).map(({ name }, subject) => ({
        type: "bar",
        name,
        xAxisIndex: panel,
        yAxisIndex: panel,
        itemStyle: { color: palette[subject % palette.length] },
        data: bars.map(({ figure }) => valueOf(name, figure))
      }))
    )
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}

/** Each plot that these results have values for, with its text. */
export const draw = (results: Results.Results): ReadonlyArray<Plot & { readonly svg: string }> =>
  charts(results)
    .map((chart) => ({
      ...chart,
      panels: chart.panels
        .map((bars) => bars.filter(({ figure }) => results.figures.some(({ id }) => id === figure.id)))
        .filter((bars) => bars.length > 0)
    }))
    .filter(({ panels }) => panels.length > 0)
    .map((chart) => ({ file: chart.file, title: chart.title, svg: render(results, chart) }))
