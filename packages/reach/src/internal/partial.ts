/**
 * What of an interrupted transfer is on the disk, so that it can go on another time: `.tx3-KEY.part` in the target folder, KEY being
 * made of the name and size that were offered. A transfer takes it by giving it a name of its own, which only one can do, and
 * gives it back when it is interrupted. One that nobody has taken for a week is removed.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createHash, randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"

/** What a transfer works on until it is whole. */
export interface Partial {
  /** The file or folder; not there yet, unless `isContinued`. */
  readonly path: string
  readonly isContinued: boolean
  /** What becomes of it when the scope closes: it is removed unless it is kept for another time, or has got its name. */
  end: "removed" | "kept" | "named"
}

/** Takes what there is of an offer, or a new name. It has the fate that `end` says when the scope closes. */
export const claim = (
  folder: string,
  offer: { readonly kind: "file" | "folder"; readonly name: string; readonly size: number },
  mayContinue: boolean
): Effect.Effect<Partial, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async (): Promise<Partial> => {
      const own = path.join(folder, `.tx3-${randomUUID()}`)
      const isContinued = mayContinue && await taken(keptPath(folder, offer), own, offer.kind)
      return { path: own, isContinued, end: mayContinue ? "kept" : "removed" }
    }),
    (partial) =>
      Effect.promise(async () => {
        if (partial.end === "kept") {
          await renamed(partial.path, keptPath(folder, offer))
        }
        if (partial.end !== "named") {
          await fs.rm(partial.path, { force: true, recursive: true }).catch(() => {})
        }
      })
  )

const keptPath = (folder: string, offer: { readonly kind: string; readonly name: string; readonly size: number }) => {
  const key = createHash("sha256").update(JSON.stringify([offer.kind, offer.name, offer.size])).digest("base64url")
  return path.join(folder, `.tx3-${key.slice(0, 22)}.part`)
}

/** Nothing but what a transfer of this kind left is gone on with. */
const taken = async (kept: string, own: string, kind: "file" | "folder") => {
  try {
    const stats = await fs.lstat(kept)
    if (kind === "file" ? !stats.isFile() : !stats.isDirectory()) {
      return false
    }
    await fs.rename(kept, own)
    return true
  } catch {
    return false
  }
}

/** For how long a part is kept that nobody goes on with. */
const keptMs = 7 * 24 * 3_600_000

/** Removes the parts in a folder that have been left alone for so long, and returns their names. What cannot be removed stays. */
export const removeOld = (folder: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.flatMap(Effect.clock, (clock) =>
    Effect.promise(async () => {
      const names = await fs.readdir(folder).catch((): Array<string> => [])
      const removed: Array<string> = []
      for (const name of names.filter((name) => /^\.tx3-[\w-]{22}\.part$/.test(name))) {
        const part = path.join(folder, name)
        const stats = await fs.lstat(part).catch(() => undefined)
        if (stats !== undefined && clock.unsafeCurrentTimeMillis() - stats.mtimeMs > keptMs) {
          await fs.rm(part, { recursive: true }).then(() => removed.push(name), () => {})
        }
      }
      return removed
    }))

/** A newer one takes the place of an older one; a folder that is there cannot be replaced, and goes first. */
const renamed = async (own: string, kept: string) => {
  // A folder does not become younger by what is written below it.
  const now = new Date()
  await fs.utimes(own, now, now).catch(() => {})
  try {
    await fs.rename(own, kept)
  } catch {
    await fs.rm(kept, { force: true, recursive: true }).catch(() => {})
    await fs.rename(own, kept).catch(() => {})
  }
}
