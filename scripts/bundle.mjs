// Bundles the programs: node scripts/bundle.mjs, after `tsc -b`. Each program's package ships what this writes to its folder
// bundle/, which has no dependency but koffi: a small file that starts it, and the program as one file, whose modules are
// evaluated when they are first imported. V8's code of it can be kept, on Node 20 as well (@tx3/command/Compiled). All are
// CommonJS: Node starts them, and the relay's thread, without its loader of ES modules (5 ms each).
import * as Command from "@effect/cli/Command"
import * as Program from "@tx3/command/Program"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import { build } from "esbuild"
import { execFileSync } from "node:child_process"
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { basename, dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL, URL } from "node:url"

const root = fileURLToPath(new URL("../", import.meta.url))
const packages = join(root, "packages")

export const programs = ["tx3", "tx3-relay"]

/** Where a program's bundle is. */
export const folderOf = (program) => join(packages, program, "bundle")

const readJson = (file) => JSON.parse(readFileSync(file, "utf8"))

/** The commit of this checkout; none where it is not a checkout, or git is not installed. */
const commit = (() => {
  try {
    return execFileSync("git", ["rev-parse", "--short=9", "HEAD"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"]
    }).trim()
  } catch {
    return undefined
  }
})()

/** Packages of CommonJS that esbuild keeps whole, although only modules that nothing uses import them. */
const unused = /^undici$/

/** Changes a module's text, which must hold what it replaces. */
const replaced = (build, filter, replacements) =>
  build.onLoad({ filter }, ({ path }) => {
    let contents = readFileSync(path, "utf8")
    for (const [from, to] of replacements(path)) {
      if (!contents.includes(from)) {
        throw new Error(`${path} does not contain ${from}: mend scripts/bundle.mjs`)
      }
      contents = contents.replaceAll(from, to)
    }
    return { contents }
  })

const plugin = {
  name: "tx3",
  setup: (build) => {
    build.onResolve({ filter: unused }, async ({ path, pluginData, ...options }) =>
      pluginData === "resolved"
        ? undefined
        : { ...await build.resolve(path, { ...options, pluginData: "resolved" }), sideEffects: false })
    replaced(build, /packages[\\/][\w-]+[\\/]dist[\\/]internal[\\/]version\.js$/, (path) => [[
      "createRequire(import.meta.url)(\"../../package.json\")",
      JSON.stringify({ version: readJson(join(dirname(path), "../../package.json")).version, commit })
    ]])
    replaced(build, /packages[\\/]transport[\\/]dist[\\/]internal[\\/]linux\.js$/, () => [[
      "\"../../dist/internal/kernelWorker.js\"",
      "\"./kernelWorker.cjs\""
    ]])
    replaced(build, /packages[\\/](local-http|operate|reach)[\\/]dist[\\/](Local|Admin|Up)Page\.js$/, (path) => [
      ["new URL(`../page/${name}`, import.meta.url)", "new URL(`./page/${name}`, import.meta.url)"],
      ...path.endsWith("AdminPage.js")
        ? [["createRequire(import.meta.url).resolve(`uplot/dist/${name}`)", "page(name)"]]
        : path.endsWith("UpPage.js")
        ? [["createRequire(import.meta.url).resolve(\"uqr\").replace(/cjs$/, \"mjs\")", "page(\"uqr.js\")"]]
        : []
    ])
  }
}

/** The folder of a program's page, and the files of other packages that it shows. */
const pages = {
  tx3: {
    folder: "reach",
    others: (resolve) => [["uqr.js", resolve("uqr").replace(/cjs$/, "mjs")]]
  },
  "tx3-relay": {
    folder: "operate",
    others: (resolve) => ["uPlot.min.css", "uPlot.esm.js"].map((name) => [name, resolve(`uplot/dist/${name}`)])
  }
}

const writePage = (program, outdir) => {
  const { folder, others } = pages[program]
  const page = join(outdir, "page")
  for (const source of ["local-http", folder]) {
    cpSync(join(packages, source, "page"), page, { recursive: true })
  }
  const { resolve } = createRequire(join(packages, folder, "package.json"))
  others(resolve).forEach(([name, file]) => cpSync(file, join(page, name)))
}

/** Licences that let us ship what they cover, as long as their text comes with it. */
const allowed = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unlicense"])

/** The folder of the package in node_modules that a file belongs to; none for our own. */
const packageOf = (file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]

