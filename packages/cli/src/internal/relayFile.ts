import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"

/** Which relay a command is about. */
export const relayFile = Options.text("config").pipe(
  Options.withAlias("c"),
  Options.withPseudoName("FILE"),
  Options.withDescription("The relay's file; ./tx3-relay.yml without it"),
  Options.withFallbackConfig(Config.string("TX3_RELAY_CONFIG")),
  Options.withDefault("./tx3-relay.yml")
)
