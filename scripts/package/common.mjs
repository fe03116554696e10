/** Shared by the scripts that make packages: the repository's facts, and packages of npm, checked by their hash. */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, URL } from "node:url"

export const root = fileURLToPath(new URL("../../", import.meta.url))
export const cache = join(root, "node_modules/.cache/tx3-package")

const json = (path) => JSON.parse(readFileSync(join(root, path), "utf8"))

export const { node: nodeVersion, targets } = json("scripts/package/targets.json")
export const { version } = json("packages/tx3/package.json")

/** Every time in a package is that of the commit, so that a package made again is the same. */
export const epoch = Number(
  process.env.SOURCE_DATE_EPOCH ?? execFileSync("git", ["log", "-1", "--format=%ct"], { cwd: root, encoding: "utf8" })
)

export const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex")

/** npm as it runs this script; on Windows it is no program that can be started without a shell. */
export const npm = (args, options = {}) =>
  process.env.npm_execpath === undefined
    ? execFileSync("npm", args, { cwd: root, encoding: "utf8", ...options })
    : execFileSync(process.execPath, [process.env.npm_execpath, ...args], { cwd: root, encoding: "utf8", ...options })

/** The folder of a package of npm, fetched unless it is there. Nothing of it runs. */
export const fetched = (name, packageVersion, integrity) => {
  const folder = join(cache, `${name.replace("/", "-")}-${packageVersion}`)
  if (!existsSync(folder)) {
    mkdirSync(cache, { recursive: true })
    const temporary = mkdtempSync(join(cache, "fetch-"))
    try {
      npm(["pack", "--silent", "--ignore-scripts", "--pack-destination", temporary, `${name}@${packageVersion}`], {
        cwd: temporary
      })
      const [tarball] = readdirSync(temporary)
      const got = `sha512-${createHash("sha512").update(readFileSync(join(temporary, tarball))).digest("base64")}`
      if (got !== integrity) {
        throw new Error(`${name}@${packageVersion} is another than expected: ${got}, not ${integrity}`)
      }
      execFileSync("tar", ["-xzf", tarball], { cwd: temporary })
      renameSync(join(temporary, "package"), folder)
    } finally {
      rmSync(temporary, { recursive: true, force: true })
    }
  }
  return folder
}

export const nodeOf = (target) => {
  const { integrity, package: name } = targets[target]
  return fetched(name, nodeVersion, integrity)
}

export const nodeFileOf = (target) => join(nodeOf(target), "bin", target.startsWith("win32") ? "node.exe" : "node")

/** koffi's native library, which the lock file has a hash of, as installed with the kernel transport's systems. */
export const koffiOf = (target) => {
  const name = `@koromix/koffi-${target}`
  const { integrity, version: koffiVersion } = json("package-lock.json").packages[`node_modules/${name}`]
  return join(fetched(name, koffiVersion, integrity), target.replace("-", "_"), "koffi.node")
}
