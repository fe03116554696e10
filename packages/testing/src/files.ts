import { Effect, Schedule } from "effect"
import { createHash, randomBytes } from "node:crypto"
import nodeFs, { readdirSync, writeFileSync } from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { join } from "node:path"

export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

/** Random bytes, so that nothing on the way can guess them. */
export const makeFile = (folder: string, name: string, size: number) => {
  const bytes = randomBytes(size)
  writeFileSync(join(folder, name), bytes)
  return { path: join(folder, name), bytes, sha256: sha256(bytes) }
}

/** Waits until a folder's names are as wanted: there is no event for that which every system has. */
export const untilNames = (folder: string, wanted: (names: ReadonlyArray<string>) => boolean) =>
  Effect.sync(() => readdirSync(folder)).pipe(
    Effect.filterOrFail(wanted),
    Effect.retry({ schedule: Schedule.spaced(10) })
  )

/** From now on the file system has no hard links, and `rename` fails with this code, if any. */
export const withoutLinks = (renameFails?: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { link, rename } = nodeFs.promises
      const fail = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }))
      nodeFs.promises.link = fail("EPERM")
      if (renameFails !== undefined) {
        nodeFs.promises.rename = fail(renameFails)
      }
      syncBuiltinESMExports()
      return { link, rename }
    }),
    (original) =>
      Effect.sync(() => {
        Object.assign(nodeFs.promises, original)
        syncBuiltinESMExports()
      })
  )
