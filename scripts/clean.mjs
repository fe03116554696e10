// `npm run clean` removes what `npm run build` and `npm run package` have made.
import { readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, URL } from "node:url"

const root = fileURLToPath(new URL("../", import.meta.url))
const folders = [...readdirSync(join(root, "packages")).map((name) => join("packages", name)), "bench", "examples"]
for (const folder of folders) {
  for (const made of ["dist", "bundle"]) {
    rmSync(join(root, folder, made), { recursive: true, force: true })
  }
}
rmSync(join(root, "dist"), { recursive: true, force: true })
