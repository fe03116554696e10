/** Commands whose work is loaded when it is to be done. */
import * as Effect from "effect/Effect"

/** Returns a handler that imports the module with the work of a command. The import happens when the command runs. */
export const later =
  <Flags, E, R>(module: () => Promise<{ readonly run: (flags: Flags) => Effect.Effect<void, E, R> }>) =>
  (flags: Flags): Effect.Effect<void, E, R> => Effect.flatMap(Effect.promise(module), ({ run }) => run(flags))
