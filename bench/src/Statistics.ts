/**
 * Medians, spreads and ratios of what several rounds measured. A round that has no value is `null`.
 */

export type Rounds = ReadonlyArray<number | null>

const present = (rounds: Rounds) => rounds.filter((value) => value !== null)

/** The value in the middle, of an even number the mean of the two; none of no values. */
export const median = (rounds: Rounds): number | undefined => {
  const sorted = present(rounds).sort((left, right) => left - right)
  const upper = sorted[Math.floor(sorted.length / 2)]
  const lower = sorted[Math.ceil(sorted.length / 2) - 1]
  return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2
}

/** The least and the greatest value. */
export const spread = (rounds: Rounds): { readonly min: number; readonly max: number } | undefined => {
  const values = present(rounds)
  return values.length === 0 ? undefined : { min: Math.min(...values), max: Math.max(...values) }
}

/** Each round's difference. */
export const differences = (rounds: Rounds, from: Rounds): Rounds =>
  rounds.map((value, round) => {
    const base = from[round] ?? null
    return value === null || base === null ? null : value - base
  })

/**
 * Each round's ratio. A noisy machine slows down what runs at about the same time alike, so the ratio within a round
 * says more than one of two medians.
 */
export const ratios = (rounds: Rounds, to: Rounds): Rounds =>
  rounds.map((value, round) => {
    const base = to[round] ?? null
    return value === null || base === null || base === 0 ? null : value / base
  })
