/** The folder of what a user of `tx3` has set: `tx3` in `$XDG_CONFIG_HOME` or `~/.config`. None without a home. */
import * as Path from "@effect/platform/Path"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

export const configFolder: Effect.Effect<Option.Option<string>, never, Path.Path> = Effect.gen(function*() {
  const { join } = yield* Path.Path
  const [configHome, homeOfPosix, homeOfWindows] = yield* Effect.all(
    ["XDG_CONFIG_HOME", "HOME", "USERPROFILE"].map((name) => Config.option(Config.nonEmptyString(name)))
  ).pipe(Effect.orDie)
  const home = Option.orElse(homeOfPosix!, () => homeOfWindows!)
  const folder = Option.orElse(configHome!, () => Option.map(home, (home) => join(home, ".config")))
  return Option.map(folder, (folder) => join(folder, "tx3"))
})
