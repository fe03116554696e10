import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/cli"
import { ConfigProvider, Effect } from "effect"
import { chmodSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import * as programs from "./utils/programs.js"

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

describe("IdentityFile.read", () => {
  it.scopedLive("reads a credential that systemd lets the service read", () => read("credentials", 0o440))

  for (const [folder, mode] of [["credentials", 0o444], ["credentials-of-another", 0o440]] as const) {
    it.scopedLive(`refuses mode ${mode.toString(8)} in ${folder}`, () =>
      Effect.gen(function*() {
        const { message } = yield* Effect.flip(read(folder, mode))
        assert.include(message, "others than its owner may read the private key in it; run: chmod 0400 ")
      }))
  }
})
