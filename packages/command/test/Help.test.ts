import { Command } from "@effect/cli"
import { assert, describe, it } from "@effect/vitest"
import { Help } from "@tx3/command"
import { HashMap } from "effect"
import { stripVTControlCharacters } from "node:util"
import { Tx3Command } from "tx3"
import { RelayCommand } from "tx3-relay"

const helps = [
  Help.of(Tx3Command.command.descriptor, "tx3"),
  Help.of(RelayCommand.command.descriptor, "tx3-relay"),
  ...HashMap.toEntries(Command.getSubcommands(Tx3Command.command)).map(([name, command]) =>
    Help.of(command, `tx3 ${name}`)
  ),
  ...HashMap.toEntries(Command.getSubcommands(RelayCommand.command)).map(([name, command]) =>
    Help.of(command, `tx3-relay ${name}`)
  )
]

const textOf = (help: Help.Help) => stripVTControlCharacters(Help.render(help))

describe("the help of every command", () => {
  for (const help of helps) {
    it(`describes ${help.usage} and all that it takes`, () => {
      const text = textOf(help)
      assert.isNotEmpty(help.paragraphs[0])
      for (const { term, text } of [...help.arguments, ...help.options, ...help.commands, ...help.examples]) {
        assert.match(text, /^[A-Z].*\S$/, term)
      }
      assert.notMatch(text, /user-defined|This (setting|option|argument)|true or false|environment variables/)
      assert.deepStrictEqual(text.split("\n").filter((line) => line.length > 80 && !/^ {2}(tx3|ssh)/.test(line)), [])
    })
  }

  it("says once what an argument is, and what may be left out", () => {
    const connect = helps.find(({ usage }) => usage.startsWith("tx3 connect"))!
    assert.strictEqual(connect.usage, "tx3 connect ADDRESS... [OPTIONS]")
    assert.deepStrictEqual(connect.arguments.map(({ term }) => term), ["ADDRESS..."])
    const forward = helps.find(({ usage }) => usage.startsWith("tx3 forward"))!
    assert.strictEqual(forward.usage, "tx3 forward ADDRESS... --listen ENDPOINT [OPTIONS]")
  })

  it("shows options in a column, and the text behind them in lines of 80", () => {
    const ping = textOf(helps.find(({ usage }) => usage.startsWith("tx3 ping"))!)
    assert.include(ping, "  -c, --count N           How many round trips to make; 10 without it\n")
    assert.include(ping, "\n      --interval MS       How many milliseconds to wait between two; 200 without\n")
    assert.include(ping, "\n                          it, 0 for no wait\n")
  })
})
