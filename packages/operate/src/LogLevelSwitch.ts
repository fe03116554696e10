/**
 * A minimum log level that can be changed while the program runs. Nothing is held: the level that all fibers share is
 * one object, and what it says changes.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"

/**
 * The log levels by the names that operators give them, from the one that logs most to the one that logs nothing.
 *
 * @since 0.1.0
 * @category constants
 */
export const levels = {
  trace: LogLevel.Trace,
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error,
  fatal: LogLevel.Fatal,
  none: LogLevel.None
} as const

/**
 * The names of {@link levels}, in their order.
 *
 * @since 0.1.0
 * @category constants
 */
export const names = Object.keys(levels) as ReadonlyArray<keyof typeof levels>

/**
 * The minimum log level of whatever its layer is provided to.
 *
 * @since 0.1.0
 * @category services
 */
export class LogLevelSwitch extends Context.Tag("@tx3/operate/LogLevelSwitch")<LogLevelSwitch, {
  /** The lowest level that is logged. */
  readonly current: () => LogLevel.LogLevel

  /** Changes it, for running fibers too. */
  readonly set: (level: LogLevel.LogLevel) => void
}>() {}

/**
 * Begins with the level that holds where the layer is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LogLevelSwitch> = Layer.unwrapEffect(
  Effect.map(FiberRef.get(FiberRef.currentMinimumLogLevel), (initial) => {
    let current = initial
    const shared = {
      get _tag() {
        return current._tag
      },
      get label() {
        return current.label
      },
      get ordinal() {
        return current.ordinal
      },
      get syslog() {
        return current.syslog
      },
      pipe: LogLevel.Info.pipe
    } as LogLevel.LogLevel
    return Layer.merge(
      Logger.minimumLogLevel(shared),
      Layer.succeed(LogLevelSwitch, {
        current: () => current,
        set: (level) => {
          current = level
        }
      })
    )
  })
)
