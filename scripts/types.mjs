// Checks the types of all sources, tests and examples, and Effect's rules (@effect/language-service) over them, in one program
// of TypeScript. An error or a warning fails `npm run check`. (The language service's own command makes a program for every 50
// files, which takes four times as long.)
//
// TypeScript takes the declarations of Effect's packages for CommonJS, and under NodeNext wraps what they export to add a
// default export. The language service (0.87) does not see through that wrapper and misses Effect.gen, Effect.provide and
// others, so these declarations are read as the modules that they describe.
import transform from "@effect/language-service/transform.js"
import process from "node:process"
import ts from "typescript"

const { fileNames, options } = ts.getParsedCommandLineOfConfigFile(
  "packages/tsconfig.json",
  { incremental: false, tsBuildInfoFile: undefined },
  {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: ({ messageText }) => {
      throw new Error(ts.flattenDiagnosticMessageText(messageText, "\n"))
    }
  }
)
const host = ts.createCompilerHost(options)
const program = ts.createProgram(fileNames, options, {
  ...host,
  getSourceFile: (file, how, ...rest) =>
    host.getSourceFile(
      file,
      /[\\/]node_modules[\\/]@?effect[\\/]/.test(file) ? { ...how, impliedNodeFormat: ts.ModuleKind.ESNext } : how,
      ...rest
    )
})
const found = [...ts.getPreEmitDiagnostics(program)]
const check = transform.default(
  program,
  options.plugins.find(({ name }) => name === "@effect/language-service"),
  { addDiagnostic: (diagnostic) => found.push(diagnostic), ts }
)()
fileNames.forEach((file) => check(program.getSourceFile(file)))
console.log(`${fileNames.length} files, ${found.length} findings of TypeScript and @effect/language-service`)
if (found.length > 0) {
  console.error(ts.formatDiagnosticsWithColorAndContext(found, {
    getCanonicalFileName: (file) => file,
    getCurrentDirectory: () => process.cwd(),
    getNewLine: () => "\n"
  }))
  process.exitCode = 1
}
