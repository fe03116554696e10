import * as Command from "@effect/cli/Command"
import { assert, describe, it } from "@effect/vitest"
import { OperatorConfig } from "@tx3/policy"
import * as packaging from "@tx3/testing/packaging"
import { Either, HashMap } from "effect"
import { RelayCommand } from "tx3-relay"
import * as Yaml from "yaml"

const guide = packaging.read("docs/operating.md")

const blocks = (language: string) => packaging.blocks(guide, language)

describe("the operator's guide", () => {
  it("calls commands that there are, with flags that there are", () => {
    const commands = Array.from(HashMap.keys(Command.getSubcommands(RelayCommand.command)))
    const text = [...blocks("sh"), ...blocks("ini"), ...guide.match(/`tx3-relay [^`]*`/g)!].join("\n")
    const calls = Array.from(text.matchAll(/tx3-relay (--)?([a-z][\w-]*)(.*)/g))
    assert.isAbove(calls.length, 20)
    const known = packaging.flagsOf("tx3-relay")
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

  it("calculates descriptors as the relay does", () => {
    const [, left, limit] = /^(\d+) +=\s*(\d+) - 64 - 2048 +- 3$/m.exec(guide)!
    assert.strictEqual(Number(left), Number(limit) - 64 - 2 * Math.min(1024, Number(limit) / 32) - 3)
    assert.include(packaging.read("packaging/systemd/tx3-relay.service"), `\nLimitNOFILE=${limit}\n`)
  })
})
