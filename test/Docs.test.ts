import * as Command from "@effect/cli/Command"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { UpFile } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import * as packaging from "@tx3/testing/packaging"
import { sharedLayer } from "@tx3/testing/sharedLayer"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, HashMap } from "effect"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { Tx3Command } from "tx3"
import * as browser from "../packages/operate/test/utils/browser.js"

const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "CHANGELOG.md",
  ".changeset/README.md",
  ...readdirSync(packaging.pathOf("packages")).map((name) => `packages/${name}/README.md`).filter(packaging.exists),
  "bench/results/README.md",
  ...readdirSync(packaging.pathOf("docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`),
  ...readdirSync(packaging.pathOf("examples"), { encoding: "utf8", recursive: true })
    .filter((name) => name.endsWith(".md") && !name.includes("node_modules")).map((name) => `examples/${name}`)
]

/** As GitHub makes them of headings. */
const anchorsOf = (text: string) =>
  Array.from(
    text.replaceAll(/^```.*?^```/gms, "").matchAll(/^#+ (.*)$/gm),
    ([, title]) => title!.toLowerCase().replaceAll(/[^\w -]/g, "").replaceAll(" ", "-")
  )

describe("the pages", () => {
  it("are all here", () => {
    assert.includeMembers(
      pages,
      [
        "reaching",
        "operating",
        "protocol",
        "code",
        "security",
        "comparison",
        "performance",
        "configuration",
        "library",
        "limits"
      ].map((name) => `docs/${name}.md`)
    )
  })

  for (const page of pages) {
    it(`${page} links to files and headings that there are`, () => {
      const text = packaging.read(page)
      const links = Array.from(text.matchAll(/\]\(([^)]+)\)/g), ([, link]) => link!)
        .filter((link) => !link.startsWith("https://"))
      for (const link of links) {
        const [path, anchor] = link.split("#")
        const target = path === "" ? page : normalize(join(dirname(page), path!))
        assert.isTrue(packaging.exists(target), link)
        if (anchor !== undefined) {
          assert.include(anchorsOf(packaging.read(target)), anchor, link)
        }
      }
    })
  }
})

describe("docs/protocol.md", () => {
  const headings = Array.from(packaging.read("docs/protocol.md").matchAll(/^## (.*)$/gm), ([, title]) => title!)

  it("numbers its sections", () => {
    assert.deepStrictEqual(headings.map((title) => parseInt(title)), headings.map((_, index) => index + 1))
  })

  it("has the sections that comments cite", () => {
    const sources = readdirSync(packaging.pathOf("packages"), { encoding: "utf8", recursive: true })
      .filter((path) => /^[\w-]+\/(src|test)\/.*\.ts$/.test(path))
    const cited = sources.flatMap((path) => {
      const text = packaging.read(`packages/${path}`).replaceAll(/\n\s*(\*|\/\/)/g, "")
      return Array.from(text.matchAll(/protocol,? sections? (\d+)(?: and (\d+))?/g), ([, ...numbers]) => numbers)
        .flat().filter((number) => number !== undefined).map(Number)
    })
    assert.isAbove(cited.length, 25)
    assert.deepStrictEqual(cited.filter((number) => number > headings.length), [])
    assert.deepStrictEqual(headings.slice(1, 7), [
      "2. Addresses",
      "3. Identity and TLS",
      "4. The relay's wire protocol",
      "5. Deadlines and limits",
      "6. What differs from tx3 0.0.1",
      "7. The relay's program and file"
    ])
  })
})

describe("the user's guide", () => {
  const guide = packaging.read("docs/reaching.md")

  it("calls commands that there are, with flags that there are", () => {
    const commands = Array.from(HashMap.keys(Command.getSubcommands(Tx3Command.command)))
    const flags = packaging.flagsOf("tx3")
    const text = [
      ...packaging.blocks(guide, "sh"),
      ...packaging.blocks(guide, "text"),
      ...guide.match(/`(?:tx3 [a-z]|-)[^`]*`/g)!
    ].join("\n")
    const calls = Array.from(text.matchAll(/(?<![\w/.-])tx3 ([a-z][\w-]*)/g), ([, name]) => name!)
    assert.isAbove(calls.length, 10)
    assert.deepStrictEqual(calls.filter((name) => !commands.includes(name)), [])
    const others = ["user", "now", "user-unit"]
    const named = Array.from(text.matchAll(/(?<= |`)--([a-z][\w-]*)/g), ([, flag]) => flag!)
    assert.isAbove(named.length, 15)
    assert.deepStrictEqual(named.filter((flag) => !flags.includes(flag) && !others.includes(flag)), [])
  })

  it.scoped("shows a file that tx3 up takes", () =>
    Effect.gen(function*() {
      const [text, ...others] = packaging.blocks(guide, "yaml")
      assert.deepStrictEqual(others, [])
      const file = join(yield* programs.temporaryFolder, "tx3.yml")
      writeFileSync(file, text!)
      const { expose, forward } = yield* UpFile.read(file)
      assert.deepStrictEqual([...expose, ...forward].map(({ name }) => name), ["ssh", "web", "work"])
    }).pipe(Effect.provide(NodeContext.layer)))

  it("tells every setting of that file", () => {
    const table = guide.slice(guide.indexOf("| key | |"), guide.indexOf("Each service that is exposed"))
    const { expose, forward, ...top } = UpFile.UpFile.fields
    for (const name of Object.keys({ ...top, ...UpFile.Exposed.fields, ...UpFile.Forwarded.fields })) {
      assert.include(table, `\`${name}\``)
    }
    assert.isDefined(expose)
    assert.isDefined(forward)
  })
})

withPrograms(["chromium-headless-shell"], () => {
  describe("the diagrams", () => {
    const inBrowser = sharedLayer(browser.layer)

    inBrowser("are some that mermaid draws, as GitHub does", () =>
      Effect.gen(function*() {
        const page = yield* Effect.flatMap(browser.Browser, ({ open }) => Effect.promise(() => open()))
        const mermaid = readFileSync(packaging.pathOf("node_modules/mermaid/dist/mermaid.min.js"), "utf8")
        yield* Effect.promise(() => page.addScriptTag({ content: mermaid }))
        const diagrams = pages.flatMap((name) =>
          packaging.blocks(packaging.read(name), "mermaid").map((text) => ({ name, text }))
        )
        assert.isAbove(diagrams.length, 4)
        for (const [index, { name, text }] of diagrams.entries()) {
          const drawn = yield* Effect.promise(() =>
            page.evaluate(
              `mermaid.render("diagram${index}", ${
                JSON.stringify(text)
              }).then(({ svg }) => svg, (error) => String(error))`
            )
          )
          assert.match(String(drawn), /^<svg/, name)
        }
        yield* Effect.promise(() => page.context().close())
      }))
  })
})
