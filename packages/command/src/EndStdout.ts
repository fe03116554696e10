/**
 * The end of stdout, for a reader that waits for it before it closes stdin, as ssh does of its ProxyCommand.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"

/**
 * Lets the reader of stdout find its end, once all is written. Node does not close stdout, so its descriptor is; and since
 * the next thing that is opened takes its number, that is something which takes whatever may still be written.
 *
 * @since 0.1.0
 * @category running
 */
export const endStdout: Effect.Effect<void> = Effect.sync(() => {
  if (!process.stdout.isTTY) {
    Fs.closeSync(1)
    Fs.openSync(Os.devNull, "w")
  }
})
