/** The plots of a soak, as SVG: each quantity of its longest relay, by time, from zero. */
import * as echarts from "echarts"
import * as Judgement from "./Judgement.js"
import type { Sample } from "./Sample.js"

const width = 900
const panelHeight = 150

export const draw = (samples: ReadonlyArray<Sample>): string => {
  const of = Judgement.longest(samples)
  const panels = Judgement.quantities
  const chart = echarts.init(null, null, {
    renderer: "svg",
    ssr: true,
    width,
    height: panels.length * panelHeight + 30
  })
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "sans-serif" },
    title: panels.map(({ name, unit }, panel) => ({
      text: unit === "" ? name : `${name}, ${unit}`,
      left: 12,
      top: panel * panelHeight + 4,
      textStyle: { fontSize: 13 }
    })),
    grid: panels.map((_, panel) => ({ left: 60, right: 20, top: panel * panelHeight + 30, height: panelHeight - 60 })),
    xAxis: panels.map((_, gridIndex) => ({ type: "value", gridIndex, name: "min", min: 0 })),
    yAxis: panels.map((_, gridIndex) => ({ type: "value", gridIndex, min: 0 })),
    series: panels.map((quantity, panel) => ({
      type: "line",
      xAxisIndex: panel,
      yAxisIndex: panel,
      showSymbol: false,
      itemStyle: { color: "#0072b2" },
      data: of.map((sample) => [sample.seconds / 60, quantity.of(sample)])
    }))
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
