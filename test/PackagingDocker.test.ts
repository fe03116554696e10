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

const program = "/usr/bin/tx3-relay"
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

  it("takes images of one tag and of one version of Debian", () => {
    const tags = stages.map((stage) => stage.getImageTag())
    assert.isAbove(tags.length, 1)
    assert.notInclude(tags, null)
    assert.notInclude(tags, "latest")
    assert.deepStrictEqual(stages.map((stage) => /bookworm|debian12/.exec(stage.getImage()!)?.[0]), [
      "bookworm",
      "debian12"
    ])
  })

  it("adds nothing from elsewhere", () => {
    assert.deepStrictEqual(file.getInstructions().filter((_) => _.getKeyword() === "ADD"), [])
  })

  it("runs the relay as a user that is not root, without a shell", () => {
    assert.deepStrictEqual(file.getInstructions().filter((_) => inFinal(_) && /RUN|SHELL|CMD/.test(_.getKeyword())), [])
    assert.match(named("USER").getArgumentsContent()!, /^[1-9]\d*:[1-9]\d*$/)
    assert.deepStrictEqual(words(only(file.getENTRYPOINTs())), [program])
    assert.deepStrictEqual(words(only(file.getHEALTHCHECKs())).slice(0, 2), [program, "probe"])
    assert.strictEqual(named("STOPSIGNAL").getArgumentsContent(), "SIGTERM")
  })

  it("copies what the Debian package has, and each file to where it is there", () => {
    const fromPackage = copies.map(pathsOf).filter(([from]) => from!.startsWith("/image/"))
    fromPackage.forEach(([from, to]) => assert.strictEqual(from, `/image${to}`))
    assert.includeMembers(fromPackage.map(([, to]) => to), [program, "/usr/lib/tx3-relay/koffi.node"])
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
      "CHANGELOG.md",
      "packages",
      "packaging",
      "scripts",
      "bench",
      "examples",
      "packaging/debian/relay.yml"
    ])
    assert.includeMembers(patterns.filter((pattern) => !pattern.startsWith("!")), [
      "**/*.pem",
      "**/*.yml",
      "**/node_modules",
      "**/dist"
    ])
  })
})
