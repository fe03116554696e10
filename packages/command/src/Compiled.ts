/**
 * Runs a program that is one file of CommonJS, and keeps what V8 compiled of it for the next start: without that, half of a
 * start goes into compiling. Node 22.8 and newer do it themselves; for older ones this module keeps the code (`vm.Script`'s
 * `cachedData`), in a file for each command, written when the command ends. A command without one starts with the
 * newest file of the program's other commands.
 *
 * Node takes what is in such a file for code. So it is in a folder of the user's own, belongs to this user, and is used only
 * whole, and only for the program and the Node that it was made by.
 *
 * @since 0.1.0
 */
import { createHash } from "node:crypto"
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import module, { createRequire } from "node:module"
import { basename, dirname, isAbsolute, join } from "node:path"
import { fileURLToPath } from "node:url"
import { Script } from "node:vm"

/** Since Node 22.8. */
const { enableCompileCache } = module as { readonly enableCompileCache?: (folder: string) => void }

/** The user's own folder for compiled code; undefined without a home. */
const folder = (): string | undefined => {
  const { HOME, XDG_CACHE_HOME } = process.env
  const caches = XDG_CACHE_HOME || (HOME && join(HOME, ".cache"))
  return caches && isAbsolute(caches) ? join(caches, "tx3/compiled") : undefined
}

/**
 * Runs the program in a file, `NAME-HASH.cjs`. The hash must differ where the content does. The content is ASCII.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (program: URL): void => {
  const file = fileURLToPath(program)
  const kept = folder()
  if (kept === undefined) {
    createRequire(file)(file)
  } else if (enableCompileCache !== undefined) {
    enableCompileCache(kept)
    createRequire(file)(file)
  } else {
    runKeeping(file, kept)
  }
}

const runKeeping = (file: string, folder: string) => {
  // The first word is a command, or a flag like --init, which does other work than the program without it.
  const command = /^-*([a-z]{1,20})$/.exec(process.argv[2] ?? "")?.[1] ?? ""
  const name = basename(file)
  // Without a hyphen, so that the command `relay` of tx3 and the program tx3-relay have a file each.
  const program = name.replace(/-[^-]*$/, "").replaceAll("-", "_")
  const path = join(folder, [program, command].filter(Boolean).join("-"))
  const digestOf = (code: Uint8Array) =>
    createHash("sha256").update(`${name} ${process.version} ${process.arch}\n`).update(code).digest()
  const own = read(path, digestOf)
  const cachedData = own ?? read(newestOf(program, folder), digestOf)
  // Node makes a string of ASCII in half of the time that it needs for UTF-8.
  const script = new Script(module.wrap(readFileSync(file, "latin1")), {
    filename: file,
    ...cachedData === undefined ? {} : { cachedData }
  })
  if (own === undefined || script.cachedDataRejected !== false) {
    process.once("exit", (code) => {
      // A command that was not understood is none.
      if (code === 0 || code > 128) {
        const compiled = script.createCachedData()
        write(path, Buffer.concat([digestOf(compiled), compiled]))
      }
    })
  }
  const loaded = { exports: {} }
  script.runInThisContext()(loaded.exports, createRequire(file), loaded, file, dirname(file))
}

/** The newest of the files of a program's commands. Another command's code has what all commands load. */
const newestOf = (program: string, folder: string): string | undefined => {
  try {
    return readdirSync(folder)
      .filter((file) => file.split("-")[0] === program)
      .map((file) => ({ path: join(folder, file), written: statSync(join(folder, file)).mtimeMs }))
      .reduce((newest, file) => file.written > newest.written ? file : newest).path
  } catch {
    return undefined
  }
}

const read = (path: string | undefined, digestOf: (code: Uint8Array) => Buffer): Buffer | undefined => {
  try {
    if (path === undefined || process.geteuid !== undefined && statSync(path).uid !== process.geteuid()) {
      return undefined
    }
    const bytes = readFileSync(path)
    // SHA-256 comes before it.
    const [digest, code] = [bytes.subarray(0, 32), bytes.subarray(32)]
    return digestOf(code).equals(digest) ? code : undefined
  } catch {
    return undefined
  }
}

/** Writes a file as a whole. Where it cannot be written, the next start is as slow as this one. */
const write = (path: string, bytes: Uint8Array) => {
  const whole = `${path}.${process.pid}`
  try {
    mkdirSync(dirname(path), { mode: 0o700, recursive: true })
    writeFileSync(whole, bytes, { flag: "wx", mode: 0o600 })
    renameSync(whole, path)
  } catch {
    try {
      rmSync(whole, { force: true })
    } catch {
      // There is no such folder.
    }
  }
}
