/**
 * Asks an HTTP server whether a node may register, and fails closed: only a 2xx lets it in. It remembers answers for a
 * while and holds the requests in progress; a request ends with the last registration that waits for it.
 *
 * The relay asks while a registration still holds its place among `maxHandshakes` (and `maxHandshakesPerIp`), so those
 * bound the requests in progress, also where the server fails and nothing is remembered.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import { Rejected } from "@tx3/relay/RelayError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Runtime from "effect/Runtime"
import type { Access } from "./OperatorConfig.js"

/**
 * The outcome of a request: `allowed` by a 2xx, `refused` by a 403, `failed` by another status, an error or a timeout.
 *
 * @since 0.1.0
 * @category models
 */
export const answers = ["allowed", "refused", "failed"] as const

/**
 * One of {@link answers}.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer = typeof answers[number]

/**
 * Whom to ask, how many milliseconds it has, and for how many its answers hold: `callout` of the setting `access`.
 *
 * @since 0.1.0
 * @category models
 */
export type Callout = NonNullable<Access["callout"]>

/**
 * Whether a node, which has proved its digest, may register from an address.
 *
 * @since 0.1.0
 * @category models
 */
export type Ask = (node: CertDigest.CertDigest, address: string) => Effect.Effect<void, Rejected>

const requests = Metric.counter("tx3_relay_callout_total", {
  description: "Requests of the access callout",
  incremental: true
})

/**
 * Requests that came to an end, by what they came to.
 *
 * @since 0.1.0
 * @category metrics
 */
export const callouts: Record<Answer, Metric.Metric.Counter<number>> = {
  allowed: Metric.tagged(requests, "answer", "allowed"),
  refused: Metric.tagged(requests, "answer", "refused"),
  failed: Metric.tagged(requests, "answer", "failed")
}

/** Answers remembered, of some 200 bytes each. The oldest goes first. */
const capacity = 10_000

const warningIntervalMs = 10_000

interface InProgress {
  fiber: Fiber.RuntimeFiber<Answer>
  askers: number
}

/**
 * Asks as a setting says, and remembers nothing from an earlier setting.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<(callout: Callout) => Ask, never, HttpClient.HttpClient> = Effect.gen(function*() {
  // A span would have the URL, which may hold a secret.
  const client = HttpClient.withTracerDisabledWhen(HttpClient.withScope(yield* HttpClient.HttpClient), () => true)
  const clock = yield* Clock.clockWith(Effect.succeed)
  const run = Runtime.runFork(yield* Effect.runtime())
  const currentTimeMillis = MonotonicTime.millis(clock)
  let warnedAt = -Infinity
  let leftOut = 0

  const warn = (problem: string, node: CertDigest.CertDigest) =>
    Effect.suspend(() => {
      const now = currentTimeMillis()
      if (now - warnedAt < warningIntervalMs) {
        leftOut++
        return Effect.void
      }
      const annotations = { node: CertDigest.short(node), problem, ...leftOut > 0 ? { leftOut } : {} }
      warnedAt = now
      leftOut = 0
      return Effect.annotateLogs(Effect.logWarning("access callout failed, the node was not let in"), annotations)
    })

  const request = ({ timeoutMs, url }: Callout, node: CertDigest.CertDigest, address: string): Effect.Effect<Answer> =>
    client.execute(HttpClientRequest.bodyUnsafeJson(HttpClientRequest.post(url), { node, address })).pipe(
      Effect.mapError(problemOf),
      // The end of the scope drops the connection, and with it whatever else comes.
      Effect.scoped,
      Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" }),
      Effect.timeoutFail({ duration: timeoutMs, onTimeout: () => `no answer within ${timeoutMs} ms` }),
      Effect.flatMap(({ status }) =>
        status >= 200 && status < 300
          ? Effect.succeed("allowed" as const)
          : status === 403
          ? Effect.succeed("refused" as const)
          : Effect.fail(`HTTP status ${status}`)
      ),
      Effect.catchAll((problem) => Effect.as(warn(problem, node), "failed" as const)),
      Effect.tap((answer) => {
        callouts[answer].unsafeUpdate(1, [])
      })
    )

  return (callout) => {
    const known = new Map<string, { readonly answer: Answer; readonly until: number }>()
    const inProgress = new Map<string, InProgress>()

    const remember = (key: string, answer: Answer) => {
      if (answer === "failed" || callout.cacheMs === 0) {
        return
      }
      known.delete(key)
      known.set(key, { answer, until: currentTimeMillis() + callout.cacheMs })
      if (known.size > capacity) {
        known.delete(known.keys().next().value!)
      }
    }

    /** The request of this key, a new one if there is none. */
    const join = (key: string, node: CertDigest.CertDigest, address: string) =>
      Effect.sync(() => {
        let joined = inProgress.get(key)
        if (joined === undefined) {
          const begun = { askers: 0 } as InProgress
          inProgress.set(key, begun)
          begun.fiber = run(request(callout, node, address))
          begun.fiber.addObserver((exit) => {
            if (exit._tag === "Success") {
              remember(key, exit.value)
            }
            forget(key, begun)
          })
          joined = begun
        }
        joined.askers++
        return joined
      })

    const leave = (key: string, left: InProgress) =>
      Effect.suspend(() => {
        left.askers--
        if (left.askers > 0) {
          return Effect.void
        }
        forget(key, left)
        return Fiber.interrupt(left.fiber)
      })

    const forget = (key: string, request: InProgress) => {
      if (inProgress.get(key) === request) {
        inProgress.delete(key)
      }
    }

    const answer = (node: CertDigest.CertDigest, address: string) =>
      Effect.suspend(() => {
        const key = `${node} ${address}`
        const before = known.get(key)
        return before !== undefined && currentTimeMillis() < before.until
          ? Effect.succeed(before.answer)
          : Effect.acquireUseRelease(
            join(key, node, address),
            ({ fiber }) => Fiber.join(fiber),
            (joined) => leave(key, joined)
          )
      })

    return (node, address) =>
      Effect.flatMap(
        answer(node, address),
        (answer) => answer === "allowed" ? Effect.void : new Rejected({ reason: "denied" })
      )
  }
})

/** Not the error's own message, which has the URL in it, and that may have a secret in it. */
const problemOf = ({ cause, reason }: HttpClientError.HttpClientError) =>
  cause instanceof Error ? (cause as NodeJS.ErrnoException).code ?? cause.message : reason
