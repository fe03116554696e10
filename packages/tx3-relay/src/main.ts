/**
 * Starts `tx3-relay`: the program is imported once this module has seen to what its loading needs.
 */
import { load } from "@tx3/command/Load"

await load("tx3-relay", () => import("./tx3-relay.js"))
