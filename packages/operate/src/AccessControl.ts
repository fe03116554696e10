import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/relay/Source"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { Ban } from "./RelayStatus.js"
export class InvalidBan extends Data.TaggedError("InvalidBan")<{ readonly message: string }> {}
export class AccessControl extends Context.Tag("@tx3/operate/AccessControl")<AccessControl, {
  readonly bans: () => ReadonlyArray<Ban>
  readonly ban: (who: string) => Effect.Effect<(node: CertDigest, source: Source) => boolean, InvalidBan>
  readonly unban: (who: string) => Effect.Effect<boolean>
}>() {}
import * as Layer from "effect/Layer"
import type { LiveSettings } from "./LiveSettings.js"
export const layer: Layer.Layer<AccessControl, never, LiveSettings> = Layer.succeed(AccessControl, {
  bans: () => [],
  ban: () => new InvalidBan({ message: "stub" }),
  unban: () => new InvalidBan({ message: "stub" }) as never
})
