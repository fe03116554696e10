import { assert, describe, it } from "@effect/vitest"
import * as packaging from "@tx3/testing/packaging"
import { Effect } from "effect"
import { Tx3Command } from "tx3"
import { RelayCommand } from "tx3-relay"
import { withSeparateValues } from "../src/Repeatable.js"

describe("withSeparateValues", () => {
  it("knows every repeatable flag of both programs", () => {
    // Their modules have said so by now.
    assert.isDefined(RelayCommand.command)
    assert.isDefined(Tx3Command.command)
    const repeated = ["tx3.1", "tx3-relay.1"].flatMap((page) =>
      packaging.read(`packaging/man/${page}`).replaceAll("\\-", "-").split(".TP\n")
        .filter((entry) => /may\sbe\srepeated/.test(entry))
        .map((entry) => /--[\w-]+/.exec(entry)![0])
    )
    assert.isAtLeast(new Set(repeated).size, 3, "the man pages tell of --via, --allow and --bind")
    for (const flag of repeated) {
      assert.deepStrictEqual(Effect.runSync(withSeparateValues([`${flag}=a=b`])), [flag, "a=b"])
    }
  })

  it("separates values, and leaves all else as it is", () => {
    assert.deepStrictEqual(
      Effect.runSync(withSeparateValues([
        "node",
        "tx3",
        "expose",
        "--via=tx3-rst://192.0.2.1:1/x",
        "--allow",
        "a=b",
        "--identity=me.pem",
        "--json",
        "--",
        "--via=x"
      ])),
      [
        "node",
        "tx3",
        "expose",
        "--via",
        "tx3-rst://192.0.2.1:1/x",
        "--allow",
        "a=b",
        "--identity=me.pem",
        "--json",
        "--",
        "--via=x"
      ]
    )
  })

  for (const argv of [["--allow="], ["--allow", ""], ["--allow", " "], ["--allow"]]) {
    it(`refuses ${JSON.stringify(argv)}, which would allow everybody`, () => {
      const { message } = Effect.runSync(Effect.flip(withSeparateValues(argv)))
      assert.strictEqual(message, "--allow needs a value")
    })
  }
})
