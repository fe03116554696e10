/**
 * The settings a relay runs with, which may be loaded anew while it runs: all or nothing, and no connection is dropped.
 * It holds the settings of now, until its layer's scope closes.
 *
 * The relay is given a `RelayConfig` that always says what holds now, and does not know that it changes.
 *
 * @since 0.1.0
 */
import type * as Identity from "@tx3/protocol/Identity"
import * as RelayConfig from "@tx3/relay/RelayConfig"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as OperatorConfig from "./OperatorConfig.js"
import { Settings } from "./OperatorConfig.js"

/**
 * The result of loading a relay's configuration once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded {
  readonly settings: Settings
  readonly identity: Identity.Identity
}

/**
 * A setting that a reload found changed, and its text before and after. Secrets are not shown.
 *
 * @since 0.1.0
 * @category models
 */
export interface Change {
  readonly setting: string
  readonly from: string
  readonly to: string
}

/**
 * The settings that apply since a reload, and those that need a restart.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReloadReport {
  readonly changed: ReadonlyArray<Change>
  readonly needsRestart: ReadonlyArray<Change>
}

/**
 * The settings cannot be used; those of before hold on.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReloadRefused extends Data.TaggedError("ReloadRefused")<{ readonly problem: string }> {
  override get message() {
    return `nothing was changed: ${this.problem}`
  }
}

/**
 * The settings that hold at the moment, to look at, to follow, and to load again.
 *
 * @since 0.1.0
 * @category services
 */
export class LiveSettings extends Context.Tag("@tx3/policy/LiveSettings")<LiveSettings, {
  /** The current settings. */
  readonly current: () => Settings

  /** Calls `listener` with the current settings, and again whenever they change, until the scope closes. */
  readonly follow: (listener: (settings: Settings) => void) => Effect.Effect<void, never, Scope.Scope>

  /** Loads them again. Settings that can change in a running relay apply from now on. */
  readonly reload: Effect.Effect<ReloadReport, ReloadRefused>
}>() {}

/** The settings by which a relay has bound, opened or handed out something at its start. */
const fixedAtStart: ReadonlyArray<keyof Settings> = [
  "bind",
  "advertise",
  "proxyProtocolFrom",
  "transport",
  "transportThreads",
  "admin",
  "adminToken",
  "metrics",
  "otlp",
  "cluster",
  "monthlyBytesFile"
]

/**
 * Settings from wherever `load` gets them, now and at each reload.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E extends { readonly message: string }, R>(
  load: Effect.Effect<Loaded, E, R>
): Layer.Layer<LiveSettings | RelayConfig.RelayConfig, E, R> =>
  Layer.effectContext(Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const { identity, settings } = yield* load
    const listeners = new Set<(settings: Settings) => void>()
    let current = settings

    const follow = (listener: (settings: Settings) => void) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          listeners.add(listener)
          listener(current)
        }),
        () => Effect.sync(() => listeners.delete(listener))
      ).pipe(Effect.asVoid)

    const change = (settings: Settings) => {
      current = settings
      listeners.forEach((listener) => listener(settings))
    }

    const apply = (next: Loaded): ReloadReport => {
      const before = current
      const kept = Object.fromEntries(fixedAtStart.map((key) => [key, before[key]]))
      try {
        change({ ...next.settings, ...kept })
      } catch (error) {
        change(before)
        throw error
      }
      return {
        changed: changesOf(before, current),
        needsRestart: [
          ...changesOf(current, next.settings),
          ...next.identity.digest === identity.digest
            ? []
            : [{ setting: "identity", from: identity.digest, to: next.identity.digest }]
        ]
      }
    }

    const oneAtATime = (yield* Effect.makeSemaphore(1)).withPermits(1)

    const reload = load.pipe(
      Effect.provide(context),
      Effect.mapError(({ message }) => new ReloadRefused({ problem: message })),
      Effect.flatMap((next) =>
        Effect.try({
          try: () => apply(next),
          catch: (error) => new ReloadRefused({ problem: String(error) })
        })
      ),
      Effect.tap(({ changed, needsRestart }) =>
        Effect.annotateLogs(Effect.logInfo("settings reloaded"), {
          changed: changed.map(({ setting }) => setting).join(" "),
          ...needsRestart.length > 0 ? { needsRestart: needsRestart.map(({ setting }) => setting).join(" ") } : {}
        })
      ),
      Effect.tapError(({ message }) => Effect.logError(`reload: ${message}`)),
      oneAtATime
    )

    return Context.make(LiveSettings, { current: () => current, follow, reload }).pipe(
      Context.add(RelayConfig.RelayConfig, viewOf(() => current, identity))
    )
  }))

/** A relay's configuration whose settings are always those of now. */
const viewOf = (current: () => Settings, identity: Identity.Identity): RelayConfig.RelayConfig["Type"] =>
  Object.defineProperties(
    { identity },
    Object.fromEntries(
      Object.keys(RelayConfig.Settings.fields).map((key) => [
        key,
        { enumerable: true, get: () => current()[key as keyof RelayConfig.Settings] }
      ])
    )
  ) as RelayConfig.RelayConfig["Type"]

const encode = Schema.encodeSync(Settings)

const changesOf = (from: Settings, to: Settings): Array<Change> => {
  const [before, after] = [encode(from), encode(to)] as ReadonlyArray<Record<string, unknown>>
  return Object.keys(Settings.fields).flatMap((setting) => {
    const [was, is] = [before![setting], after![setting]].map((value) => JSON.stringify(value) ?? "not set")
    if (was === is) {
      return []
    }
    return setting === "adminToken"
      ? [{ setting, from: "(a secret)", to: "(another)" }]
      : [{ setting, from: shortened(was!), to: shortened(is!) }]
  })
}

/** Access lists can be megabytes. */
const shortened = (text: string) => {
  const shown = OperatorConfig.withoutSecrets(text)
  return shown.length <= 200 ? shown : `${shown.slice(0, 200)}… (${shown.length} characters)`
}
