/** The end of stdout, for whoever waits for it before they close stdin, as ssh does of its ProxyCommand. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"

/**
 * Lets the reader of stdout find its end, once all is written. Node does not close stdout, so its descriptor is; and since
 * the next thing that is opened takes its number, that is something which takes whatever may still be written.
 */
export const endStdout = Effect.sync(() => {
  if (!process.stdout.isTTY) {
    Fs.closeSync(1)
    Fs.openSync(Os.devNull, "w")
  }
})
