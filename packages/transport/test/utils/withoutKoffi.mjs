// For `node --import`: nobody finds koffi, which our modules require.
import Module from "node:module"

const resolveFilename = Module._resolveFilename
Module._resolveFilename = (specifier, ...rest) => {
  if (specifier === "koffi") {
    throw Object.assign(new Error("Cannot find module 'koffi'"), { code: "MODULE_NOT_FOUND" })
  }
  return resolveFilename(specifier, ...rest)
}
