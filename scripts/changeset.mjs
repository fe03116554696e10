// Fails if a package's source has changed since the base branch and no changeset says so. The base branch is that of the
// pull request (GITHUB_BASE_REF), or TX3_BASE; without either there is nothing to compare with. Uses git alone.
import { spawnSync } from "node:child_process"

const { GITHUB_BASE_REF, TX3_BASE } = process.env
const base = TX3_BASE || (GITHUB_BASE_REF && `origin/${GITHUB_BASE_REF}`)

if (base) {
  const { status } = spawnSync("npx", ["--no-install", "changeset", "status", `--since=${base}`], { stdio: "inherit" })
  process.exit(status ?? 1)
}
console.log("changesets: no base branch (TX3_BASE) to compare with")
