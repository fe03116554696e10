/**
 * The file that makes an address permanent: a certificate and its private key in PEM. A reader of it can act as
 * the node, so only its owner may read it.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Identity from "@tx3/protocol/Identity"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { FileError } from "./FileError.js"
import type { FileExists } from "./NewFile.js"
import { writeSecret } from "./NewFile.js"
import * as SecretFile from "./SecretFile.js"

/**
 * A file that cannot be used or made: which, what is wrong, and what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityFileError extends Schema.TaggedError<IdentityFileError>("@tx3/files/IdentityFileError")(
  "IdentityFileError",
  { path: Schema.String, problem: Schema.String }
) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}

const credentialsDirectory = Config.option(Config.string("CREDENTIALS_DIRECTORY")).pipe(Effect.orDie)

/**
 * Whether systemd has put a file there for this service (`LoadCredential=`). Only the service can read that folder,
 * by an access list that `stat` shows as a right of the group.
 */
const isCredential = (path: string) =>
  Effect.gen(function*() {
    const { resolve, sep } = yield* Path.Path
    const folder = yield* credentialsDirectory
    return Option.exists(folder, (folder) => resolve(path).startsWith(resolve(folder) + sep))
  })

/**
 * Reads a file that only its owner may read, or only this service of systemd's, or one on a read-only mount as
 * `SecretFile.isOpenToOthers` has it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (
  path: string
): Effect.Effect<Identity.Identity, IdentityFileError | FileError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fail = (problem: string) => new IdentityFileError({ path, problem })
    const unreadable = (error: PlatformError.PlatformError) =>
      error._tag === "SystemError" && error.reason === "NotFound"
        ? fail("there is no such file; make one with: tx3 keygen FILE")
        : new FileError({ action: "read", path, cause: error.cause })
    const fs = yield* FileSystem.FileSystem
    const allowed = (yield* isCredential(path)) ? 0o070 : 0
    if (yield* Effect.mapError(SecretFile.isOpenToOthers(path, allowed), unreadable)) {
      return yield* fail(SecretFile.problem(path, "private key"))
    }
    const text = yield* Effect.mapError(fs.readFileString(path), unreadable)
    return yield* Effect.mapError(Identity.fromPem(Redacted.make(text)), (error) => fail(error.message))
  })

/**
 * Makes a file with a new identity. It appears complete and readable by its owner only, or not at all; a file that
 * exists is not touched.
 *
 * @since 0.1.0
 * @category constructors
 */
export const create = (
  path: string
): Effect.Effect<Identity.Identity, FileError | FileExists, FileSystem.FileSystem | Path.Path> =>
  Effect.tap(Identity.generate, (identity) => writeSecret(path, Identity.toPem(identity)))
