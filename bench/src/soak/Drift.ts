/**
 * Whether a quantity drifts: a line is fitted to its samples, and it drifts if what it grows by is more than both the noise around
 * the line and a tolerance.
 */

export interface Drift {
  /** What the line grows by over all samples, in parts of their mean. */
  readonly growth: number
  /** Three standard errors of that. */
  readonly noise: number
  readonly isDrift: boolean
}

/** The first part of the samples, in which caches and compilers get to where they stay. */
const warmUp = 0.25

/** Fewer samples than this say nothing about a line. */
export const samplesMin = 8

/** The samples that count. */
export const settled = <A>(samples: ReadonlyArray<A>): ReadonlyArray<A> =>
  samples.slice(Math.floor(samples.length * warmUp))

const mean = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0) / values.length

/** Of samples that were taken at even distances, the warm-up left out. `tolerance` is in parts of the mean. */
export const of = (values: ReadonlyArray<number>, tolerance: number): Drift => {
  const samples = settled(values)
  const count = samples.length
  const [middle, average] = [(count - 1) / 2, mean(samples)]
  const spread = samples.reduce((sum, _, index) => sum + (index - middle) ** 2, 0)
  const slope = samples.reduce((sum, value, index) => sum + (index - middle) * (value - average), 0) / spread
  const residual = samples.reduce((sum, value, index) => sum + (value - average - slope * (index - middle)) ** 2, 0)
  const scale = average === 0 ? 0 : (count - 1) / average
  const growth = slope * scale
  const noise = 3 * Math.sqrt(residual / Math.max(1, count - 2) / spread) * scale
  return { growth, noise, isDrift: values.length >= samplesMin && growth > Math.max(noise, tolerance) }
}
