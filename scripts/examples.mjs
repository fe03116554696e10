// Compiles the `@example` blocks of all docstrings against the built packages, as a user's program, and prints each error with
// its place in the source. With a folder: those of the sources in it.
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = resolve(process.argv[2] ?? join(root, "packages"))

const sources = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => /(^|\/)src\/.*\.ts$/.test(name))
  .map((name) => join(folder, name))

/** Each example's program by its path, padded so that its lines have the numbers that they have in the source. */
const examples = new Map()
const problems = []
for (const source of sources) {
  const lines = readFileSync(source, "utf8").split("\n")
  for (const [index, line] of lines.entries()) {
    if (/^\s*\* @example\b/.test(line)) {
      const [begin, end] = [index + 2, lines.findIndex((line, at) => at > index + 1 && /^\s*\* ```$/.test(line))]
      if (!/^\s*\* ```ts$/.test(lines[index + 1] ?? "") || end === -1) {
        problems.push(`${relative(root, source)}(${index + 1}): @example is not followed by a block of ts`)
        continue
      }
      const code = lines.slice(begin, end).map((line) => line.replace(/^\s*\* ?/, ""))
      examples.set(`${source}.${index + 1}.ts`, "\n".repeat(begin) + code.join("\n"))
    }
  }
}

const { config } = ts.readConfigFile(join(root, "tsconfig.base.json"), ts.sys.readFile)
const { options } = ts.parseJsonConfigFileContent(
  {
    compilerOptions: {
      ...config.compilerOptions,
      composite: false,
      declaration: false,
      declarationMap: false,
      noEmit: true
    },
    files: []
  },
  ts.sys,
  root
)
const host = ts.createCompilerHost(options)
const { fileExists, getSourceFile, readFile } = host
host.fileExists = (path) => examples.has(path) || fileExists(path)
host.readFile = (path) => examples.get(path) ?? readFile(path)
host.getSourceFile = (path, target, ...rest) =>
  examples.has(path) ? ts.createSourceFile(path, examples.get(path), target) : getSourceFile(path, target, ...rest)

const program = ts.createProgram({ rootNames: Array.from(examples.keys()), options, host })
for (const { file, messageText, start } of ts.getPreEmitDiagnostics(program)) {
  const text = ts.flattenDiagnosticMessageText(messageText, "\n")
  const at = file && file.getLineAndCharacterOfPosition(start ?? 0)
  problems.push(
    file === undefined ? text : `${relative(root, file.fileName.replace(/\.\d+\.ts$/, ""))}(${at.line + 1}): ${text}`
  )
}

problems.forEach((problem) => console.error(problem))
console.log(`${examples.size} examples of docstrings compiled, ${problems.length} errors`)
process.exitCode = problems.length > 0 || examples.size === 0 ? 1 : 0
