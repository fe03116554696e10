import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either } from "effect"
import { BenchCommand } from "../src/index.js"

/** All that the command says before it fails. */
const failing = (...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const said: Array<string> = []
    const say = (...texts: ReadonlyArray<unknown>) => said.push(...texts.map(String))
    const error = yield* Effect.consoleWith((console) =>
      Effect.withConsole(Effect.flip(BenchCommand.cli(["node", "bench", ...args])), {
        ...console,
        error: (...texts) => Effect.sync(() => say(...texts)),
        log: (...texts) => Effect.sync(() => say(...texts))
      })
    )
    return [...said, "message" in error ? error.message : ""].join("\n")
  }).pipe(Effect.provide(NodeContext.layer))

describe("bench", () => {
  it("takes another relay as its name and its command", () => {
    assert.deepStrictEqual(
      BenchCommand.parseRelay("original=/opt/tx3-relay --config {config}"),
      Either.right({ name: "original", command: "/opt/tx3-relay --config {config}" })
    )
    assert.deepStrictEqual(
      BenchCommand.parseRelay("a=env B=c sh -c 'run {config}'"),
      Either.right({ name: "a", command: "env B=c sh -c 'run {config}'" })
    )
  })

  it("refuses a relay without a name, a command or a place for its file", () => {
    for (const text of ["", "name", "name=", "=run {config}", "name=run", "a b=run {config}"]) {
      assert.isTrue(Either.isLeft(BenchCommand.parseRelay(text)), text)
    }
  })

  it.effect("says what is wrong with a flag", () =>
    Effect.gen(function*() {
      assert.include(
        yield* failing("--figures", "a,x"),
        "--figures must be letters of a, b, c, d, e, f, g, h, i, j with commas"
      )
      assert.include(yield* failing("--rounds", "0"), "--rounds must be a number from 1 to 100")
      assert.include(yield* failing("--seconds", "0"), "--seconds must be a number from 0.1 to 60")
      assert.include(yield* failing("--relay", "other=run"), "--relay other=run: must be NAME='COMMAND {config}'")
      assert.include(yield* failing("--relay", "floor=run {config}"), "there is a subject of this name already")
      assert.match(
        yield* failing("--subjects", "nobody"),
        /--subjects nobody: there is none; there are kernel, portable/
      )
    }))
})
