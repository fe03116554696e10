/**
 * Makes files that appear complete or not at all, and never in place of another. An unfinished file is removed when the
 * effect ends.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import { FileError } from "./FileError.js"
import { publish } from "./Publish.js"

/**
 * A file of this name exists already.
 *
 * @since 0.1.0
 * @category errors
 */
export class FileExists extends Schema.TaggedError<FileExists>("@tx3/files/FileExists")("FileExists", {
  path: Schema.String
}) {
  override get message(): string {
    return `${this.path}: exists already and is left as it is; name another file, or remove it to get a new address`
  }
}

/**
 * Makes a file that only its owner may read.
 *
 * @since 0.1.0
 * @category constructors
 */
export const writeSecret = (
  path: string,
  text: Redacted.Redacted<string>
): Effect.Effect<void, FileError | FileExists, FileSystem.FileSystem | Path.Path> =>
  writeNew(path, Redacted.value(text), 0o400)

/**
 * Makes a file with this mode.
 *
 * @since 0.1.0
 * @category constructors
 */
export const writeNew = (
  path: string,
  text: string,
  mode: number
): Effect.Effect<void, FileError | FileExists, FileSystem.FileSystem | Path.Path> =>
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
        ? new FileExists({ path })
        : new FileError({ action: "write", path, cause })
    )
  )
