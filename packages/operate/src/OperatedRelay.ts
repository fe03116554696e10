/**
 * A relay with everything an operator puts around it: access, bandwidth, a volume quota, history, metrics, the admin
 * server where one is set, and settings that can be loaded anew. It ends with its layer's scope: first the admin server,
 * then the relay, then what the relay stands on.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as AccessControl from "@tx3/policy/AccessControl"
import * as BandwidthLimits from "@tx3/policy/BandwidthLimits"
import * as LiveSettings from "@tx3/policy/LiveSettings"
import * as VolumeQuota from "@tx3/policy/VolumeQuota"
import * as Relay from "@tx3/relay/Relay"
import type { RelayConfigError } from "@tx3/relay/RelayConfig"
import type * as KernelTransport from "@tx3/transport/KernelTransport"
import type * as Transport from "@tx3/transport/Transport"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as AdminServer from "./AdminServer.js"
import * as LogLevelSwitch from "./LogLevelSwitch.js"
import * as RelayActions from "./RelayActions.js"
import * as RelayHistory from "./RelayHistory.js"
import * as RelayJournal from "./RelayJournal.js"
import * as RelayTelemetry from "./RelayTelemetry.js"

/** Counts what the relay carries against the month's volume, to the last byte of its shutdown. */
const metering = Layer.scopedDiscard(Effect.gen(function*() {
  const journal = yield* RelayJournal.RelayJournal
  const quota = yield* VolumeQuota.VolumeQuota
  yield* journal.follow((event) => {
    if (event._tag === "Carried") {
      quota.add(event.fromLeft + event.fromRight)
    }
  })
}))

const adminServer = Effect.promise(() => import("./AdminServer.js"))

const admin = Layer.unwrapEffect(Effect.gen(function*() {
  const { admin, adminToken, metrics } = (yield* LiveSettings.LiveSettings).current()
  const { layer } = yield* adminServer
  return layer({ admin, adminToken, metrics })
}))

/**
 * The transport waits for its threads when it starts. The modules of the admin server, a third of the relay's, load in that time:
 * `setImmediate` delays the import until the transport has started the threads.
 */
const transport = Layer.merge(
  Relay.transport,
  Layer.effectDiscard(Effect.zipRight(
    Effect.async<void>((resume) => {
      setImmediate(() => resume(Effect.void))
    }),
    adminServer
  ))
)

/** The other relays, where there is a cluster. Only a member loads what it needs for that. */
const member = Layer.unwrapEffect(Effect.gen(function*() {
  const { cluster } = (yield* LiveSettings.LiveSettings).current()
  if (cluster === undefined) {
    return Layer.empty
  }
  const { layer } = yield* Effect.promise(() => import("./ClusterMember.js"))
  return layer(cluster)
}))

/** Also sends the logs, metrics and traces of the layers above it to the collector, if there is one. */
const exporting = Layer.unwrapEffect(Effect.map(LiveSettings.LiveSettings, (live) => {
  const { otlp } = live.current()
  return otlp === undefined ? Layer.empty : RelayTelemetry.layerOtlp(otlp)
}))

/**
 * A relay with settings from wherever `load` gets them, now and at each reload.
 *
 * @example
 * ```ts
 * import { NodeContext } from "@effect/platform-node"
 * import { OperatedRelay } from "@tx3/operate"
 * import { OperatorConfig } from "@tx3/policy"
 * import { Identity } from "@tx3/protocol"
 * import { Effect, Layer } from "effect"
 *
 * const values = { bind: ["tx3-rst://0.0.0.0:38141"], admin: "unix:/run/relay/admin.sock" }
 *
 * const load = Effect.all({
 *   identity: Identity.generate,
 *   settings: OperatorConfig.decode([{ place: (key) => key, values }])
 * })
 *
 * export const relay = Layer.provide(OperatedRelay.layer(load), NodeContext.layer)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E extends { readonly message: string }, R>(
  load: Effect.Effect<LiveSettings.Loaded, E, R>
): Layer.Layer<
  | AdminServer.AdminServer
  | LiveSettings.LiveSettings
  | Relay.Relay
  | RelayActions.RelayActions
  | RelayHistory.RelayHistory,
  | AdminServer.AdminListenError
  | E
  | KernelTransport.KernelUnavailable
  | RelayConfigError
  | Transport.ListenError
  | VolumeQuota.VolumeQuotaError,
  FileSystem.FileSystem | R
> =>
  Layer.merge(admin, RelayTelemetry.layerRefreshing).pipe(
    Layer.provideMerge(RelayActions.layer),
    Layer.provide(RelayTelemetry.layer),
    Layer.provideMerge(RelayHistory.layer),
    Layer.provideMerge(Relay.layer),
    Layer.provide(member),
    Layer.provide(metering),
    Layer.provide([AccessControl.layer, BandwidthLimits.layer, RelayJournal.layer, transport]),
    Layer.provide([VolumeQuota.layer, FetchHttpClient.layer]),
    Layer.provide(exporting),
    Layer.provideMerge(LiveSettings.layer(load)),
    Layer.provide(LogLevelSwitch.layer)
  )
