// For `node --import`: nobody finds koffi.
import { register } from "node:module"

const hook = `export const resolve = async (specifier, context, next) => {
  if (specifier === "koffi") {
    throw Object.assign(new Error("Cannot find package 'koffi'"), { code: "ERR_MODULE_NOT_FOUND" })
  }
  return next(specifier, context)
}`

register(`data:text/javascript,${encodeURIComponent(hook)}`)
