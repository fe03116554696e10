// `npm run fuzz -- [--seconds 60] [--seed N] [--transport all|kernel|kernel2|portable]`: packages/relay/test/Fuzz.test.ts
// for longer, or again. kernel2 is the kernel transport with two threads.
import { spawnSync } from "node:child_process"
import { parseArgs } from "node:util"

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string" },
    transport: { type: "string", default: "all" }
  }
})
const projects = { all: ["kernel", "portable"], kernel: ["kernel"], kernel2: ["kernel"], portable: ["portable"] }
const chosen = projects[values.transport]
if (chosen === undefined || !(Number(values.seconds) > 0) || values.seed !== undefined && !/^\d+$/.test(values.seed)) {
  console.error("usage: npm run fuzz -- [--seconds N] [--seed N] [--transport all|kernel|kernel2|portable]")
  process.exit(2)
}
const env = {
  ...process.env,
  TX3_FUZZ_SECONDS: values.seconds,
  TX3_FUZZ_TRANSPORT: values.transport,
  ...values.seed === undefined ? {} : { TX3_FUZZ_SEED: values.seed }
}
const args = ["vitest", "run", "--config", "vitest.workspace.ts", "packages/relay/test/Fuzz.test.ts"]
process.exitCode = spawnSync("npx", [...args, ...chosen.flatMap((name) => ["--project", `relay, ${name}`])], {
  env,
  stdio: "inherit"
}).status ?? 1
