/**
 * Loads a native library that an executable carries. The system loads libraries from files only, so the library is kept in a
 * folder that only this user can use, and written once. The file stays there for the next start.
 *
 * Another user may have put a file or a folder there first, or exchange it at any time. So a file is opened once, judged by its
 * descriptor, compared with what the executable carries, and loaded through that descriptor, never by its path again.
 */
import { randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import { join } from "node:path"

/** Where a library may lie, and how the system loads it. */
export interface Places<A> {
  /** A copy that came with the executable. It is used if it is the same, and left alone if not. */
  readonly installed: string
  /** Folders for a copy of our own, in the order in which they are tried. They are made as needed. */
  readonly folders: ReadonlyArray<string>
  readonly dlopen: (path: string) => A
}

export const load = <A>(library: Buffer, { dlopen, folders, installed }: Places<A>): A => {
  const loaded = attempt(() => openSame(installed, library), dlopen)
  if (loaded.value !== undefined) {
    return loaded.value
  }
  const problems: Array<string> = []
  for (const folder of folders) {
    const { problem, value } = attempt(() => openCopy(folder, library), dlopen)
    if (value !== undefined) {
      return value
    }
    problems.push(`${folder}: ${problem}`)
  }
  throw new Error(problems.join("; "))
}

const attempt = <A>(
  open: () => number,
  dlopen: (path: string) => A
): { readonly problem?: string; readonly value?: A } => {
  let descriptor: number | undefined
  try {
    descriptor = open()
    return { value: dlopen(`/proc/self/fd/${descriptor}`) }
  } catch (error) {
    return { problem: (error as Error).message }
  } finally {
    if (descriptor !== undefined) {
      Fs.closeSync(descriptor)
    }
  }
}

const openCopy = (folder: string, library: Buffer): number => {
  Fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { mode, uid } = Fs.lstatSync(folder)
  if ((mode & Fs.constants.S_IFMT) !== Fs.constants.S_IFDIR || uid !== process.geteuid!() || (mode & 0o077) !== 0) {
    throw new Error("is not a folder of this user alone")
  }
  const file = join(folder, "koffi.node")
  try {
    return openSame(file, library)
  } catch {
    write(file, library)
    return openSame(file, library)
  }
}

/** Several processes may write at the same time: each writes its own file, and the last one's stays. */
const write = (file: string, library: Buffer) => {
  const temporary = `${file}.${randomBytes(8).toString("hex")}`
  try {
    Fs.writeFileSync(temporary, library, { flag: "wx", mode: 0o500 })
    Fs.renameSync(temporary, file)
  } catch (error) {
    Fs.rmSync(temporary, { force: true })
    throw error
  }
}

/** Opens a file that holds exactly this library, and that only this user or root can have written. */
const openSame = (file: string, library: Buffer): number => {
  const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = Fs.constants
  const descriptor = Fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stat = Fs.fstatSync(descriptor)
    if (
      !stat.isFile() || ![0, process.geteuid!()].includes(stat.uid) || (stat.mode & 0o022) !== 0 ||
      stat.size !== library.length || !Fs.readFileSync(descriptor).equals(library)
    ) {
      throw new Error(`${file} is another file`)
    }
    return descriptor
  } catch (error) {
    Fs.closeSync(descriptor)
    throw error
  }
}
