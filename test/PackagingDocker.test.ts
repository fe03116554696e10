import { assert, describe, it } from "@effect/vitest"
import * as packaging from "@tx3/testing/packaging"
import type { Copy, Instruction } from "dockerfile-ast"
import { DockerfileParser } from "dockerfile-ast"
import { validate, ValidationSeverity } from "dockerfile-utils"

const text = packaging.read("packaging/docker/Dockerfile")
const file = DockerfileParser.parse(text)
const stages = file.getFROMs()
const finalLine = stages.at(-1)!.getRange().start.line
const inFinal = (instruction: Instruction) => instruction.getRange().start.line > finalLine

/** The one instruction of this kind that the image itself has. */
const only = <A extends Instruction>(instructions: ReadonlyArray<A>): A => {
  const [instruction, ...others] = instructions.filter(inFinal)
  assert.deepStrictEqual(others, [])
  return instruction!
}
const named = (keyword: string) => only(file.getInstructions().filter((_) => _.getKeyword() === keyword))

/** The words of an instruction in exec form; one for a shell is no JSON. */
const words = (instruction: Instruction): ReadonlyArray<string> =>
  JSON.parse(/\[.*\]$/s.exec(instruction.getArgumentsContent()!)![0])

const program = "/app/packages/tx3-relay/bin/tx3-relay.js"
const copies = file.getCOPYs().filter(inFinal) as ReadonlyArray<Copy>
const pathsOf = (copy: Copy) => copy.getArguments().map((argument) => argument.getValue())

describe("the Dockerfile", () => {
  it("has nothing that its linter has to say something about", () => {
    const problems = validate(text, {
      deprecatedMaintainer: ValidationSeverity.ERROR,
      directiveCasing: ValidationSeverity.ERROR,
      emptyContinuationLine: ValidationSeverity.ERROR,
      instructionCasing: ValidationSeverity.ERROR,
      instructionCmdMultiple: ValidationSeverity.ERROR,
      instructionEntrypointMultiple: ValidationSeverity.ERROR,
      instructionHealthcheckMultiple: ValidationSeverity.ERROR,
      instructionJSONInSingleQuotes: ValidationSeverity.ERROR,
      instructionWorkdirRelative: ValidationSeverity.ERROR
    })
    assert.deepStrictEqual(problems.map(({ message, range }) => `${range.start.line + 1}: ${message}`), [])
  })

  it("takes images of one tag and of one version of Node", () => {
    const tags = stages.map((stage) => stage.getImageTag())
    assert.isAbove(tags.length, 1)
    assert.notInclude(tags, null)
    assert.notInclude(tags, "latest")
    const versions = stages.map((stage) => /node(?:js|:)(\d+)/.exec(stage.getImage()!)![1])
    assert.deepStrictEqual(new Set(versions).size, 1)
  })

  it("adds nothing from elsewhere", () => {
    assert.deepStrictEqual(file.getInstructions().filter((_) => _.getKeyword() === "ADD"), [])
  })

  it("runs the relay as a user that is not root, without a shell", () => {
    assert.deepStrictEqual(file.getInstructions().filter((_) => inFinal(_) && /RUN|SHELL|CMD/.test(_.getKeyword())), [])
    assert.match(named("USER").getArgumentsContent()!, /^[1-9]\d*:[1-9]\d*$/)
    assert.deepStrictEqual(words(only(file.getENTRYPOINTs())), ["/nodejs/bin/node", program])
    assert.deepStrictEqual(words(only(file.getHEALTHCHECKs())).slice(0, 3), ["/nodejs/bin/node", program, "probe"])
    assert.strictEqual(named("STOPSIGNAL").getArgumentsContent(), "SIGTERM")
  })

  it("copies what there is, and the program to where it is run", () => {
    const copied = copies.flatMap((copy) => pathsOf(copy).slice(0, -1))
      .filter((path) => path.startsWith("/src/"))
      .map((path) => path.slice("/src/".length))
    assert.deepStrictEqual(copied.filter((path) => path !== "node_modules" && !packaging.exists(path)), [])
    assert.deepStrictEqual(
      copies.map(pathsOf).filter(([from, to]) => from === "/src/packages" && to === "/app/packages").length,
      1
    )
    assert.isTrue(packaging.exists(program.replace("/app/", "")))
  })

  it("is built from what the repository is built from, and from no secret", () => {
    const [first, ...patterns] = packaging.read(".dockerignore").split("\n").filter((line) => /^[^#]/.test(line))
    assert.strictEqual(first, "*")
    const sent = patterns.filter((pattern) => pattern.startsWith("!")).map((pattern) => pattern.slice(1))
    assert.deepStrictEqual(sent, [
      "LICENSE",
      "package.json",
      "package-lock.json",
      "tsconfig*.json",
      "packages",
      "examples"
    ])
    assert.includeMembers(patterns.slice(sent.length), ["**/*.pem", "**/*.yml", "**/node_modules", "**/dist"])
  })
})
