/**
 * The relay as a member of the cluster that its settings name. It is a module of its own, which only a relay with such
 * settings loads.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Cluster from "@tx3/cluster/Cluster"
import * as Directory from "@tx3/cluster/Directory"
import * as NatsDirectory from "@tx3/cluster/NatsDirectory"
import * as ClusterFiles from "@tx3/policy/ClusterFiles"
import * as OperatorConfig from "@tx3/policy/OperatorConfig"
import type { Elsewhere } from "@tx3/relay/Elsewhere"
import { RelayConfigError } from "@tx3/relay/RelayConfig"
import * as PortableTransport from "@tx3/transport/PortableTransport"
import * as Transport from "@tx3/transport/Transport"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { version } from "./internal/version.js"

/** Reads the files that `cluster` names, and fails if they cannot be used. */
const directoryOf = (cluster: OperatorConfig.Cluster) =>
  Layer.unwrapEffect(
    Effect.map(ClusterFiles.read(cluster), (files) =>
      Layer.mapError(
        NatsDirectory.layer({ servers: cluster.nats, ...files }),
        ({ problem }) => new RelayConfigError({ place: "cluster.credentials", problem })
      ))
  )

/**
 * Makes the relay a member. Fails if a file that `cluster` names cannot be used. An engine that is away does not fail it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  cluster: OperatorConfig.Cluster
): Layer.Layer<Elsewhere, RelayConfigError, FileSystem.FileSystem> => {
  const { advertise, listen, name } = cluster
  return Cluster.layer({
    advertise: advertise === undefined ? undefined : OperatorConfig.placeOfLink(advertise),
    listen: OperatorConfig.placeOfLink(listen),
    name,
    version
  }).pipe(Layer.provide(directoryOf(cluster)))
}

/**
 * Tries to connect to NATS and to listen for links, and says in a line each what came of it. Leaves nothing open.
 *
 * @since 0.1.0
 * @category accessors
 */
export const check = (
  cluster: OperatorConfig.Cluster
): Effect.Effect<ReadonlyArray<string>, RelayConfigError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const run = yield* FiberSet.makeRuntime()
    const { isConnected } = Context.get(yield* Layer.build(directoryOf(cluster)), Directory.Directory)
    const { listen } = Context.get(yield* Layer.build(PortableTransport.layer), Transport.Transport)
    const servers = cluster.nats.map(OperatorConfig.withoutSecrets).join(", ")
    const problem = yield* listen({
      ...OperatorConfig.placeOfLink(cluster.listen),
      ipv6Only: false,
      onAcceptError: () => {},
      onConnection: ({ close }) => run(close)
    }).pipe(Effect.match({
      onFailure: ({ message }) => `: ${message} (nothing to mend if that is this relay)`,
      onSuccess: () => ""
    }))
    return [
      `cluster: ${isConnected() ? "connected to" : "no connection to"} ${servers}`,
      `links: ${cluster.listen}${problem}`
    ]
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))
