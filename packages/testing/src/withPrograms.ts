/** How a test file says which programs some of its tests run. */
import { describe } from "vitest"
import { type Command, find, installCommand, prefix } from "./Programs.js"

/**
 * Defines tests that run these programs. Where one is missing the tests are skipped, and the run ends with a list of them
 * (`missingPrograms.ts`). Under `TX3_TEST_PROGRAMS=required`, as in `.ci/run`, a missing program fails the file.
 */
export const withPrograms = (commands: ReadonlyArray<Command>, define: () => void): void => {
  const missing = commands.filter((command) => find(command) === undefined)
  if (missing.length === 0) {
    define()
  } else if (process.env["TX3_TEST_PROGRAMS"] === "required") {
    throw new Error(`${missing.join(", ")}: not installed; ${installCommand(missing)}`)
  } else {
    describe.skip(`${prefix}${missing.join(", ")}`, define)
  }
}
