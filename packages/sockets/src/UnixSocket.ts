/**
 * Prepares the file of a unix socket before a program listens there. It owns nothing.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { isMainThread } from "node:worker_threads"

/**
 * How many bytes the path of a unix socket can have. The system takes the beginning of a longer one for it.
 *
 * @since 0.1.0
 * @category constants
 */
export const longestPath: number = Os.platform() === "darwin" ? 103 : 107

const pipePrefix = "\\\\.\\pipe\\"

/**
 * Tells why no unix socket can have this path here, and what to use instead; undefined where one can. On Windows Node has named
 * pipes in their place.
 *
 * @since 0.1.0
 * @category accessors
 */
export const problemOf = (path: string, platform: NodeJS.Platform = process.platform): string | undefined => {
  if (platform === "win32") {
    return path.startsWith(pipePrefix)
      ? undefined
      : `Windows has no unix sockets; use a port of 127.0.0.1, or a named pipe, ${pipePrefix}NAME`
  }
  return Buffer.byteLength(path) > longestPath
    ? `its path is longer than the ${longestPath} bytes that a socket's can have; choose a shorter one`
    : undefined
}

/**
 * Tells that the folder is missing in which a socket would be made, for which the system says no more than that it is not
 * permitted.
 *
 * @since 0.1.0
 * @category accessors
 */
export const folderProblemOf = (path: string): string | undefined => {
  const folder = Path.dirname(Path.resolve(path))
  return process.platform === "win32" || Fs.existsSync(folder)
    ? undefined
    : `there is no folder ${folder}; make it, or choose another path`
}

/**
 * Returns the path where a program listens for others of this machine: the path itself, or on Windows a named pipe that is
 * called like it.
 *
 * @since 0.1.0
 * @category conversions
 */
export const localPath = (path: string, platform: NodeJS.Platform = process.platform): string =>
  platform === "win32" ? pipePrefix + path.replaceAll("\\", "/") : path

/**
 * Removes a unix socket without a listener, as a killed process leaves it behind; it would be in the
 * way of the next. Anything else that has this name stays.
 *
 * @since 0.1.0
 * @category listening
 */
export const removeStaleSocket = (path: string): Effect.Effect<void> =>
  Effect.async((resume) => {
    const probe = Net.connect({ path })
      .on("connect", () => {
        probe.destroy()
        resume(Effect.void)
      })
      .on("error", (error: NodeJS.ErrnoException) => {
        // A file that is no socket refuses, too.
        if (error.code === "ECONNREFUSED" && Fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) {
          Fs.rmSync(path, { force: true })
        }
        resume(Effect.void)
      })
  })

/**
 * Runs `listen`, and gives the socket at `path` that it binds the mode 0600. The file has that mode from the moment it
 * exists, because the process's umask is 0177 meanwhile; `listen` must therefore bind before it returns, as `listen` of a
 * `net.Server` does with a path. A worker thread cannot set the umask; it changes the mode right after.
 *
 * @since 0.1.0
 * @category listening
 */
export const bindPrivately = <A>(path: string, listen: () => A): A => {
  if (!isMainThread) {
    const listening = listen()
    if (Fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) {
      Fs.chmodSync(path, 0o600)
    }
    return listening
  }
  const umask = process.umask(0o177)
  try {
    return listen()
  } finally {
    process.umask(umask)
  }
}
