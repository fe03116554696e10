/**
 * The optional package koffi, by which this process calls libc. An executable carries koffi's native library and loads it from
 * a private file: `internal/nativeLibrary.ts`.
 *
 * @since 0.1.0
 */
import type Koffi from "koffi"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { basename, dirname, isAbsolute, join } from "node:path"
import { asset } from "./Executable.js"
import { load as loadLibrary } from "./internal/nativeLibrary.js"

let koffi: typeof Koffi | undefined

/**
 * Loads koffi, once in a thread. Throws where it is not installed, and where it cannot be loaded.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = (): typeof Koffi => koffi ??= fromExecutable() ?? createRequire(import.meta.url)("koffi")

const fromExecutable = () => {
  const library = asset("koffi.node")
  return library && loadLibrary(library, {
    // Where packages put it. Nothing is written then.
    installed: join(dirname(process.execPath), "../lib", basename(process.execPath), "koffi.node"),
    folders: caches(),
    dlopen: (path) => {
      const module = { exports: {} }
      process.dlopen(module, path)
      return module.exports as typeof Koffi
    }
  })
}

/** Folders that only this user is to use, the likeliest first. */
const caches = () => {
  const { HOME, XDG_CACHE_HOME } = process.env
  return [
    ...XDG_CACHE_HOME ? [join(XDG_CACHE_HOME, "tx3/lib")] : [],
    ...HOME ? [join(HOME, ".cache/tx3/lib")] : [],
    join(tmpdir(), `tx3-${process.geteuid!()}`)
  ].filter(isAbsolute)
}
