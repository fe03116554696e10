// `npm run check`: all checks, two rows of them at the same time. Fails if one of them does.
import { spawn } from "node:child_process"
import process from "node:process"

const npm = process.env.npm_execpath

const run = (check) =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [npm, "run", `check:${check}`], { stdio: "inherit" })
    child.on("exit", (code) => resolve(code === 0))
  })

/** Runs checks one after the other, until one fails. */
const row = async (...checks) => {
  for (const check of checks) {
    if (!await run(check)) {
      return false
    }
  }
  return true
}

const passed = await Promise.all([
  row("types"),
  row("lint", "docs", "examples", "cycles", "bundle", "publish", "workflows", "changeset")
])
process.exitCode = passed.every(Boolean) ? 0 : 1
