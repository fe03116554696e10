/** What the samples of a soak say: what drifts, and what went wrong. */
import * as Drift from "./Drift.js"
import type { Sample } from "./Sample.js"

interface Quantity {
  readonly name: string
  readonly unit: string
  readonly of: (sample: Sample) => number
  /** Growth that is no drift, in parts of the mean. Time and CPU depend on what else the machine does. */
  readonly tolerance: number
}

const mb = 1024 * 1024

export const quantities: ReadonlyArray<Quantity> = [
  { name: "resident memory", unit: "MB", of: ({ residentBytes }) => residentBytes / mb, tolerance: 0.1 },
  { name: "heap after a collection", unit: "MB", of: ({ heapBytes }) => heapBytes / mb, tolerance: 0.05 },
  { name: "descriptors", unit: "", of: ({ descriptors }) => descriptors, tolerance: 0.1 },
  { name: "pipes", unit: "", of: ({ pipes }) => pipes, tolerance: 0.1 },
  { name: "CPU per splice", unit: "ms", of: ({ cpuMsPerSplice }) => cpuMsPerSplice, tolerance: 0.15 },
  { name: "connect to first byte, p99", unit: "ms", of: ({ setUpP99 }) => setUpP99, tolerance: 0.3 }
]

export interface Verdict extends Drift.Drift {
  readonly quantity: Quantity
  readonly first: number
  readonly last: number
}

const mean = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0) / values.length

/** Of the relay with the most samples: another relay begins anew. */
export const longest = (samples: ReadonlyArray<Sample>): ReadonlyArray<Sample> => {
  const relays = new Map<number, Array<Sample>>()
  for (const sample of samples) {
    relays.set(sample.relay, [...relays.get(sample.relay) ?? [], sample])
  }
  return Array.from(relays.values()).reduce((most, of) => of.length > most.length ? of : most, [])
}

/** Of each quantity its means in the first and the last quarter of what was fitted, and whether it drifts. */
export const verdicts = (samples: ReadonlyArray<Sample>): ReadonlyArray<Verdict> =>
  quantities.map((quantity) => {
    const values = longest(samples).map(quantity.of)
    const fitted = Drift.settled(values)
    const quarter = Math.max(1, Math.floor(fitted.length / 4))
    return {
      quantity,
      ...Drift.of(values, quantity.tolerance),
      first: mean(fitted.slice(0, quarter)),
      last: mean(fitted.slice(-quarter))
    }
  })

const number = (value: number, unit: string) => `${value.toFixed(value < 10 ? 2 : 1)}${unit === "" ? "" : ` ${unit}`}`
const percent = (part: number) => `${(100 * part).toFixed(1)} %`

/** The verdicts as a table in Markdown. */
export const table = (samples: ReadonlyArray<Sample>): string =>
  [
    "| quantity | first quarter | last quarter | growth of the line | noise | |",
    "| --- | ---: | ---: | ---: | ---: | --- |",
    ...verdicts(samples).map(({ first, growth, isDrift, last, noise, quantity: { name, unit } }) =>
      `| ${name} | ${number(first, unit)} | ${number(last, unit)} | ${percent(growth)} | ${percent(noise)} | ${
        isDrift ? "**drifts**" : "steady"
      } |`
    )
  ].join("\n")
