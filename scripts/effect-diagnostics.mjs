// Runs @effect/language-service over all sources and tests; its errors and warnings fail `npm run check`.
//
// TypeScript takes Effect's packages for CommonJS, and under NodeNext wraps what they export to add a default export.
// The language service (0.87) does not see through that wrapper and misses Effect.gen, Effect.provide and others,
// so it gets to read our configuration with default-export interop turned off.
import ts from "typescript"

const readFile = ts.sys.readFile
ts.sys.readFile = (path, encoding) => {
  const text = readFile(path, encoding)
  return path.endsWith("/tsconfig.base.json")
    ? text?.replace(/"compilerOptions": \{/, "$& \"allowSyntheticDefaultImports\": false,")
    : text
}

process.argv.splice(2, Infinity, "diagnostics", "--project", "packages/tsconfig.json", "--strict")
process.argv.push("--severity", "error,warning", "--format", "text")
await import("@effect/language-service/cli.js")
