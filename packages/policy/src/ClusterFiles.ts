/**
 * The files that `cluster` names: credentials and certificates for NATS. They are read once, when the relay starts.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as SecretFile from "@tx3/files/SecretFile"
import { RelayConfigError } from "@tx3/relay/RelayConfig"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Cluster } from "./OperatorConfig.js"

/**
 * Reads them. Secrets that others than their owner may read are refused.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = ({ credentials, tls }: Cluster) =>
  Effect.all({
    credentials: secret("cluster.credentials", credentials),
    tls: tls === undefined
      ? Effect.succeed(undefined)
      : Effect.all({
        ca: text("cluster.tls.ca", tls.ca),
        cert: text("cluster.tls.cert", tls.cert),
        key: secret("cluster.tls.key", tls.key)
      })
  })

const text = (place: string, path: string | undefined) =>
  path === undefined
    ? Effect.succeed(undefined)
    : Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path)).pipe(unusable(place, path))

const secret = (place: string, path: string | undefined) =>
  Effect.gen(function*() {
    const read = yield* text(place, path)
    if (path === undefined || read === undefined) {
      return undefined
    }
    if (yield* SecretFile.isOpenToOthers(path).pipe(unusable(place, path))) {
      return yield* new RelayConfigError({ place, problem: `${path}: ${SecretFile.problem(path, "secret")}` })
    }
    return Redacted.make(read)
  })

const unusable = (place: string, path: string) =>
  Effect.mapError(({ message }: { readonly message: string }) =>
    new RelayConfigError({ place, problem: `${path} cannot be read: ${message}` })
  )
