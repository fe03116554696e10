import { assert, describe, it } from "@effect/vitest"
import { OperatorConfig } from "@tx3/policy"
import { Effect, Either } from "effect"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const read = (page: string) => readFileSync(new URL(`../${page}`, import.meta.url), "utf8")

/** The programs of a page, on free ports. */
const programsOf = (page: string) =>
  Array.from(
    read(page).matchAll(/```js\n([\s\S]*?)```/g),
    ([, code]) => code!.replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1:0")
  )

const [relayProgram, nodeProgram, ...othersOfReadme] = programsOf("README.md")
const [promiseProgram, runtimeProgram, operatedProgram, ...othersOfLibrary] = programsOf("docs/library.md")

/** Runs a program from within the workspace, where it finds our packages as they are built. */
const start = (program: string | undefined, args: ReadonlyArray<string> = [], modules: ReadonlyArray<string> = []) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(new URL("../node_modules/.readme-", import.meta.url).pathname)
      const file = join(folder, "program.mjs")
      writeFileSync(file, program!)
      modules.forEach((module, index) => writeFileSync(join(folder, `${index}.mjs`), module))
      const child = spawn(process.execPath, [file, ...args], { stdio: ["ignore", "pipe", "inherit"] })
      const exited = new Promise<number | null>((resolve) => child.once("exit", resolve))
      let output = ""
      child.stdout.setEncoding("utf8")
      const printed = (pattern: RegExp) =>
        Effect.async<string>((resume) => {
          const look = () => {
            const found = pattern.exec(output)
            if (found !== null) {
              child.stdout.off("data", look)
              resume(Effect.succeed(found[0]))
            }
          }
          child.stdout.on("data", look)
          look()
        })
      child.stdout.on("data", (text: string) => {
        output += text
      })
      return { child, folder, exited: Effect.promise(() => exited), printed }
    }),
    ({ child, folder }) =>
      Effect.sync(() => {
        child.kill("SIGKILL")
        rmSync(folder, { recursive: true })
      })
  )

describe("README and docs/library.md", () => {
  it("have two programs and three", () => {
    assert.isDefined(nodeProgram)
    assert.isDefined(operatedProgram)
    assert.deepStrictEqual([...othersOfReadme, ...othersOfLibrary], [])
  })

  it("README has at most 1,300 words", () => {
    assert.isAtMost(read("README.md").trim().split(/\s+/).length, 1300)
  })

  it.scopedLive("its relay relays between its nodes, and ends when told to", () =>
    Effect.gen(function*() {
      const relay = yield* start(relayProgram)
      const address = yield* relay.printed(/tx3-rst:\/\/127\.0\.0\.1:\d+\/[\w-]{43}/)
      const node = yield* start(nodeProgram, [address])
      yield* node.printed(/answered hello/)
      assert.strictEqual(yield* node.exited, 0)
      const promise = yield* start(promiseProgram, [address])
      yield* promise.printed(/[\w-]{43} said hello/)
      assert.strictEqual(yield* promise.exited, 0)
      relay.child.kill("SIGTERM")
      assert.strictEqual(yield* relay.exited, 0)
    }))

  it.scopedLive("its relay without Effect starts and ends", () =>
    Effect.gen(function*() {
      const relay = yield* start(runtimeProgram)
      yield* relay.printed(/tx3-rst:\/\/127\.0\.0\.1:\d+\/[\w-]{43}/)
      assert.strictEqual(yield* relay.exited, 0)
    }))

  it.scopedLive("its relay with an operator's layers has a page, and ends when told to", () =>
    Effect.gen(function*() {
      const relay = yield* start(operatedProgram)
      yield* relay.printed(/tx3-rst:\/\/127\.0\.0\.1:\d+\/[\w-]{43}/)
      const admin = yield* relay.printed(/http:\/\/127\.0\.0\.1:[1-9]\d*/)
      const page = yield* Effect.promise(() => fetch(admin))
      assert.include(yield* Effect.promise(() => page.text()), "<!doctype html>")
      relay.child.kill("SIGTERM")
      assert.strictEqual(yield* relay.exited, 0)
    }))
})

describe("the packages' READMEs", () => {
  const isPublished = (name: string) =>
    existsSync(new URL(`../packages/${name}/package.json`, import.meta.url)) &&
    (JSON.parse(read(`packages/${name}/package.json`)) as { private?: boolean }).private !== true
  const packages = readdirSync(new URL("../packages", import.meta.url)).filter(isPublished)

  it("are 15 to 40 lines long, and show how to install and use it", () => {
    assert.isAbove(packages.length, 10)
    for (const name of packages) {
      const page = read(`packages/${name}/README.md`)
      const lines = page.trim().split("\n").length
      assert.isTrue(lines >= 15 && lines <= 40, `${name}: ${lines} lines`)
      assert.include(page, `npm install ${name.startsWith("tx3") ? `--global ${name}` : `@tx3/${name}`}`)
    }
  })

  it.scopedLive("have programs that run and end", () =>
    Effect.gen(function*() {
      const programs = packages.flatMap((name) => programsOf(`packages/${name}/README.md`))
      assert.strictEqual(programs.length, packages.length - 2)
      const child = yield* start(
        programs.map((_, index) => `await import("./${index}.mjs")`).join("\n"),
        [],
        programs
      )
      assert.strictEqual(yield* child.exited, 0)
    }))
})

describe("docs/configuration.md", () => {
  it("lists every setting with its default", () => {
    const words = "never|auto|full|unlimited|as bound|off|none|open"
    const rows = read("docs/configuration.md").matchAll(
      new RegExp(`^\\| \`(\\w+)\` \\| ?([\\d.]*|\\./[\\w.-]+|${words}) \\|`, "gm")
    )
    const told = Array.from(rows, ([, key, value]) => [key, value])
    const settings = Either.getOrThrow(
      OperatorConfig.decode([{ place: (key) => key, values: { bind: ["tx3-rst://127.0.0.1:0"] } }])
    )
    const defaults: Record<string, unknown> = {
      ...settings,
      bind: "",
      maxSocketsPerIp: "unlimited",
      idleTimeoutMs: "never",
      advertise: "as bound",
      proxyProtocolFrom: "none",
      admin: "off",
      adminToken: "none",
      metrics: "none",
      otlp: "none",
      access: "open",
      cluster: "none",
      bandwidthPerSplice: "unlimited",
      bandwidthPerNode: "unlimited",
      bandwidthPerIp: "unlimited",
      bandwidthTotal: "unlimited",
      monthlyBytesSoft: "unlimited",
      monthlyBytesHard: "unlimited"
    }
    assert.deepStrictEqual(
      told,
      Object.keys(OperatorConfig.Settings.fields).map((key) => [key, String(defaults[key])])
    )
  })
})
