/**
 * Whether a file that holds a secret is kept from others. It owns nothing.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * Whether files have modes. On Windows they have access control lists, which Node does not read: there no file counts as open
 * to others.
 *
 * @since 0.1.0
 * @category references
 */
export class HasModes extends Context.Reference<HasModes>()("@tx3/files/SecretFile/HasModes", {
  defaultValue: () => process.platform !== "win32"
}) {}

/**
 * Tells whether others than its owner may read a file, by its mode; `allowed` are further mode bits that may be set. A file
 * on a read-only mount that is root's or this user's may have any mode: Kubernetes and Docker mount secrets so, at 0440 or
 * 0444, and no process in the container can change it. Fails if the file cannot be inspected.
 *
 * @since 0.1.0
 * @category accessors
 */
export const isOpenToOthers = (
  path: string,
  allowed = 0
): Effect.Effect<boolean, PlatformError.PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { mode, uid } = yield* fs.stat(path)
    if (!(yield* HasModes) || (mode & 0o077 & ~allowed) === 0) {
      return false
    }
    const isOurs = Option.exists(uid, (uid) => uid === 0 || uid === process.getuid?.())
    return !(isOurs && (yield* isOnReadOnlyMount(path)))
  })

/** Not by `access` itself, which lets root write what it must not: by why it is refused. */
const isOnReadOnlyMount = (path: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) =>
    Effect.match(fs.access(path, { writable: true }), {
      onFailure: ({ cause }) => (cause as NodeJS.ErrnoException | undefined)?.code === "EROFS",
      onSuccess: () => false
    }))

/**
 * Says why a file that others can read is refused, and the remedy.
 *
 * @since 0.1.0
 * @category getters
 */
export const problem = (path: string, secret: string): string =>
  `others than its owner may read the ${secret} in it; run: chmod 0400 ${path}; ` +
  "or mount it read-only, owned by root or this user, as Kubernetes and Docker mount secrets"
