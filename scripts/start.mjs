// `npm start`: builds, makes tx3-relay.yml where there is none, and runs a relay with it. Uses no shell, so it is the same on
// every system.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import process from "node:process"
import { fileURLToPath, URL } from "node:url"

const program = fileURLToPath(new URL("../packages/tx3-relay/bin/tx3-relay.cjs", import.meta.url))

/** Ends this process if Node with these arguments fails. */
const run = (...args) => {
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit" })
  if (status !== 0) {
    process.exit(status ?? 1)
  }
}

run(process.env.npm_execpath, "run", "--silent", "build")
if (!existsSync("tx3-relay.yml")) {
  run(program, "--init")
}
// npm starts this like npx does, through a shell that passes on no signal.
process.env.npm_lifecycle_event = "npx"
// In this process, so that a signal to it is one to the relay.
process.argv = [process.execPath, program, ...process.argv.slice(2)]
await import("../packages/tx3-relay/bin/tx3-relay.cjs")
