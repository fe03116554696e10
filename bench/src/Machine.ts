/**
 * The machine and the system that a run takes place on, and who else uses it meanwhile.
 */
import { readFileSync } from "node:fs"
import { cpus, release, totalmem, type } from "node:os"
import * as ProcessTree from "./ProcessTree.js"
import type { Results } from "./Results.js"

export const describe = (): Results["machine"] => {
  const processors = cpus()
  const limit = ProcessTree.descriptorLimit()
  return {
    cpu: processors[0]?.model.trim() ?? "unknown CPU",
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 1e9),
    system: `${type()} ${release()}`,
    node: process.versions.node,
    descriptorLimit: limit === Infinity ? null : limit,
    extraCas: (process.env["NODE_EXTRA_CA_CERTS"] ?? "") !== ""
  }
}

/** Seconds of CPU that programs other than this one and its children have had, and that the hypervisor has kept. */
const usedByOthers = () => {
  const line = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]!
  const [user, nice, system, _idle, _iowait, irq, softirq, steal] = line.split(/\s+/).slice(1).map((ticks) =>
    Number(ticks) / ProcessTree.ticksPerSecond
  )
  return {
    others: user! + nice! + system! + irq! + softirq! - ProcessTree.cpuSeconds(process.pid),
    stolen: steal!
  }
}

/** Begins to watch; the result tells the cores that others and the hypervisor have taken since. */
export const watchOthers = () => {
  const startedAt = performance.now()
  const before = usedByOthers()
  return () => {
    const after = usedByOthers()
    const cores = (seconds: number) => Math.max(0, seconds / ((performance.now() - startedAt) / 1000))
    return { others: cores(after.others - before.others), stolen: cores(after.stolen - before.stolen) }
  }
}
