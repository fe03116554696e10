/**
 * The bytes carried in a calendar month (UTC), against two thresholds. They are kept in a small file from one process to
 * the next, which is written every minute and once more when the layer's scope closes. Without a threshold no file is
 * touched.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import { LiveSettings } from "./LiveSettings.js"

/**
 * `soft` and `hard` from that threshold on.
 *
 * @since 0.1.0
 * @category models
 */
export type State = "within" | "soft" | "hard"

/**
 * The bytes that splices have carried this month, and which threshold they have reached.
 *
 * @since 0.1.0
 * @category services
 */
export class VolumeQuota extends Context.Tag("@tx3/policy/VolumeQuota")<VolumeQuota, {
  /** So many more bytes have been carried. */
  readonly add: (bytes: number) => void

  /** The bytes of this month. */
  readonly used: () => number

  /** This month, `2026-11`. */
  readonly month: () => string

  /** The state of the month, by the current thresholds. */
  readonly state: () => State
}>() {}

/**
 * The month's count cannot be read.
 *
 * @since 0.1.0
 * @category errors
 */
export class VolumeQuotaError extends Schema.TaggedError<VolumeQuotaError>("@tx3/policy/VolumeQuotaError")(
  "VolumeQuotaError",
  { path: Schema.String, problem: Schema.String }
) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}

/** The content of the file. */
const Count = Schema.parseJson(Schema.Struct({
  month: Schema.String.pipe(Schema.pattern(/^\d{4}-(0[1-9]|1[0-2])$/)),
  bytes: Schema.Finite.pipe(Schema.nonNegative())
}))

const decode = Schema.decode(Count)
const encode = Schema.encodeSync(Count)

