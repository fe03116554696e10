import * as programs from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** A relay's file with the original's contents, changed. */
export const changedFile = (change: (text: string) => string) =>
  Effect.map(programs.temporaryFolder, (folder) => {
    const file = join(folder, "relay.yml")
    writeFileSync(file, change(readFileSync(programs.upstreamFile, "utf8")), { mode: 0o400 })
    return file
  })
