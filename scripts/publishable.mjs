// `npm run check:publish`: whether npm would publish each package as it is. Nothing is sent, and the registry is not asked: with
// --force, npm does not look for a version that is there already.
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath, URL } from "node:url"

const root = fileURLToPath(new URL("../", import.meta.url))
const published = readdirSync(new URL("../packages", import.meta.url), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => JSON.parse(readFileSync(new URL(`../packages/${name}/package.json`, import.meta.url), "utf8")))
  .filter((manifest) => manifest.private !== true)

const complaints = published
  .filter(({ publishConfig }) => publishConfig?.access !== "public" || publishConfig?.provenance !== true)
  .map(({ name }) => `${name}: publishConfig needs "access": "public" and "provenance": true`)

const args = ["publish", "--dry-run", "--force", "--ignore-scripts", "--workspaces"]
const { status, stderr, stdout } = spawnSync(process.execPath, [process.env.npm_execpath, ...args], {
  cwd: root,
  encoding: "utf8"
})
if (status !== 0) {
  complaints.push(`npm publish ended with ${status}:\n${stderr}`)
}
const lines = stdout.split("\n")
for (const { name, version } of published) {
  if (!lines.includes(`+ ${name}@${version}`)) {
    complaints.push(`npm would not publish ${name}@${version}`)
  }
}
if (/auto-corrected/.test(stderr)) {
  complaints.push(`npm would change a manifest:\n${/auto-corrected[^]*?(?=npm notice)/.exec(stderr)?.[0] ?? stderr}`)
}

if (complaints.length === 0) {
  console.log(`npm would publish ${published.length} packages`)
} else {
  console.error(complaints.join("\n"))
  process.exitCode = 1
}
