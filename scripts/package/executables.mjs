/**
 * Makes a program one file: Node, the program's bundle, and the files that it reads (`Executable.asset` of @tx3/sockets).
 * Node calls it a single executable application.
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { bundle, composition } from "../bundle.mjs"
import { cache, koffiOf, nodeFileOf, nodeVersion, root } from "./common.mjs"

export const fileName = (program, target) => `${program}-${target}${target.startsWith("win32") ? ".exe" : ""}`

/** Node without its symbols, where there is a tool for the format. Afterwards it could not be stripped any more. */
const strippedNode = (target) => {
  if (!target.startsWith("linux")) {
    return nodeFileOf(target)
  }
  const file = join(cache, `stripped-${nodeVersion}-${target}`)
  if (!existsSync(file)) {
    const temporary = `${file}.${process.pid}`
    copyFileSync(nodeFileOf(target), temporary)
    execFileSync("llvm-strip", ["--strip-all", temporary])
    copyFileSync(temporary, file)
    rmSync(temporary)
  }
  return file
}

const assetsOf = (program, target, folder) => {
  const page = join(folder, "page")
  return {
    "help.json": join(folder, "help.json"),
    ...target.startsWith("linux") ? { "koffi.node": koffiOf(target) } : {},
    ...program === "tx3-relay" ? { "kernelWorker.cjs": join(folder, "kernelWorker.cjs") } : {},
    ...Object.fromEntries(readdirSync(page).sort().map((name) => [`page/${name}`, join(page, name)]))
  }
}

/** The packages of npm in a program, as esbuild counts them, and their licences. */
const contentsOf = (folder, metafile) => {
  const koffi = "node_modules/koffi"
  const folders = Array.from(composition(metafile).keys()).filter((name) => name !== "ours")
  return {
    folders: [...folders, koffi],
    licences: [
      readFileSync(join(folder, "LICENSES.txt"), "utf8"),
      readFileSync(join(root, koffi, "LICENSE.txt"), "utf8")
    ].join(
      `\n${"-".repeat(80)}\n\nkoffi\n\n`
    )
  }
}

/** Makes a program for some targets, in a folder; returns what it is made of. `bundles` is the folder of its bundle. */
export const makeExecutables = async (
  program,
  wanted,
  out,
  { bundles = join(cache, "bundles"), strip = true } = {}
) => {
  const folder = join(bundles, program)
  const metafile = await bundle(program, folder, {
    isOneFile: true,
    // When a program fails, Node prints the line, and finds no map.
    minify: false,
    sourcemap: false,
    target: `node${nodeVersion}`
  })
  mkdirSync(out, { recursive: true })
  for (const target of wanted) {
    const config = join(folder, `${target}.json`)
    const output = join(out, fileName(program, target))
    rmSync(output, { force: true })
    writeFileSync(
      config,
      JSON.stringify({
        // The executable contains this path: a relative one is the same in every checkout.
        main: "main.js",
        mainFormat: "module",
        output,
        executable: strip ? strippedNode(target) : nodeFileOf(target),
        disableExperimentalSEAWarning: true,
        assets: assetsOf(program, target, folder)
      })
    )
    execFileSync(nodeFileOf(`${process.platform}-${process.arch}`), ["--build-sea", config], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"]
    })
  }
  return contentsOf(folder, metafile)
}
