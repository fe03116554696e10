// Runs the rules of @effect/language-service over all sources and tests, in one program of TypeScript; an error or a warning
// fails `npm run check`. (The package's own command makes a program for every 50 files, which takes four times as long.)
//
// TypeScript takes Effect's packages for CommonJS, and under NodeNext wraps what they export to add a default export.
// The language service (0.87) does not see through that wrapper and misses Effect.gen, Effect.provide and others,
// so it gets to read our configuration with default-export interop turned off.
import transform from "@effect/language-service/transform.js"
import process from "node:process"
import ts from "typescript"

const host = {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: ({ messageText }) => {
    throw new Error(ts.flattenDiagnosticMessageText(messageText, "\n"))
  }
}
const { fileNames, options } = ts.getParsedCommandLineOfConfigFile(
  "packages/tsconfig.json",
  { allowSyntheticDefaultImports: false, incremental: false, tsBuildInfoFile: undefined },
  host
)
const program = ts.createProgram(fileNames, options)
const found = []
const check = transform.default(
  program,
  options.plugins.find(({ name }) => name === "@effect/language-service"),
  { addDiagnostic: (diagnostic) => found.push(diagnostic), ts }
)()
fileNames.forEach((file) => check(program.getSourceFile(file)))
console.log(`${fileNames.length} files, ${found.length} findings of @effect/language-service`)
if (found.length > 0) {
  console.error(ts.formatDiagnosticsWithColorAndContext(found, {
    getCanonicalFileName: (file) => file,
    getCurrentDirectory: () => process.cwd(),
    getNewLine: () => "\n"
  }))
  process.exitCode = 1
}
