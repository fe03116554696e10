/** The components of a program's file, as CycloneDX: npm's list, cut to what the bundle has code of, with Node. */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { epoch, nodeVersion, npm, root, version } from "./common.mjs"

/** npm's list of everything in the lock file. */
let all

export const sbomOf = (program, folders) => {
  all ??= JSON.parse(npm(["sbom", "--sbom-format=cyclonedx", "--package-lock-only"], { maxBuffer: 2 ** 26 }))
  const bundled = new Set(
    folders.map((folder) => JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")))
      .map((manifest) => `${manifest.name}@${manifest.version}`)
  )
  const components = all.components.filter(({ "bom-ref": ref }) => bundled.has(ref))
  const missing = Array.from(bundled).filter((name) => !components.some(({ "bom-ref": ref }) => ref === name))
  if (missing.length > 0) {
    throw new Error(`the lock file has no ${missing.join(", ")}`)
  }
  const node = {
    "bom-ref": `node@${nodeVersion}`,
    type: "platform",
    name: "node",
    version: nodeVersion,
    purl: `pkg:generic/node@${nodeVersion}`,
    licenses: [{ license: { id: "MIT" } }]
  }
  const own = `${program}@${version}`
  const sbom = {
    ...all,
    metadata: {
      ...all.metadata,
      timestamp: new Date(epoch * 1000).toISOString(),
      lifecycles: [{ phase: "build" }],
      component: {
        "bom-ref": own,
        type: "application",
        name: program,
        version,
        purl: `pkg:npm/${own}`,
        licenses: [{ license: { id: "Apache-2.0" } }]
      }
    },
    components: [node, ...components],
    dependencies: [
      { ref: own, dependsOn: [node["bom-ref"], ...bundled] },
      ...all.dependencies.filter(({ ref }) => bundled.has(ref)).map(({ dependsOn, ref }) => ({
        ref,
        dependsOn: dependsOn.filter((name) => bundled.has(name))
      }))
    ]
  }
  // npm makes a random one. The same contents have the same.
  const digest = createHash("sha256").update(JSON.stringify({ ...sbom, serialNumber: "" })).digest("hex")
  const serial = [
    digest.slice(0, 8),
    digest.slice(8, 12),
    `8${digest.slice(13, 16)}`,
    `8${digest.slice(17, 20)}`,
    digest.slice(20, 32)
  ]
  return { ...sbom, serialNumber: `urn:uuid:${serial.join("-")}` }
}
