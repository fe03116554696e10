/**
 * Reads a file of text, and gives it another content, whole or not at all. It owns nothing: where it fails, the unfinished file is
 * removed.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import type { Stats } from "node:fs"
import * as fs from "node:fs/promises"
import { FileError } from "./FileError.js"

/**
 * Reads all of a file.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (path: string): Effect.Effect<string, FileError, FileSystem.FileSystem> =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) => Effect.mapError(fs.readFileString(path), ({ cause }) => new FileError({ action: "read", path, cause }))
  )

/**
 * Replaces a file by one with this text, and with its mode and owner. A link stays, and what it leads to is replaced. Readers see
 * the old text or the new one, after a power failure, too. Fails, and changes nothing, where the owner cannot be kept.
 *
 * @since 0.1.0
 * @category constructors
 */
export const replace = (path: string, text: string): Effect.Effect<void, FileError> =>
  Effect.uninterruptible(Effect.tryPromise({
    try: () => replaced(path, text),
    catch: (cause) => new FileError({ action: "write", path, cause })
  }))

const replaced = async (path: string, text: string) => {
  const target = await fs.realpath(path)
  const before = await fs.stat(target)
  const unfinished = `${target}.${randomUUID()}`
  const file = await fs.open(unfinished, "wx", 0o600)
  try {
    // By the descriptor: what has the name meanwhile may be another's link to another file.
    await finish(file, text, before)
    await fs.rename(unfinished, target)
  } catch (error) {
    await fs.rm(unfinished, { force: true })
    throw error
  }
}

const finish = async (file: fs.FileHandle, text: string, { gid, mode, uid }: Stats) => {
  try {
    await file.writeFile(text)
    const own = await file.stat()
    if (own.uid !== uid || own.gid !== gid) {
      await file.chown(uid, gid)
    }
    // Last, because a change of owner takes bits away.
    await file.chmod(mode & 0o7777)
    await file.sync()
  } finally {
    await file.close()
  }
}
