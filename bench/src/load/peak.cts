/**
 * Runs within a program before it, by `node --require`, and leaves what Linux says of its memory in a file when it ends:
 * the peak cannot be read from outside once it is final.
 */
// eslint-disable-next-line @typescript-eslint/no-require-imports -- what Node requires is CommonJS
import fs = require("node:fs")

process.once("exit", () => {
  // Of a file of /proc the size is 0, so that nothing but reading copies it.
  fs.writeFileSync(process.env["BENCH_MEMORY_FILE"]!, fs.readFileSync("/proc/self/status"))
})
