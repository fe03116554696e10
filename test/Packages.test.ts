import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../", import.meta.url))

const npm = (cwd: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { ended } = yield* programs.startCommand("npm", args, { cwd })
    const { code, stderr, stdout } = yield* ended
    assert.strictEqual(code, 0, stderr)
    return stdout.toString()
  })

const libraries = [
  "protocol",
  "sockets",
  "files",
  "local-http",
  "transport",
  "relay",
  "cluster",
  "policy",
  "operate",
  "node",
  "reach",
  "command"
]

const filesOf = (tarball: string) => execFileSync("tar", ["-tzf", tarball], { encoding: "utf8" }).trim().split("\n")

const about = /^package\/(package\.json|README\.md|LICENSE)$/

const ofLibrary = [
  about,
  /^package\/src\/(internal\/)?[\w-]+\.ts$/,
  /^package\/dist\/(internal\/)?[\w-]+(\.d\.ts|\.js)(\.map)?$/
]

const page = /^package\/(bundle\/)?page\/[\w.-]+\.(html|css|js)$/

const assertContents = (tarball: string, entry: string, allowed: ReadonlyArray<RegExp>) => {
  const files = filesOf(tarball)
  assert.deepStrictEqual(files.filter((file) => !allowed.some((pattern) => pattern.test(file))), [], tarball)
  assert.include(files, `package/${entry}`)
}

describe("the packages", { timeout: 300_000 }, () => {
  it.scopedLive("hold what they should, and each program works where it is installed alone", () =>
    Effect.gen(function*() {
      const folder = yield* programs.temporaryFolder
      // The tarballs of @tx3/relay and tx3-relay have the same name.
      const packed = (kind: string, names: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const destination = join(folder, kind)
          mkdirSync(destination)
          yield* npm(
            root,
            "pack",
            "--pack-destination",
            destination,
            ...names.map((name) => `--workspace=packages/${name}`)
          )
          assert.strictEqual(readdirSync(destination).length, names.length)
          return destination
        })
      const ofLibraries = yield* packed("libraries", libraries)
      const ofPrograms = yield* packed("programs", ["tx3", "tx3-relay"])
      for (const library of libraries) {
        assertContents(
          join(ofLibraries, `tx3-${library}-0.1.0.tgz`),
          "dist/index.js",
          ["local-http", "operate", "reach"].includes(library) ? [...ofLibrary, page] : ofLibrary
        )
      }

      /** Installs a program in a folder of its own. */
      const installed = (program: "tx3" | "tx3-relay") =>
        Effect.gen(function*() {
          const home = join(folder, program)
          const tarball = join(ofPrograms, `${program}-0.1.0.tgz`)
          assertContents(tarball, "bundle/main.cjs", [
            about,
            new RegExp(`^package/bin/${program}\\.cjs$`),
            /^package\/bundle\/(main|kernelWorker)\.cjs(\.map)?$/,
            new RegExp(`^package/bundle/${program}-[A-Z0-9]{8}\\.cjs(\\.map)?$`),
            /^package\/bundle\/(help\.json|LICENSES\.txt)$/,
            page
          ])
          mkdirSync(home)
          writeFileSync(join(home, "package.json"), "{\"private\":true}")
          yield* npm(home, "install", "--prefer-offline", "--no-audit", "--no-fund", tarball)
          const others = readdirSync(join(home, "node_modules")).filter((name) => !name.startsWith("."))
          // koffi has its binary for each platform in a package of its own.
          assert.sameMembers(others.filter((name) => name !== "@koromix"), ["koffi", program])
          assert.match(yield* npm(home, "exec", "--", program, "--version"), new RegExp(`^${program} 0\\.1\\.0`))
          return {
            home,
            start: (...args: ReadonlyArray<string>) =>
              programs.startCommand(join(home, "node_modules/.bin", program), args, { cwd: home })
          }
        })
      const tx3 = yield* installed("tx3")
      const relay = yield* installed("tx3-relay")

      const init = yield* Effect.flatMap(relay.start("--init", "--bind", "tx3-rst://127.0.0.1:0"), ({ ended }) => ended)
      assert.strictEqual(init.code, 0, init.stderr)
      assert.strictEqual(statSync(join(relay.home, "tx3-relay.yml")).mode & 0o777, 0o400)

      const serving = yield* relay.start()
      const [address] = yield* serving.untilStdout(/tx3-rst:\S+/)
      const listening = yield* tx3.start("listen", "--echo", address)
      const [echo] = yield* listening.untilStdout(/tx3-rst:\S+/)
      const ping = yield* Effect.flatMap(tx3.start("ping", "--count", "1", echo), ({ ended }) => ended)
      assert.strictEqual(ping.code, 0, ping.stderr)
      serving.kill("SIGTERM")
      assert.strictEqual((yield* serving.ended).code, 0)
    }))
})