/**
 * Goes on from what `monthlyBytesFile` has for this month. Fails if there is a threshold and a file that cannot be
 * read.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<VolumeQuota, VolumeQuotaError, LiveSettings | FileSystem.FileSystem> = Layer.scoped(
  VolumeQuota,
  Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const fs = yield* FileSystem.FileSystem
    const run = Runtime.runFork(yield* Effect.runtime())
    const settings = yield* LiveSettings
    const path = settings.current().monthlyBytesFile
    const isSet = Effect.unsafeMakeLatch(false)
    const currentMonth = monthTeller(clock)
    let month = currentMonth()
    let used = 0
    /** The month before, to go back to when the clock was only ahead. */
    let before: typeof Count.Type | undefined
    let announced: State = "within"
    let isLoaded = false
    let isChanged = false

    const hasThreshold = () => {
      const { monthlyBytesHard, monthlyBytesSoft } = settings.current()
      return monthlyBytesHard !== undefined || monthlyBytesSoft !== undefined
    }

    const state = (): State => {
      const { monthlyBytesHard = Infinity, monthlyBytesSoft = Infinity } = settings.current()
      return used >= monthlyBytesHard ? "hard" : used >= monthlyBytesSoft ? "soft" : "within"
    }

    const announce = () => {
      const before = announced
      announced = state()
      const { monthlyBytesHard, monthlyBytesSoft } = settings.current()
      if (announced === "hard" && before !== "hard") {
        run(Effect.annotateLogs(
          Effect.logError("this month's volume has reached monthlyBytesHard: no new splices begin"),
          { month, used, monthlyBytesHard }
        ))
      } else if (announced === "soft" && before === "within") {
        run(Effect.annotateLogs(
          Effect.logWarning("this month's volume has reached monthlyBytesSoft"),
          { month, used, monthlyBytesSoft, ...monthlyBytesHard === undefined ? {} : { monthlyBytesHard } }
        ))
      }
    }

    const rollOver = () => {
      const now = currentMonth()
      if (now === month || now < month && !isFuture(month)) {
        return
      }
      const left = { month, bytes: used }
      month = now
      isChanged = true
      announced = "within"
      if (now < left.month) {
        // Bytes that were carried while the clock was ahead belong to the present month.
        used += before?.month === now ? before.bytes : 0
        before = undefined
        if (hasThreshold()) {
          run(Effect.annotateLogs(Effect.logWarning("the clock was ahead: the month is an earlier one again"), {
            month,
            used,
            was: left.month
          }))
        }
        announce()
        return
      }
      before = left
      used = 0
      if (hasThreshold()) {
        run(Effect.annotateLogs(Effect.logInfo("a new month begins"), {
          month,
          lastMonth: left.month,
          lastUsed: left.bytes
        }))
      }
    }

    /**
     * Whether a month begins later than a clock that runs wrong by minutes explains. Within a day of its begin a clock that is
     * set back does not make what was carried undone.
     */
    const isFuture = (month: string) => Date.parse(`${month}-01T00:00:00Z`) - clock.unsafeCurrentTimeMillis() > dayMs

    /** A clock that was ahead once has written the count of a month that has not begun. */
    const setAside = ({ bytes, month }: typeof Count.Type) => {
      const aside = `${path}.${month}`
      return fs.rename(path, aside).pipe(
        Effect.zipRight(Effect.annotateLogs(
          Effect.logWarning("monthlyBytesFile is of a month that has not begun: a clock was ahead; it is kept aside"),
          { month, bytes, file: aside }
        )),
        Effect.catchAll(({ message }) =>
          Effect.annotateLogs(
            Effect.logError("monthlyBytesFile is of a month that has not begun, and cannot be kept aside"),
            { month, bytes, problem: message }
          )
        )
      )
    }

    const fail = (problem: string) => new VolumeQuotaError({ path, problem })

    /** Adds the file's count to the bytes that this process has carried. */
    const load = Effect.gen(function*() {
      const text = yield* Effect.catchIf(fs.readFileString(path), isNotFound, () => Effect.succeed(undefined)).pipe(
        Effect.mapError((error) => fail(error.message))
      )
      if (text !== undefined) {
        const count = yield* Effect.mapError(
          decode(text),
          () => fail("does not hold a month's count; put back a copy that does, or remove it to begin this month at 0")
        )
        rollOver()
        if (isFuture(count.month)) {
          yield* setAside(count)
          isChanged = true
        } else if (count.month >= month) {
          month = count.month
          used += count.bytes
        } else {
          before = count
        }
      }
      isLoaded = true
      announce()
    })

    const write = Effect.gen(function*() {
      const unfinished = `${path}.new`
      yield* fs.remove(unfinished, { force: true })
      const file = yield* fs.open(unfinished, { flag: "wx", mode: 0o600 })
      yield* file.writeAll(new TextEncoder().encode(`${encode({ month, bytes: used })}\n`))
      yield* file.sync
      yield* fs.rename(unfinished, path)
    }).pipe(Effect.scoped)

    const save = Effect.gen(function*() {
      rollOver()
      if (!hasThreshold()) {
        return
      }
      if (!isLoaded) {
        yield* load
      }
      if (isChanged) {
        isChanged = false
        yield* Effect.tapError(write, () =>
          Effect.sync(() => {
            isChanged = true
          }))
      }
    }).pipe(
      Effect.catchAll(({ message }) =>
        Effect.annotateLogs(Effect.logError("this month's volume was not kept, trying again in a minute"), {
          problem: message
        })
      ),
      Effect.uninterruptible
    )

    yield* hasThreshold() ? load : Effect.void
    yield* settings.follow(() => {
      if (hasThreshold()) {
        isSet.unsafeOpen()
      } else {
        isSet.unsafeClose()
      }
      announce()
    })
    yield* Effect.addFinalizer(() => save)
    yield* isSet.await.pipe(
      Effect.zipRight(save),
      Effect.zipRight(Effect.sleep("1 minute")),
      Effect.forever,
      Effect.forkScoped
    )

    return {
      add: (bytes) => {
        rollOver()
        used += bytes
        isChanged = true
        announce()
      },
      used: () => {
        rollOver()
        return used
      },
      month: () => {
        rollOver()
        return month
      },
      state: () => {
        rollOver()
        return state()
      }
    }
  })
)

const dayMs = 86_400_000

/** Returns what tells the month that is. It is asked at every event, so it makes a date only when the clock leaves the month. */
const monthTeller = (clock: Clock.Clock) => {
  let [month, from, until] = ["", 0, 0]
  return () => {
    const now = clock.unsafeCurrentTimeMillis()
    if (now < from || now >= until) {
      const date = new Date(now)
      month = date.toISOString().slice(0, 7)
      from = Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
      until = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)
    }
    return month
  }
}

const isNotFound = (error: PlatformError.PlatformError) => error._tag === "SystemError" && error.reason === "NotFound"
