/**
 * The relay as a member of the cluster that its settings name. It is a module of its own, which only a relay with such
 * settings loads.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Cluster from "@tx3/cluster/Cluster"
import * as NatsDirectory from "@tx3/cluster/NatsDirectory"
import * as ClusterFiles from "@tx3/policy/ClusterFiles"
import * as OperatorConfig from "@tx3/policy/OperatorConfig"
import type { Elsewhere } from "@tx3/relay/Elsewhere"
import { RelayConfigError } from "@tx3/relay/RelayConfig"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { version } from "./internal/version.js"

/**
 * Reads the files that `cluster` names, and fails if they cannot be used. An engine that is away does not fail it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  cluster: OperatorConfig.Cluster
): Layer.Layer<Elsewhere, RelayConfigError, FileSystem.FileSystem> =>
  Layer.unwrapEffect(
    Effect.map(ClusterFiles.read(cluster), (files) => {
      const { advertise, listen, name, nats } = cluster
      const member = Cluster.layer({
        advertise: advertise === undefined ? undefined : OperatorConfig.placeOfLink(advertise),
        listen: OperatorConfig.placeOfLink(listen),
        name,
        version
      })
      const directory = Layer.mapError(
        NatsDirectory.layer({ servers: nats, ...files }),
        ({ problem }) => new RelayConfigError({ place: "cluster.credentials", problem })
      )
      return Layer.provide(member, directory)
    })
  )
