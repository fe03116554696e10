/** Whether a test may make a mount namespace and mount a file system in it. */
import { spawnSync } from "node:child_process"

export const mountable = process.platform === "linux" && process.getuid?.() === 0 &&
  spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0
