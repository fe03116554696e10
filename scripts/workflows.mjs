// `npm run check:workflows`: GitHub's own language service reads the workflows, and finds names that GitHub would refuse.
import { build } from "esbuild"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath, pathToFileURL, URL } from "node:url"
import { TextDocument } from "vscode-languageserver-textdocument"

const folder = new URL("../.github/workflows/", import.meta.url)
// It imports JSON as only a bundler lets it.
const bundled = fileURLToPath(new URL("../node_modules/.cache/tx3-workflows/languageservice.cjs", import.meta.url))
await build({
  absWorkingDir: fileURLToPath(new URL("../", import.meta.url)),
  entryPoints: ["@actions/languageservice"],
  outfile: bundled,
  bundle: true,
  format: "cjs",
  platform: "node",
  logLevel: "error"
})
const { validate } = await import(pathToFileURL(bundled).href)

for (const name of readdirSync(folder)) {
  const url = new URL(name, folder)
  for (
    const { message, range } of await validate(TextDocument.create(url.href, "yaml", 1, readFileSync(url, "utf8")))
  ) {
    console.error(`.github/workflows/${name}:${range.start.line + 1}: ${message}`)
    process.exitCode = 1
  }
}
