import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { readdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as programs from "./utils/programs.js"

const root = fileURLToPath(new URL("../../../", import.meta.url))

const npm = (cwd: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { ended } = yield* programs.startCommand("npm", args, { cwd })
    const { code, stderr, stdout } = yield* ended
    assert.strictEqual(code, 0, stderr)
    return stdout.toString()
  })

describe("the packages", { timeout: 300_000 }, () => {
  it.scopedLive("hold what they should, and work where they are installed", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      const names = ["protocol", "sockets", "transport", "relay", "operate", "node", "cli"]
      yield* npm(root, "pack", "--pack-destination", folder, ...names.map((name) => `--workspace=@tx3/${name}`))
      const tarballs = readdirSync(folder)
      assert.strictEqual(tarballs.length, names.length)
      for (const tarball of tarballs) {
        const files = execFileSync("tar", ["-tzf", join(folder, tarball)], { encoding: "utf8" }).trim().split("\n")
        const allowed = [
          /^package\/(package\.json|README\.md|LICENSE)$/,
          /^package\/src\/(internal\/)?[\w-]+\.ts$/,
          /^package\/dist\/(internal\/)?[\w-]+(\.d\.ts|\.js)(\.map)?$/,
          ...tarball.startsWith("tx3-operate-") ? [/^package\/page\/[\w-]+\.(html|css|js)$/] : [],
          ...tarball.startsWith("tx3-cli-") ? [/^package\/bin\/tx3(-relay)?\.js$/] : []
        ]
        assert.deepStrictEqual(files.filter((file) => !allowed.some((pattern) => pattern.test(file))), [], tarball)
        assert.include(files, "package/dist/index.js")
      }

      writeFileSync(join(folder, "package.json"), "{\"private\":true}")
      yield* npm(
        folder,
        "install",
        "--prefer-offline",
        "--no-audit",
        "--no-fund",
        ...tarballs.map((tarball) => `./${tarball}`)
      )
      const bin = (name: string) => join(folder, "node_modules", ".bin", name)
      const run = (name: string, ...args: ReadonlyArray<string>) =>
        Effect.flatMap(programs.startCommand(bin(name), args, { cwd: folder }), ({ ended }) => ended)

      assert.include(yield* npm(folder, "exec", "--", "tx3-relay", "--help"), "--init")
      assert.include((yield* run("tx3", "--help")).stdout.toString(), "receive")
      const init = yield* run("tx3-relay", "--init", "--bind", "tx3-rst://127.0.0.1:0")
      assert.strictEqual(init.code, 0, init.stderr)
      assert.strictEqual(statSync(join(folder, "tx3-relay.yml")).mode & 0o777, 0o400)

      const relay = yield* programs.startCommand(bin("tx3-relay"), [], { cwd: folder })
      const [address] = yield* relay.untilStdout(/tx3-rst:\S+/)
      const listening = yield* programs.startCommand(bin("tx3"), ["listen", "--echo", address], { cwd: folder })
      const [echo] = yield* listening.untilStdout(/tx3-rst:\S+/)
      const ping = yield* run("tx3", "ping", "--count", "1", echo)
      assert.strictEqual(ping.code, 0, ping.stderr)
      relay.kill("SIGTERM")
      assert.strictEqual((yield* relay.ended).code, 0)
    }))
})
