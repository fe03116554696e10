import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import { FileError } from "../FileError.js"
import { UsageError } from "../UsageError.js"
import { publish } from "./publish.js"

/** Makes a file that only its owner may read, complete or not at all, and never in place of another. */
export const writeSecret = (path: string, text: Redacted.Redacted<string>) =>
  writeNew(path, Redacted.value(text), 0o400)

/** The same, with this mode. */
export const writeNew = (path: string, text: string, mode: number) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { dirname, join } = yield* Path.Path
    const unfinished = join(dirname(path), `.tx3-${randomUUID()}`)
    const file = yield* Effect.acquireRelease(
      fs.open(unfinished, { flag: "wx", mode }),
      () => Effect.ignore(fs.remove(unfinished))
    )
    yield* file.writeAll(new TextEncoder().encode(text))
    yield* file.sync
    yield* Effect.tryPromise({ try: () => publish(unfinished, path), catch: (cause) => ({ cause }) })
  }).pipe(
    Effect.scoped,
    Effect.mapError(({ cause }) =>
      (cause as NodeJS.ErrnoException).code === "EEXIST"
        ? new UsageError({
          message: `${path}: exists already and is left as it is; name another file, or remove it to get a new address`
        })
        : new FileError({ action: "write", path, cause })
    )
  )
