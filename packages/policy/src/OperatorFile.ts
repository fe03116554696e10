/**
 * The relay's file with an operator's settings in it, as it is loaded at start and at each reload: the file, changed by
 * the environment, changed by flags, and the lists that it names.
 *
 * @since 0.1.0
 */
import type * as Identity from "@tx3/protocol/Identity"
import type * as RelayConfig from "@tx3/relay/RelayConfig"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as AccessFiles from "./AccessFiles.js"
import * as OperatorConfig from "./OperatorConfig.js"

/**
 * Reads and checks all of it; nothing is started and nothing is changed. An `identity` that is given is the relay's, and
 * not the file's.
 *
 * @since 0.1.0
 * @category accessors
 */
export const load = <E = never, R = never>(
  path: string,
  overrides: ReadonlyArray<RelayConfig.SettingsSource>,
  identity: Option.Option<Effect.Effect<Identity.Identity, E, R>> = Option.none()
) =>
  Effect.gen(function*() {
    const file = yield* RelayFile.read(path)
    const sources = [file.settings, yield* OperatorConfig.fromEnvironment, ...overrides]
    const { access, ...settings } = yield* OperatorConfig.decode(sources)
    return {
      identity: yield* Option.getOrElse(identity, () => RelayFile.identityOf(path, file)),
      settings: { ...settings, access: yield* AccessFiles.resolve(access) }
    }
  })
