import * as Command from "@effect/cli/Command"
import { assert, describe, it } from "@effect/vitest"
import { RelayCommand } from "@tx3/cli"
import { OperatorConfig } from "@tx3/operate"
import { Either, HashMap } from "effect"
import { dirname, join, normalize } from "node:path"
import * as Yaml from "yaml"
import * as packaging from "./utils/packaging.js"

const file = "docs/operating.md"
const guide = packaging.read(file)

/** The blocks of a language. */
const blocks = (language: string) =>
  Array.from(guide.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms")), ([, text]) => text!)

/** As GitHub makes them of headings. */
const anchorsOf = (text: string) =>
  Array.from(
    text.matchAll(/^#+ (.*)$/gm),
    ([, title]) => title!.toLowerCase().replaceAll(/[^\w -]/g, "").replaceAll(" ", "-")
  )

describe("the operator's guide", () => {
  it("calls commands that there are, with flags that there are", () => {
    const commands = Array.from(HashMap.keys(Command.getSubcommands(RelayCommand.command)))
    const text = [...blocks("sh"), ...blocks("ini"), ...guide.match(/`tx3-relay [^`]*`/g)!].join("\n")
    const calls = Array.from(text.matchAll(/tx3-relay (--)?([a-z][\w-]*)(.*)/g))
    assert.isAbove(calls.length, 20)
    const flags = Array.from(
      packaging.read("packaging/man/tx3-relay.1").matchAll(/\\-\\-((?:\w|\\-)+)/g),
      ([, flag]) => flag!.replaceAll("\\-", "-")
    )
    const known = [...flags, "completions", "log-level"]
    for (const [call, isFlag, name, rest] of calls) {
      assert.include(isFlag === undefined ? commands : known, name!, call)
      for (const [, flag] of rest!.matchAll(/(?<= )--(\w[\w-]*)/g)) {
        assert.include(known, flag!, call)
      }
    }
  })

  it("names settings that there are", () => {
    const table = guide.slice(guide.indexOf("| setting | when |"), guide.indexOf("## Sizing"))
    const named = Array.from(table.matchAll(/^\| (`.*?) \|/gm), ([, names]) => names!.replaceAll("`", "").split(", "))
      .flat()
    assert.isAbove(named.length, 8)
    assert.deepStrictEqual(named.filter((name) => !(name in OperatorConfig.Settings.fields)), [])
  })

  it("shows files that a relay takes", () => {
    const parts = blocks("yaml").map((text) => Yaml.parse(text))
    assert.strictEqual(parts.length, 2)
    const values = Object.assign({ bind: ["tx3-rst://127.0.0.1:0"] }, ...parts)
    const settings = Either.getOrThrow(OperatorConfig.decode([{ place: (key) => key, values }]))
    assert.isDefined(settings.access.peersOf)
    assert.isDefined(settings.proxyProtocolFrom)
  })

  it("links to files and headings that there are", () => {
    const links = Array.from(guide.matchAll(/\]\(([^)]+)\)/g), ([, link]) => link!)
    assert.isAbove(links.length, 10)
    for (const link of links) {
      const [path, anchor] = link.split("#")
      const target = path === "" ? file : normalize(join(dirname(file), path!))
      assert.isTrue(packaging.exists(target), link)
      if (anchor !== undefined) {
        assert.include(anchorsOf(packaging.read(target)), anchor, link)
      }
    }
  })

  it("calculates descriptors as the relay does", () => {
    const [, left, limit] = /^(\d+) +=\s*(\d+) - 64 - 2048 +- 3$/m.exec(guide)!
    assert.strictEqual(Number(left), Number(limit) - 64 - 2 * Math.min(1024, Number(limit) / 32) - 3)
    assert.include(packaging.read("packaging/systemd/tx3-relay.service"), `\nLimitNOFILE=${limit}\n`)
  })
})
