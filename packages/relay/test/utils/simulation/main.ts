/** `scripts/simulate.mjs` bundles this: runs seeds, and shrinks the plan of the first that fails. */
import type { Plan } from "./plan.js"
import { planOf } from "./plan.js"
import type { Outcome } from "./run.js"
import { run } from "./run.js"

export interface Found {
  readonly seeds: number
  readonly failed: Outcome | undefined
  readonly outcomes: Readonly<Record<string, number>>
  readonly steps: number
}

/** Runs so many seeds, until one fails. */
export const simulate = async (
  from: number,
  seeds: number,
  onSeed: (seed: number, outcome: Outcome) => void = () => {}
): Promise<Found> => {
  const outcomes: Record<string, number> = {}
  let steps = 0
  for (let seed = from; seed < from + seeds; seed++) {
    const outcome = await run(planOf(seed))
    onSeed(seed, outcome)
    steps += outcome.steps
    for (const [name, count] of Object.entries(outcome.outcomes)) {
      outcomes[name] = (outcomes[name] ?? 0) + count
    }
    if (outcome.failure !== undefined) {
      return { seeds: seed - from + 1, failed: outcome, outcomes, steps }
    }
  }
  return { seeds, failed: undefined, outcomes, steps }
}

/** Leaves out actors and incidents as long as it fails, in at most so many runs. */
export const shrink = async (failed: Outcome, runsMax = 200): Promise<Outcome> => {
  let smallest = failed
  let runs = 0
  const without = (plan: Plan): ReadonlyArray<Plan> => [
    ...plan.incidents.map((_, at) => ({ ...plan, incidents: plan.incidents.toSpliced(at, 1) })),
    ...plan.actors.map((_, at) => ({ ...plan, actors: plan.actors.toSpliced(at, 1) })).reverse()
  ]
  for (let smaller = true; smaller && runs < runsMax;) {
    smaller = false
    for (const plan of without(smallest.plan)) {
      if (++runs > runsMax) {
        break
      }
      const outcome = await run(plan)
      if (outcome.failure !== undefined) {
        smallest = outcome
        smaller = true
        break
      }
    }
  }
  return smallest
}
