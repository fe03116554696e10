// The four charts. Each is a figure: a caption with the values in text, and a canvas that a keyboard can walk through.
import uPlot from "/uplot.js"
import { element, setText } from "./elements.js"
import * as format from "./format.js"
import { span } from "./history.js"

const wholeNumbers = [1, 2, 5].flatMap((first) => Array.from({ length: 10 }, (_, zeros) => first * 10 ** zeros)).sort(
  (a, b) => a - b
)

const definitions = [
  {
    title: "Throughput",
    format: format.bytesPerSecond,
    least: 1000,
    wide: true,
    series: [
      { name: "bytesFromPeers", label: "from peers", colour: "a" },
      { name: "bytesFromNodes", label: "from nodes", colour: "b" }
    ]
  },
  {
    title: "Splices",
    format: format.count,
    least: 4,
    series: [
      { name: "splices", label: "running", colour: "a" },
      { name: "pending", label: "waiting", colour: "b" }
    ]
  },
  {
    title: "Control streams",
    format: format.count,
    least: 4,
    series: [{ name: "controlStreams", label: "registered nodes", colour: "a" }]
  },
  {
    title: "Rejections",
    format: format.perSecond,
    least: 4,
    series: [{ name: "rejected", label: "turned away", colour: "c" }]
  }
]

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

const makeChart = (definition, parent, view) => {
  const values = definition.series.map(() =>
    element("output", { "aria-live": "off", class: definition.wide ? "wide" : "" })
  )
  const at = element("span", { class: "at" })
  const total = element("p", { class: "total" })
  const plot = element("div", {
    class: "plot",
    role: "slider",
    tabindex: "0",
    "aria-label": `${definition.title}, the last 15 minutes`,
    "aria-valuemin": String(-span),
    "aria-valuemax": "0"
  })
  parent.append(element(
    "figure",
    { class: "card" },
    element(
      "figcaption",
      {},
      element("h2", {}, definition.title),
      element(
        "ul",
        { class: "legend" },
        ...definition.series.map(({ colour, label }, index) =>
          element(
            "li",
            {},
            element("span", { class: `marker ${colour}`, "aria-hidden": "true" }),
            label,
            " ",
            values[index]
          )
        )
      ),
      at
    ),
    plot,
    total
  ))

  let wasAway = false

  /** The values under the cursor, or else the latest. */
  const readOut = (chart) => {
    const [times, ...columns] = chart.data
    const index = chart.cursor.idx ?? null
    const texts = columns.map((column) =>
      definition.format(index === null ? view.known ? column.at(-1) : null : column[index])
    )
    texts.forEach((text, series) => setText(values[series], text))
    setText(at, index === null ? "" : format.clock(times[index] * 1000))
    // a slider in focus is read aloud at each change, which the passing of time should not bring about
    if (index !== null || wasAway || document.activeElement !== plot) {
      const peaks = columns.map((column) =>
        definition.format(column.reduce((most, value) => Math.max(most, value ?? 0), 0))
      )
      plot.setAttribute("aria-valuenow", String(index === null ? 0 : Math.round(times[index] - view.now)))
      plot.setAttribute(
        "aria-valuetext",
        [
          index === null ? "Now" : format.clock(times[index] * 1000),
          ...definition.series.map(({ label }, series) => `${texts[series]} ${label}, at most ${peaks[series]}`)
        ].join("; ")
      )
    }
    wasAway = index !== null
  }

  /** A line where the relay started. */
  const markStarts = (chart) => {
    const { height, left, top, width } = chart.bbox
    const { ctx } = chart
    ctx.save()
    ctx.strokeStyle = style("muted")
    ctx.lineWidth = devicePixelRatio
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio])
    for (const start of view.starts) {
      const x = Math.round(chart.valToPos(start / 1000, "x", true))
      if (x > left && x < left + width) {
        ctx.beginPath()
        ctx.moveTo(x, top)
        ctx.lineTo(x, top + height)
        ctx.stroke()
      }
    }
    ctx.restore()
  }

  const size = () => ({ width: plot.clientWidth, height: plot.clientHeight })
  const axis = {
    stroke: () => style("muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: () => style("line"), width: 1 },
    ticks: { show: false }
  }
  const chart = new uPlot(
    {
      ...size(),
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { setScale: false, x: false, y: false },
        points: { size: 7 },
        sync: { key: "tx3", setSeries: false, scales: ["x", null] }
      },
      scales: {
        x: { time: true, range: () => [view.now - span, view.now] },
        y: { range: (_chart, _least, most) => [0, Math.max(definition.least, (most ?? 0) * 1.1)] }
      },
      axes: [
        {
          ...axis,
          size: 26,
          gap: 7,
          space: 64,
          incrs: [60, 120, 180, 300],
          values: (_chart, times) => times.map((time) => format.minute(time * 1000))
        },
        {
          ...axis,
          size: 62,
          gap: 8,
          space: 22,
          incrs: wholeNumbers,
          values: (_chart, numbers) => numbers.map(definition.format)
        }
      ],
      series: [
        {},
        ...definition.series.map(({ colour, label }) => ({
          label,
          stroke: () => style(colour),
          fill: () => style(`${colour}-fill`),
          width: 1.5,
          points: { show: false }
        }))
      ],
      hooks: { drawClear: [markStarts], setCursor: [readOut], setData: [readOut] }
    },
    view.data(definition),
    plot
  )

  new ResizeObserver(() => chart.setSize(size())).observe(plot)

  const moveTo = (left) => chart.setCursor({ left, top: chart.over.clientHeight / 2 }, true, true)
  plot.addEventListener("keydown", (event) => {
    const width = chart.over.clientWidth
    const left = chart.cursor.left >= 0 ? chart.cursor.left : width
    const step = Math.max(1, 5 * width / span)
    const target = {
      ArrowLeft: left - step,
      ArrowDown: left - step,
      ArrowRight: left + step,
      ArrowUp: left + step,
      PageDown: left - width / 15,
      PageUp: left + width / 15,
      Home: 0,
      End: width,
      Escape: -10
    }[event.key]
    if (target !== undefined && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault()
      moveTo(event.key === "Escape" ? target : Math.min(Math.max(target, 0), width))
    }
  })
  plot.addEventListener("blur", () => moveTo(-10))

  return { chart, definition, setTotal: (text) => setText(total, text) }
}

/** Draws a history's columns, ending at a time in ms. */
export const makeCharts = (parent) => {
  let columns
  const view = {
    now: Date.now() / 1000,
    starts: new Set(),
    known: false,
    // a chart without a single time has no scale, and draws no axis
    data: ({ series }) =>
      columns === undefined || columns.at.length === 0
        ? [[view.now - span, view.now], ...series.map(() => [null, null])]
        : [columns.at, ...series.map(({ name }) => columns[name])]
  }
  const charts = definitions.map((definition) => makeChart(definition, parent, view))
  // colours are looked up while drawing
  matchMedia("(prefers-color-scheme: dark)").addEventListener(
    "change",
    () => charts.forEach(({ chart }) => chart.redraw())
  )
  return {
    charts,
    draw: (latest, now) => {
      columns = latest
      view.known = latest.at.length > 0
      view.now = now / 1000
      charts.forEach(({ chart, definition }) => chart.setData(view.data(definition)))
    },
    markStart: (startedAt) => view.starts.add(startedAt),
    setTotals: (texts) => charts.forEach(({ setTotal }, index) => setTotal(texts[index]))
  }
}
