import { Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { LiveSettings } from "@tx3/policy"
import { VolumeQuota } from "@tx3/policy"
import { RelayTest } from "@tx3/relay"
import type { Clock, Scope } from "effect"
import { Effect, Layer, TestClock, TestServices } from "effect"
import * as Fs from "node:fs"
import { liveSettings, logTo, reload, type Values } from "./utils/operated.js"

const november = Date.UTC(2026, 10, 24, 12)

interface Quota {
  readonly path: string
  readonly lines: Array<string>
  readonly quota: typeof VolumeQuota.VolumeQuota.Service
  /** Other settings from now on. */
  readonly set: (values: Values) => Effect.Effect<void, unknown, LiveSettings.LiveSettings>
}

/** A folder, in which quotas begin and end as processes would. */
const withFolder = <A, E>(
  body: (folder: {
    readonly path: string
    readonly put: (text: string) => Effect.Effect<void>
    readonly start: <A, E>(
      values: Values,
      body: (quota: Quota) => Effect.Effect<A, E, LiveSettings.LiveSettings | Scope.Scope>,
      fileSystem?: Layer.Layer<FileSystem.FileSystem>
    ) => Effect.Effect<A, E | { readonly message: string }>
  }) => Effect.Effect<A, E>
) =>
  Effect.gen(function*() {
    yield* TestClock.setTime(november)
    const fs = yield* FileSystem.FileSystem
    const path = `${yield* fs.makeTempDirectoryScoped()}/month.json`
    return yield* body({
      path,
      put: (text) => Effect.orDie(fs.writeFileString(path, text)),
      start: (values, body, fileSystem = NodeFileSystem.layer) => {
        let current = values
        const lines: Array<string> = []
        return Effect.gen(function*() {
          const quota = yield* VolumeQuota.VolumeQuota
          const set = (values: Values) =>
            Effect.suspend(() => {
              current = values
              return reload
            })
          return yield* body({ path, lines, quota, set })
        }).pipe(
          Effect.scoped,
          Effect.provide(VolumeQuota.layer.pipe(
            Layer.provide(fileSystem),
            Layer.provideMerge(liveSettings(() => ({ monthlyBytesFile: path, ...current }))),
            Layer.provideMerge(logTo(lines))
          ))
        )
      }
    })
  }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

const text = (path: string) => Fs.existsSync(path) ? Fs.readFileSync(path, "utf8") : undefined

/** A clock that can be set without ending sleeps. TestClock.setTime runs every sleep up to the new time. */
const leapingClock = Effect.map(Effect.clock, (clock) => {
  let aheadMs = 0
  return Object.assign(Object.create(clock) as Clock.Clock, {
    leapTo: (millis: number) => {
      aheadMs = millis - clock.unsafeCurrentTimeMillis()
    },
    unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + aheadMs
  })
})

/** Waits on the real clock for what the disk brings about. */
const eventually = (holds: () => boolean) => TestServices.provideLive(RelayTest.eventually(Effect.sync(holds)))

/** The same, for what happens every minute. */
const withinMinutes = (holds: () => boolean) =>
  TestClock.adjust("1 minute").pipe(
    Effect.zipRight(TestServices.provideLive(Effect.sleep("5 millis"))),
    Effect.repeat({ until: holds })
  )

const reloaded = "INFO settings reloaded"
const soft = "WARN this month's volume has reached monthlyBytesSoft"
const hard = "ERROR this month's volume has reached monthlyBytesHard: no new splices begin"

describe("VolumeQuota", () => {
  it.effect("without a threshold it counts, and touches no file", () =>
    withFolder(({ path, put, start }) =>
      Effect.gen(function*() {
        yield* start({}, ({ quota }) => Effect.sync(() => quota.add(10)))
        assert.isUndefined(text(path))
        yield* put("this is no count")
        yield* start({}, ({ lines, quota }) =>
          Effect.gen(function*() {
            quota.add(10)
            quota.add(5)
            yield* TestClock.adjust("1 hour")
            assert.deepEqual([quota.used(), quota.month(), quota.state()], [15, "2026-11", "within"])
            assert.deepEqual(lines, [])
          }))
        assert.strictEqual(text(path), "this is no count")
      })
    ))

  it.effect("keeps the count from one process to the next, for its owner alone", () =>
    withFolder(({ path, start }) =>
      Effect.gen(function*() {
        const values = { monthlyBytesSoft: 1_000 }
        yield* start(values, ({ quota }) => Effect.sync(() => quota.add(300)))
        assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 300 })
        assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
        yield* start(values, ({ quota }) =>
          Effect.sync(() => {
            assert.strictEqual(quota.used(), 300)
            quota.add(50)
          }))
        yield* start(values, ({ quota }) => Effect.sync(() => assert.strictEqual(quota.used(), 350)))
        assert.deepEqual(Fs.readdirSync(path.replace(/[^/]*$/, "")), ["month.json"])
      })
    ))

  it.effect("writes every minute, and only what has changed", () =>
    withFolder(({ path, start }) =>
      start({ monthlyBytesHard: 1_000 }, ({ quota }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("2 minutes")
          quota.add(1)
          yield* TestClock.adjust("59 seconds")
          assert.isUndefined(text(path))
          yield* TestClock.adjust("1 seconds")
          yield* eventually(() => text(path)?.includes("\"bytes\":1}") === true)

          const { ino } = Fs.statSync(path)
          const held = Fs.openSync(path, "r")
          yield* TestClock.adjust("10 minutes")
          assert.strictEqual(Fs.statSync(path).ino, ino)
          quota.add(1)
          yield* withinMinutes(() => text(path)!.includes("\"bytes\":2}"))
          // Another file took its place, and whoever reads the one of before reads all of that.
          assert.include(Fs.readFileSync(held, "utf8"), "\"bytes\":1}")
          Fs.closeSync(held)
        }))
    ))

  it.effect("begins at 0 in another month than the file's", () =>
    withFolder(({ path, put, start }) =>
      Effect.gen(function*() {
        yield* put("{\"month\":\"2026-10\",\"bytes\":900}")
        yield* start({ monthlyBytesHard: 800 }, ({ quota }) =>
          Effect.sync(() => {
            assert.deepEqual([quota.used(), quota.state()], [0, "within"])
            quota.add(1)
          }))
        assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 1 })
      })
    ))

  it.effect("does not start on a file that holds no count, and leaves it as it is", () =>
    withFolder(({ path, put, start }) =>
      Effect.forEach(
        ["", "{", "[]", "{\"month\":\"2026-11\"}", "{\"month\":\"nov\",\"bytes\":1}"],
        (broken) =>
          Effect.gen(function*() {
            yield* put(broken)
            const error = yield* Effect.flip(start({ monthlyBytesSoft: 1 }, () => Effect.void))
            assert.strictEqual(
              error.message,
              `${path}: does not hold a month's count; put back a copy that does, or remove it to begin this month at 0`
            )
            assert.strictEqual(text(path), broken)
          })
      )
    ))

  it.effect("warns once at the soft threshold and once more at the hard one", () =>
    withFolder(({ start }) =>
      start({ monthlyBytesSoft: 100, monthlyBytesHard: 200 }, ({ lines, quota }) =>
        Effect.sync(() => {
          quota.add(99)
          assert.deepEqual([quota.state(), lines], ["within", []])
          quota.add(1)
          quota.add(99)
          assert.deepEqual([quota.state(), lines], ["soft", [soft]])
          quota.add(1)
          quota.add(1)
          assert.deepEqual([quota.state(), lines], ["hard", [soft, hard]])
        }))
    ))

  it.effect("says at start what has been reached already", () =>
    withFolder(({ put, start }) =>
      Effect.gen(function*() {
        yield* put("{\"month\":\"2026-11\",\"bytes\":200}")
        yield* start({ monthlyBytesSoft: 100, monthlyBytesHard: 200 }, ({ lines, quota }) =>
          Effect.sync(() => {
            assert.deepEqual([quota.state(), lines], ["hard", [hard]])
          }))
      })
    ))

  for (const notice of ["add", "used", "month", "state"] as const) {
    it.effect(`begins anew with the month, noticed by ${notice}`, () =>
      withFolder(({ path, start }) =>
        Effect.gen(function*() {
          const values = { monthlyBytesSoft: 100, monthlyBytesHard: 200 }
          yield* TestClock.setTime(Date.UTC(2026, 11, 1) - 1)
          yield* start(values, ({ lines, quota }) =>
            Effect.gen(function*() {
              quota.add(250)
              assert.deepEqual([quota.state(), quota.month(), quota.used()], ["hard", "2026-11", 250])
              // Within the minute after which it would be noticed anyway.
              yield* TestClock.setTime(Date.UTC(2026, 11, 1))
              quota[notice](0)
              assert.deepEqual(lines, [hard, "INFO a new month begins"])
              assert.deepEqual([quota.state(), quota.month(), quota.used()], ["within", "2026-12", 0])
              quota.add(100)
              assert.deepEqual(lines.slice(2), [soft])
            }))
          assert.deepEqual(JSON.parse(text(path)!), { month: "2026-12", bytes: 100 })
        })
      ))
  }

  it.effect("sets a count aside whose month has not begun, and goes on with the month that is", () =>
    withFolder(({ path, put, start }) =>
      Effect.gen(function*() {
        yield* put("{\"month\":\"2028-01\",\"bytes\":900}")
        yield* start({ monthlyBytesHard: 800 }, ({ lines, quota }) =>
          Effect.sync(() => {
            assert.deepEqual([quota.month(), quota.used(), quota.state()], ["2026-11", 0, "within"])
            assert.deepEqual(lines, [
              "WARN monthlyBytesFile is of a month that has not begun: a clock was ahead; it is kept aside"
            ])
            quota.add(1)
          }))
        assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 1 })
        assert.deepEqual(JSON.parse(text(`${path}.2028-01`)!), { month: "2028-01", bytes: 900 })
      })
    ))

  it.effect("a clock that is ahead for a while takes nothing from the month and adds no month to it", () =>
    withFolder(({ path, start }) =>
      Effect.gen(function*() {
        const clock = yield* leapingClock
        yield* start({ monthlyBytesHard: 800 }, ({ lines, quota }) =>
          Effect.sync(() => {
            quota.add(700)
            clock.leapTo(Date.UTC(2028, 0, 5))
            quota.add(50)
            assert.deepEqual([quota.month(), quota.used()], ["2028-01", 50])
            clock.leapTo(november)
            assert.deepEqual([quota.month(), quota.used(), quota.state()], ["2026-11", 750, "within"])
            quota.add(50)
            assert.deepEqual(lines, [
              "INFO a new month begins",
              "WARN the clock was ahead: the month is an earlier one again",
              hard
            ])
          })).pipe(Effect.withClock(clock))
        assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 800 })
      })
    ))

  it.effect("a clock that is set back by seconds at the begin of a month stays in it", () =>
    withFolder(({ start }) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 11, 1))
        yield* start({ monthlyBytesHard: 800 }, ({ quota }) =>
          Effect.gen(function*() {
            quota.add(50)
            yield* TestClock.setTime(Date.UTC(2026, 11, 1) - 2_000)
            assert.deepEqual([quota.month(), quota.used()], ["2026-12", 50])
          }))
      })
    ))

  it.effect("takes thresholds from the settings of now", () =>
    withFolder(({ start }) =>
      start({ monthlyBytesHard: 100 }, ({ lines, quota, set }) =>
        Effect.gen(function*() {
          quota.add(150)
          assert.strictEqual(quota.state(), "hard")
          yield* set({ monthlyBytesSoft: 120, monthlyBytesHard: 200 })
          assert.strictEqual(quota.state(), "soft")
          yield* set({ monthlyBytesHard: 200 })
          assert.strictEqual(quota.state(), "within")
          yield* set({ monthlyBytesSoft: 50 })
          assert.strictEqual(quota.state(), "soft")
          yield* set({})
          assert.strictEqual(quota.state(), "within")
          yield* set({ monthlyBytesHard: 150 })
          assert.strictEqual(quota.state(), "hard")
          assert.deepEqual(lines.filter((line) => line !== reloaded), [hard, soft, hard])
        }))
    ))

  it.effect("a threshold set while it runs brings in the file, beside what was carried before", () =>
    withFolder(({ path, put, start }) =>
      Effect.gen(function*() {
        yield* put("{\"month\":\"2026-11\",\"bytes\":1000}")
        yield* start({}, ({ lines, quota, set }) =>
          Effect.gen(function*() {
            quota.add(5)
            yield* TestClock.adjust("5 minutes")
            assert.strictEqual(quota.used(), 5)
            yield* set({ monthlyBytesSoft: 1_000 })
            yield* eventually(() => quota.used() === 1_005)
            assert.strictEqual(quota.state(), "soft")
            assert.deepEqual(lines.filter((line) => line !== reloaded), [soft])
            yield* eventually(() => text(path)!.includes("\"bytes\":1005}"))
            yield* set({})
            yield* set({ monthlyBytesSoft: 1_000 })
            yield* TestClock.adjust("5 minutes")
            assert.strictEqual(quota.used(), 1_005)
          }))
        assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 1_005 })
      })
    ))

  it.effect("a file that holds no count then is left as it is, and tried again", () =>
    withFolder(({ path, put, start }) =>
      Effect.gen(function*() {
        yield* put("{")
        const failed = "ERROR this month's volume was not kept, trying again in a minute"
        const failures = (lines: ReadonlyArray<string>) => lines.filter((line) => line === failed).length
        yield* start({}, ({ lines, quota, set }) =>
          Effect.gen(function*() {
            quota.add(5)
            yield* set({ monthlyBytesSoft: 1_000 })
            yield* eventually(() => failures(lines) === 1)
            yield* withinMinutes(() => failures(lines) > 1)
            assert.deepEqual([text(path), quota.used()], ["{", 5])
            yield* put("{\"month\":\"2026-11\",\"bytes\":20}")
            yield* withinMinutes(() => quota.used() === 25)
          }))
        assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 25 })
      })
    ))

  it.effect("goes on without the file when it cannot be written, and tries again", () =>
    withFolder(({ path, start }) =>
      Effect.gen(function*() {
        let broken = true
        const full = NodeFileSystem.layer.pipe(
          Layer.flatMap((context) =>
            Layer.effect(
              FileSystem.FileSystem,
              Effect.map(FileSystem.FileSystem, (fs) => ({
                ...fs,
                rename: (from: string, to: string) =>
                  broken
                    ? Effect.fail(
                      new PlatformError.SystemError({
                        module: "FileSystem",
                        method: "rename",
                        reason: "Unknown",
                        description: "no space left"
                      })
                    )
                    : fs.rename(from, to)
              }))
            ).pipe(Layer.provide(Layer.succeedContext(context)))
          )
        )
        yield* start({ monthlyBytesHard: 100 }, ({ lines, quota }) =>
          Effect.gen(function*() {
            quota.add(100)
            yield* withinMinutes(() => lines.length > 2)
            const failed = "ERROR this month's volume was not kept, trying again in a minute"
            assert.deepEqual(lines.slice(0, 3), [hard, failed, failed])
            assert.deepEqual([text(path), quota.state()], [undefined, "hard"])
            broken = false
            yield* withinMinutes(() => text(path) !== undefined)
            assert.deepEqual(JSON.parse(text(path)!), { month: "2026-11", bytes: 100 })
          }), full)
      })
    ))
})
