// Says what takes the bytes of each program's bundle, and what `npm audit` knows of the packages: npm run check:bundle. It fails
// where a program holds what it must not. Known vulnerabilities do not fail it, because they change without a change here.
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { bundle, composition, programs } from "./bundle.mjs"

/** The packages that a program must not contain. */
const unwanted = { tx3: /@opentelemetry|undici/, "tx3-relay": /undici/ }
const shown = 12

const kilobytes = (bytes) => `${Math.round(bytes / 1000)} kB`.padStart(8)

const folder = mkdtempSync(join(tmpdir(), "tx3-bundle-"))
try {
  for (const program of programs) {
    const metafile = await bundle(program, join(folder, program))
    const parts = Array.from(composition(metafile)).sort(([, one], [, other]) => other - one)
    const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0)
    console.log(`${kilobytes(total)}  ${program}, without source maps`)
    parts.slice(0, shown).forEach(([name, bytes]) =>
      console.log(`${kilobytes(bytes)}  ${name.replace(/^.*node_modules\//, "")}`)
    )
    console.log(`${kilobytes(parts.slice(shown).reduce((sum, [, bytes]) => sum + bytes, 0))}  the rest`)
    for (const [name] of parts.filter(([name]) => unwanted[program].test(name))) {
      console.error(`${program} must not hold ${name}`)
      process.exitCode = 1
    }
  }
} finally {
  rmSync(folder, { force: true, recursive: true })
}
spawnSync("npm", ["audit"], { stdio: "inherit", shell: process.platform === "win32" })
