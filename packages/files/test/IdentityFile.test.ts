import { Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile, SecretFile } from "@tx3/files"
import * as programs from "@tx3/testing/builtPrograms"
import { ConfigProvider, Effect, Option } from "effect"
import { chmodSync, mkdirSync } from "node:fs"
import { join } from "node:path"

/** The right to read a file of this mode in this folder, with systemd's credentials in `credentials`. */
const read = (folder: string, mode: number) =>
  Effect.gen(function*() {
    const above = yield* programs.temporaryFolder
    mkdirSync(join(above, folder))
    const file = join(above, folder, "identity.pem")
    const { digest } = yield* IdentityFile.create(file)
    chmodSync(file, mode)
    const identity = yield* IdentityFile.read(file).pipe(
      Effect.withConfigProvider(ConfigProvider.fromMap(
        new Map([["CREDENTIALS_DIRECTORY", join(above, "credentials")]])
      ))
    )
    assert.strictEqual(identity.digest, digest)
  }).pipe(Effect.provide(NodeContext.layer))

/** The same on a read-only mount, where the file is owned by this user. */
const readMounted = (mode: number, uid: number) =>
  Effect.gen(function*() {
    const file = join(yield* programs.temporaryFolder, "identity.pem")
    const { digest } = yield* IdentityFile.create(file)
    chmodSync(file, mode)
    const fs = yield* FileSystem.FileSystem
    const readOnly = FileSystem.make({
      ...fs,
      stat: (path) => Effect.map(fs.stat(path), (info) => ({ ...info, uid: Option.some(uid) })),
      access: () =>
        new PlatformError.SystemError({
          module: "FileSystem",
          method: "access",
          reason: "Unknown",
          cause: Object.assign(new Error(), { code: "EROFS" })
        })
    })
    const identity = yield* Effect.provideService(IdentityFile.read(file), FileSystem.FileSystem, readOnly)
    assert.strictEqual(identity.digest, digest)
  }).pipe(Effect.provide(NodeContext.layer))

describe("IdentityFile.read", () => {
  for (const mode of [0o440, 0o444, 0o644]) {
    it.scopedLive("where files have no modes, as on Windows, none counts as open to others", () =>
      read("any", 0o666).pipe(Effect.provideService(SecretFile.HasModes, false)))

    it.scopedLive(`reads mode ${mode.toString(8)} on a read-only mount, where it is root's or this user's`, () =>
      Effect.gen(function*() {
        yield* readMounted(mode, 0)
        yield* readMounted(mode, process.getuid!())
        const { message } = yield* Effect.flip(readMounted(mode, 4_242))
        assert.include(message, "or mount it read-only, owned by root or this user")
      }))
  }

  it.scopedLive("reads a credential that systemd lets the service read", () => read("credentials", 0o440))

  for (const [folder, mode] of [["credentials", 0o444], ["credentials-of-another", 0o440]] as const) {
    it.scopedLive(`refuses mode ${mode.toString(8)} in ${folder}`, () =>
      Effect.gen(function*() {
        const { message } = yield* Effect.flip(read(folder, mode))
        assert.include(message, "others than its owner may read the private key in it; run: chmod 0400 ")
      }))
  }
})
