/**
 * Live settings that a test changes as an operator would: by other values and a reload.
 */
import { LiveSettings, OperatorConfig } from "@tx3/policy"
import { CertDigest, Identity } from "@tx3/protocol"
import type { Layer } from "effect"
import { Effect, Logger, LogLevel } from "effect"

export type Values = Readonly<Record<string, unknown>>

/** What `values` says at each load. */
export const liveSettings = (
  values: () => Values,
  resolve: (settings: OperatorConfig.Settings) => Effect.Effect<OperatorConfig.Settings, { readonly message: string }> =
    Effect.succeed
): Layer.Layer<Layer.Layer.Success<ReturnType<typeof LiveSettings.layer>>, { readonly message: string }> =>
  LiveSettings.layer(
    Effect.gen(function*() {
      const settings = yield* OperatorConfig.decode([{
        place: (key) => key,
        values: { bind: ["tx3-rst://127.0.0.1:0"], maxShareOfNode: 1, ...values() }
      }])
      return { settings: yield* resolve(settings), identity: yield* identity }
    })
  )

export const reload = Effect.flatMap(LiveSettings.LiveSettings, ({ reload }) => reload)

/** One of its own for each test file. */
const identity = Effect.runSync(Effect.cached(Identity.generate))

/** Collects `LEVEL message` instead of writing it. */
export const logTo = (lines: Array<string>) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make<unknown, void>(({ logLevel, message }) => {
      if (LogLevel.greaterThanEqual(logLevel, LogLevel.Info)) {
        lines.push(`${logLevel.label} ${String(message)}`)
      }
    })
  )

/** A digest that nobody has the certificate of. */
export const digestOf = (number: number) => CertDigest.fromBytes(Buffer.alloc(32, number))
