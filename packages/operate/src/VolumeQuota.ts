import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Layer from "effect/Layer"
export class VolumeQuotaError extends Data.TaggedError("VolumeQuotaError")<{ readonly message: string }> {}
export class VolumeQuota extends Context.Tag("@tx3/operate/VolumeQuota")<VolumeQuota, {
  readonly add: (bytes: number) => void
  readonly used: () => number
}>() {}
export const layer: Layer.Layer<VolumeQuota, VolumeQuotaError> = Layer.succeed(VolumeQuota, {
  add: () => {},
  used: () => 0
})
