// `npm run cluster:test`: what a cluster must survive and what takes too long for `npm test`. The tests print what they measure.
import { spawnSync } from "node:child_process"

const files = ["packages/cluster/test/Faults.slow.ts", "packages/tx3-relay/test/RollingRestartProgram.test.ts"]
const args = ["vitest", "run", "--config", "vitest.workspace.ts", "--project", "packages"]
process.exitCode = spawnSync("npx", [...args, ...files, ...process.argv.slice(2)], {
  env: { ...process.env, TX3_TEST_BALANCE: "source", TX3_TEST_SLOW: "1" },
  stdio: "inherit"
}).status ?? 1
