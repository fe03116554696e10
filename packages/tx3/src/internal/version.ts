/** The version of the package, as its package.json has it, and the commit of its bundle. */
import type { Build } from "@tx3/command/Version"
import { createRequire } from "node:module"

const { commit, version } = createRequire(import.meta.url)("../../package.json") as Omit<Build, "name">

export const build: Build = { name: "tx3", version, ...commit === undefined ? {} : { commit } }
