// `npm run package [-- --out FOLDER] [--targets linux-x64,win32-x64]` makes what people install: the programs as one file for
// each system, Debian packages, an SBOM for each program, and SHA256SUMS. Needs llvm-strip and dpkg-deb for Linux.
import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { programs } from "./bundle.mjs"
import { root, sha256, targets, version } from "./package/common.mjs"
import { architectures, makeDebianPackage } from "./package/debian.mjs"
import { makeExecutables } from "./package/executables.mjs"
import { sbomOf } from "./package/sbom.mjs"

const { values } = parseArgs({
  options: {
    out: { type: "string", default: join(root, "dist") },
    targets: { type: "string", default: Object.keys(targets).join(",") }
  }
})
const out = resolve(values.out)
const wanted = values.targets.split(",")
const unknown = wanted.filter((target) => targets[target] === undefined)
if (unknown.length > 0) {
  console.error(`unknown targets: ${unknown.join(", ")}; known are ${Object.keys(targets).join(", ")}`)
  process.exit(2)
}

mkdirSync(out, { recursive: true })
for (const program of programs) {
  const { folders, licences } = await makeExecutables(program, wanted, out)
  writeFileSync(
    join(out, `${program}-${version}.cdx.json`),
    `${JSON.stringify(sbomOf(program, folders), undefined, 2)}\n`
  )
  if (spawnSync("dpkg-deb", ["--version"]).status === 0) {
    for (const target of wanted.filter((name) => architectures[name] !== undefined)) {
      makeDebianPackage({ folder: out, licences, name: program, out, target })
    }
  }
}

const files = readdirSync(out).filter((name) => name !== "SHA256SUMS" && statSync(join(out, name)).isFile()).sort()
writeFileSync(join(out, "SHA256SUMS"), files.map((name) => `${sha256(join(out, name))}  ${name}\n`).join(""))
for (const name of files) {
  console.log(`${(statSync(join(out, name)).size / 1e6).toFixed(1).padStart(7)} MB  ${name}`)
}
