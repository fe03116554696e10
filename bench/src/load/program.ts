/**
 * What the load programs need: the channel to the benchmark, source addresses, and percentiles. A program ends when the
 * benchmark does.
 */
import type { Pace, Paced, Reply } from "./messages.js"

/** Answers each request; what `handle` throws is told to the benchmark. */
export const serve = <Request>(handle: (request: Request) => Promise<unknown>) => {
  const send = (reply: Reply) => process.send?.(reply)
  process.on("message", (request: Request) => {
    handle(request).then(
      (value) => send({ ok: true, value }),
      (error: unknown) => send({ ok: false, problem: error instanceof Error ? error.message : String(error) })
    )
  })
  process.on("disconnect", () => process.exit())
}

let source = 0

/**
 * The loopback addresses in turn: 28,000 connections of one address can be remembered in TIME_WAIT. 127.0.0.1 is left to
 * those who do not choose.
 */
export const nextSource = () => {
  source = (source + 1) % 249
  return `127.0.0.${source + 2}`
}

/** Where all of an attack comes from: none of {@link nextSource}. */
export const attackSource = "127.0.0.254"

/** How long a connection may take to come up, or to close. */
export const patienceMs = 10_000

/** Runs `task` `count` times, at most `inFlight` of them at a time. */
export const times = async (count: number, inFlight: number, task: () => Promise<void>) => {
  let left = count
  const worker = async () => {
    while (left > 0) {
      left--
      await task()
    }
  }
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, worker))
}

/** The value that a fraction of the values does not exceed. Sorts them in place. */
export const percentile = (values: Float64Array, fraction: number) =>
  values.sort()[Math.max(0, Math.ceil(values.length * fraction) - 1)] ?? 0

/** Takes the time of one task that begins every so often. */
export const paced = async ({ durationMs, everyMs }: Pace, task: () => Promise<void>): Promise<Paced> => {
  const count = Math.max(1, Math.floor(durationMs / everyMs))
  const taken = new Float64Array(count)
  let failed = 0
  const take = async (number: number) => {
    await new Promise((resolve) => setTimeout(resolve, number * everyMs))
    const startedAt = performance.now()
    try {
      await task()
      taken[number] = performance.now() - startedAt
    } catch {
      failed++
      taken[number] = patienceMs
    }
  }
  await Promise.all(Array.from(taken, (_, number) => take(number)))
  return { count, failed, p50: percentile(taken, 0.5), p99: percentile(taken, 0.99) }
}
