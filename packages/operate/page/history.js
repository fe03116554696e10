// The last 15 minutes of samples, and the columns that the charts draw of them. Totals grow within one run of the relay only:
// between two runs, and where samples are missing, there is a gap and no rate.

/** Seconds that the charts show. */
export const span = 15 * 60

/** Milliseconds between two samples above which what lies between them is not known. */
const longestStep = 5000

const totals = ["acceptedTotal", "rejectedTotal", "splicesTotal", "bytesFromPeersTotal", "bytesFromNodesTotal"]

const gauges = ["splices", "pending", "controlStreams"]

const rates = {
  bytesFromPeers: "bytesFromPeersTotal",
  bytesFromNodes: "bytesFromNodesTotal",
  rejected: "rejectedTotal"
}

export const makeHistory = () => {
  /** Oldest first, each with whether it is of the same run as the one before. */
  let entries = []
  let startedAt
  let apart = true

  const isNextOf = (sample, before) =>
    sample.at - before.at <= longestStep && totals.every((total) => sample[total] >= before[total])

  const append = (sample, sameRun) => {
    if (sameRun && entries.at(-1)?.sample.at === sample.at) {
      return // told twice
    }
    const before = entries.length
    entries = entries.filter((entry) => entry.sample.at < sample.at)
    // else the clock of the relay's machine was set back, and how much time has passed is not known
    const isLatest = entries.length === before
    entries = entries.filter((entry) => entry.sample.at >= sample.at - span * 1000 - longestStep)
    const last = entries.at(-1)
    entries.push({ sample, joined: sameRun && isLatest && last !== undefined && isNextOf(sample, last.sample) })
  }

  return {
    /** What the relay remembers: it goes in place of what this page has of the same time. */
    replace: (samples) => {
      // whether it goes on from something older is known if this page was there
      const first = entries.find(({ sample }) => sample.at === samples[0]?.at)
      entries = entries.filter((entry) => samples.length === 0 || entry.sample.at < samples[0].at)
      samples.forEach((sample, index) => append(sample, index > 0 || first?.joined === true))
      apart = samples.length === 0
      startedAt = undefined
    },

    /** The next sample of the run that began at `start`. */
    add: (sample, start) => {
      append(sample, !apart && (startedAt === undefined || startedAt === start))
      apart = false
      startedAt = start
    },

    last: () => entries.at(-1)?.sample,

    /** Columns for the charts: `at` in seconds, ascending, and a value or null each for everything drawn. */
    columns: () => {
      const columns = Object.fromEntries(["at", ...gauges, ...Object.keys(rates)].map((name) => [name, []]))
      const push = (at, value) => {
        for (const [name, column] of Object.entries(columns)) {
          column.push(name === "at" ? at : value(name))
        }
      }
      entries.forEach(({ joined, sample }, index) => {
        const before = entries[index - 1]?.sample
        const follows = joined && before !== undefined
        if (before !== undefined && !joined) {
          push((before.at + sample.at) / 2000, () => null)
        }
        push(sample.at / 1000, (name) =>
          name in rates
            ? follows ? (sample[rates[name]] - before[rates[name]]) / ((sample.at - before.at) / 1000) : null
            : sample[name])
      })
      return columns
    }
  }
}
