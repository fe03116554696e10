/** Explains why this user may not use a file, for messages. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** Says whose a file is, or the folder that keeps this user from it, and what to do. */
export const permissionProblem = (path: string): string => {
  const file = reachablePart(Path.resolve(path))
  const stats = Fs.statSync(file, { throwIfNoEntry: false })
  if (stats === undefined || process.getuid === undefined) {
    return "permission denied"
  }
  const { mode, uid } = stats
  const shown = `${file} belongs to ${nameOf(uid)} with mode ${(mode & 0o777).toString(8).padStart(4, "0")}`
  const remedy = uid === 0 ? "sudo" : `sudo -u ${/^user /.test(nameOf(uid)) ? `'#${uid}'` : nameOf(uid)}`
  return `permission denied: ${shown}, and this is ${nameOf(process.getuid())}; run the command with ${remedy}`
}

/** The file itself, or the folder on the way to it into which this user may not look. */
const reachablePart = (path: string): string => {
  try {
    Fs.statSync(path)
    return path
  } catch {
    const folder = Path.dirname(path)
    return folder === path ? path : reachablePart(folder)
  }
}

const nameOf = (uid: number) => {
  try {
    const entry = Fs.readFileSync("/etc/passwd", "utf8").split("\n").map((line) => line.split(":")).find(([, , id]) =>
      id === String(uid)
    )
    return entry?.[0] ?? `user ${uid}`
  } catch {
    return `user ${uid}`
  }
}
