// For `node --import`: hides koffi from require(), by which our modules load it.
import Module from "node:module"

const resolveFilename = Module._resolveFilename
Module._resolveFilename = (specifier, ...rest) => {
  if (specifier === "koffi") {
    throw Object.assign(new Error("Cannot find module 'koffi'"), { code: "MODULE_NOT_FOUND" })
  }
  return resolveFilename(specifier, ...rest)
}
