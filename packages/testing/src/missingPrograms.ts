/** A reporter of vitest's that ends a run with the programs that are missing, and how many tests that skipped. */
import type { Reporter, TestCase, TestModule, TestSuite } from "vitest/node"
import { type Command, installCommand, missingIn } from "./Programs.js"

const suitesOf = (test: TestCase): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (let parent: TestModule | TestSuite = test.parent; parent.type === "suite"; parent = parent.parent) {
    names.push(parent.name)
  }
  return names
}

export default class MissingPrograms implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>) {
    const skipped = new Map<Command, number>()
    let tests = 0
    for (const module of modules) {
      // Not only those that Vitest calls skipped: it calls a test pending whose suite is skipped within one that is.
      for (const test of module.children.allTests()) {
        const missing = suitesOf(test).flatMap(missingIn)
        tests += missing.length > 0 ? 1 : 0
        missing.forEach((command) => skipped.set(command, (skipped.get(command) ?? 0) + 1))
      }
    }
    if (tests > 0) {
      const list = Array.from(
        skipped,
        ([command, tests]) => `  ${command} (${tests} ${tests === 1 ? "test" : "tests"})`
      )
      process.stdout.write(
        `\n${tests} ${tests === 1 ? "test was" : "tests were"} skipped because these programs are not installed:\n` +
          `${list.sort().join("\n")}\nInstall them on Debian: ${installCommand(Array.from(skipped.keys()))}\n\n`
      )
    }
  }
}
