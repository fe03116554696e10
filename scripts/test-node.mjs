// `npm run test:node -- 24 [vitest arguments]` runs `npm test` on another version of Node, fetched from npm.
import { spawnSync } from "node:child_process"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"

const [version, ...args] = process.argv.slice(2)
if (version === undefined) {
  console.error("usage: npm run test:node -- VERSION [vitest arguments], e.g. 24, 22.12.0 or latest")
  process.exit(2)
}

// The package `node` fetches one of these in an install script; taken directly, they need none.
const name = `${process.platform === "darwin" ? "node-bin" : "node"}-${process.platform}-${process.arch}`
const folder = mkdtempSync(join(tmpdir(), "tx3-node-"))
// A test runs a program as another user.
chmodSync(folder, 0o755)
const bin = join(folder, "node_modules", name, "bin")
const path = `${bin}${delimiter}${process.env.PATH}`

const run = (command, args, env) => spawnSync(command, args, { stdio: "inherit", env }).status ?? 1

try {
  process.exitCode = run("npm", ["install", "--prefix", folder, "--ignore-scripts", `${name}@${version}`], process.env)
  if (process.exitCode === 0) {
    console.log(`Node ${spawnSync(join(bin, "node"), ["--version"], { encoding: "utf8" }).stdout.trim()}`)
    process.exitCode = run("npm", ["test", "--", ...args], { ...process.env, PATH: path })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
