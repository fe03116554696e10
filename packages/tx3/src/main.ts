/**
 * Starts `tx3`: the program is imported once this module has seen to what its loading needs.
 */
import { load } from "@tx3/command/Load"

await load("tx3", () => import("./tx3.js"))