/** The packages of others in a bundle, by their folders, and how many bytes of it each takes. */
export const composition = ({ outputs }) => {
  const bytes = new Map()
  for (const { inputs } of Object.values(outputs)) {
    for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
      const name = packageOf(file) ?? "ours"
      bytes.set(name, (bytes.get(name) ?? 0) + bytesInOutput)
    }
  }
  return bytes
}

/** Names, versions and licences of packages, with the text of each licence. Throws where one may not be shipped. */
const licencesOf = (folders) =>
  folders.map((folder) => {
    const { author, license, name, version } = readJson(join(root, folder, "package.json"))
    if (!allowed.has(license)) {
      throw new Error(`${folder} has the licence ${license}; use another package, or allow it in scripts/bundle.mjs`)
    }
    const file = readdirSync(join(root, folder)).find((file) => /^licen[cs]e/i.test(file))
    const text = file === undefined
      ? `Copyright (c) ${author?.name ?? author ?? `the authors of ${name}`}. Licensed under ${license}.`
      : readFileSync(join(root, folder, file), "utf8").trim()
    return `${name} ${version} (${license})\n\n${text}\n`
  }).sort().join(`\n${"-".repeat(80)}\n\n`)

/** The help of a program and of each of its commands, by the arguments. */
const helpOf = async (program) => {
  const module = program === "tx3" ? "Tx3Command" : "RelayCommand"
  const { cli, command } = await import(pathToFileURL(join(packages, program, "dist", `${module}.js`)).href)
  const commands = Array.from(HashMap.keys(Command.getSubcommands(command))).sort()
  const asked = ["--help", ...commands.map((name) => `${name} --help`)]
  const texts = asked.map(async (args) => [args, await Effect.runPromise(Program.printed(cli, args.split(" ")))])
  return Object.fromEntries(await Promise.all(texts))
}

/** A module's own require and address in the two formats. */
const banners = {
  esm: "import { createRequire as makeRequire } from \"node:module\"; const require = makeRequire(import.meta.url);",
  cjs: "const importMetaUrl = require(\"node:url\").pathToFileURL(__filename).href;"
}

/**
 * Writes a program's bundle, and returns esbuild's account of it. Some options of esbuild may differ. With `isOneFile`, for an
 * executable, in which no file can be imported, the module that starts the program holds it.
 */
export const bundle = async (program, outdir = folderOf(program), { isOneFile = false, ...options } = {}) => {
  const isRelay = program === "tx3-relay"
  const dist = join(packages, program, "dist")
  rmSync(outdir, { force: true, recursive: true })
  const outputs = {}
  const write = async (entryPoints, { format = "cjs", ...more } = {}) => {
    const { metafile } = await build({
      absWorkingDir: root,
      entryPoints,
      outdir,
      bundle: true,
      format,
      platform: "node",
      target: "node20",
      minify: true,
      sourcemap: true,
      sourcesContent: false,
      metafile: true,
      logLevel: "error",
      // As @tx3/command/Compiled reads it.
      charset: "ascii",
      // Modules of CommonJS require Node's own.
      banner: { js: banners[format] },
      ...format === "cjs" && {
        define: { "import.meta.url": "importMetaUrl" },
        outExtension: { ".js": ".cjs" },
        supported: { "dynamic-import": false }
      },
      plugins: [plugin],
      ...more,
      ...options
    })
    Object.assign(outputs, metafile.outputs)
    return Object.keys(metafile.outputs).filter((file) => !file.endsWith(".map")).map((file) => basename(file))
  }

  if (isRelay) {
    await write({ kernelWorker: join(packages, "transport/dist/internal/kernelWorker.js") })
  }
  const main = { main: join(dist, "main.js") }
  if (isOneFile) {
    await write(main, { format: "esm" })
  } else {
    const [file] = await write({ [program]: join(dist, `${program}.js`) }, { entryNames: "[name]-[hash]" })
    const start = {
      name: "start",
      setup: (build) =>
        replaced(build, /[\\/]dist[\\/]main\.js$/, () => [[
          `import("./${program}.js")`,
          `import("@tx3/command/Compiled").then(({ run }) => run(new URL("./${file}", import.meta.url)))`
        ]])
    }
    await write(main, { plugins: [plugin, start] })
  }

  const folders = new Set(composition({ outputs }).keys())
  folders.delete("ours")
  if (isRelay) {
    folders.add("node_modules/uplot")
  }
  writePage(program, outdir)
  writeFileSync(join(outdir, "LICENSES.txt"), licencesOf(Array.from(folders)))
  writeFileSync(join(outdir, "help.json"), JSON.stringify(await helpOf(program)))
  return { outputs }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await Promise.all(programs.map((program) => bundle(program)))
}
