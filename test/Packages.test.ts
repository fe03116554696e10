import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
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
  "policy",
  "operate",
  "node",
  "reach",
  "command"
]

/** The libraries of ours that a package has, itself left out. */
const librariesOf = (name: string): Set<string> => {
  const { dependencies = {} } = JSON.parse(readFileSync(join(root, "packages", name, "package.json"), "utf8")) as {
    readonly dependencies?: Record<string, string>
  }
  const own = Object.keys(dependencies).filter((dependency) => dependency.startsWith("@tx3/")).map((dependency) =>
    dependency.slice("@tx3/".length)
  )
  return new Set(own.flatMap((library) => [library, ...librariesOf(library)]))
}

const filesOf = (tarball: string) => execFileSync("tar", ["-tzf", tarball], { encoding: "utf8" }).trim().split("\n")

const assertContents = (tarball: string, ...further: ReadonlyArray<RegExp>) => {
  const files = filesOf(tarball)
  const allowed = [
    /^package\/(package\.json|README\.md|LICENSE)$/,
    /^package\/src\/(internal\/)?[\w-]+\.ts$/,
    /^package\/dist\/(internal\/)?[\w-]+(\.d\.ts|\.js)(\.map)?$/,
    ...further
  ]
  assert.deepStrictEqual(files.filter((file) => !allowed.some((pattern) => pattern.test(file))), [], tarball)
  assert.include(files, "package/dist/index.js")
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
      const tarballOf = (library: string) => join(ofLibraries, `tx3-${library}-0.1.0.tgz`)
      for (const library of libraries) {
        assertContents(
          tarballOf(library),
          ...library === "operate" ? [/^package\/page\/[\w-]+\.(html|css|js)$/] : []
        )
      }

      /** Installs a program with what it depends on, in a folder of its own. */
      const installed = (program: "tx3" | "tx3-relay") =>
        Effect.gen(function*() {
          const home = join(folder, program)
          const tarball = join(ofPrograms, `${program}-0.1.0.tgz`)
          assertContents(tarball, new RegExp(`^package/bin/${program}\\.js$`))
          mkdirSync(home)
          writeFileSync(join(home, "package.json"), "{\"private\":true}")
          const ours = Array.from(librariesOf(program))
          const tarballs = [tarball, ...ours.map(tarballOf)]
          yield* npm(home, "install", "--prefer-offline", "--no-audit", "--no-fund", ...tarballs)
          assert.sameMembers(readdirSync(join(home, "node_modules/@tx3")), ours)
          assert.strictEqual((yield* npm(home, "exec", "--", program, "--version")).trim(), "0.1.0")
          return {
            home,
            start: (...args: ReadonlyArray<string>) =>
              programs.startCommand(join(home, "node_modules/.bin", program), args, { cwd: home })
          }
        })
      const tx3 = yield* installed("tx3")
      assert.isFalse(existsSync(join(tx3.home, "node_modules/@opentelemetry")))
      assert.isFalse(existsSync(join(tx3.home, "node_modules/@tx3/relay")))
      const relay = yield* installed("tx3-relay")
      assert.isFalse(existsSync(join(relay.home, "node_modules/@tx3/node")))

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
