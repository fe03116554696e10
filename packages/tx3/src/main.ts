/**
 * Starts `tx3`.
 */
import { load } from "@tx3/command/Load"
import { build } from "./internal/version.js"

void load({ build, help: new URL("./help.json", import.meta.url), program: () => import("./tx3.js") })
